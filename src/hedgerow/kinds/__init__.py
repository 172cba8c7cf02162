"""Kinds of Pack, one file each; ``open`` gives the model of any Pack without asking which kind it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.base import Engine, Kind, Workload
from hedgerow.pack import Info, Pack, Source, open_pack
from hedgerow.runtimes import runnable

KINDS = {
    "text-classifier": "hedgerow.kinds.text_classifier",
    "encoder": "hedgerow.kinds.encoder",
    "decoder-lm": "hedgerow.kinds.decoder_lm",
    "image-classifier": "hedgerow.kinds.image_classifier",
    "segmenter": "hedgerow.kinds.segmenter",
    "recommender": "hedgerow.kinds.recommender",
}


def kind(name: str) -> Kind:
    """The kind of that name; HedgerowError with the nearest name otherwise."""
    if name not in KINDS:
        raise HedgerowError(f"no kind of Pack is called '{name}'{did_you_mean(name, KINDS)}")
    found: Kind = import_module(KINDS[name]).KIND
    return found


@dataclass(frozen=True)
class Model:
    """An opened Pack in one of its forms; the weights are loaded when it is first asked."""

    pack: Pack
    kind: Kind
    variant: str
    threads: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # of loading, as the kind's unit names them

    @cached_property
    def engine(self) -> Engine:
        """The loaded form."""
        load: Any = self.kind.load  # settings are those that its unit names
        found: Engine = load(self.pack, self.variant, self.threads, **self.settings)
        return found

    def predict(self, inputs: Sequence[Any], **options: Any) -> list[dict[str, Any]]:
        """One answer per input (see the kind's ``schema``). Unknown options raise HedgerowError."""
        for name in options:
            if name not in self.kind.options:
                raise HedgerowError(f"{self.kind.name} has no option '{name}'{did_you_mean(name, self.kind.options)}")
        return self.engine.predict(inputs, {**self.kind.options, **options})

    def workload(
        self, requests: int, batch: int = 1, every_ms: float = 0.0, size: dict[str, int] | None = None
    ) -> Workload:
        """A stream of requests to this Pack, for ``hedgerow.place`` and ``hedgerow.simulate``."""
        return Workload((self.pack,), requests, batch, every_ms, size or dict(self.kind.unit.usual))


def open(path: str | Path | Pack, variant: str | None = None, threads: int = 1, verify: bool = True) -> Model:
    """Open a Pack folder as a model.

    ``variant`` is one of the kind's forms; None takes the first that this installation can run. Raises HedgerowError
    for a damaged Pack, parts that do not fit one another, an unknown form, or when no form can run here.
    """
    pack = path if isinstance(path, Pack) else open_pack(path, verify=verify)
    which = kind(pack.info.kind)
    which.check(pack)
    forms = which.variants(pack)
    if variant is None:
        variant = next((form for form in forms if runnable(form) is None), None)
        if variant is None:
            raise HedgerowError(f"{pack.path}: none of its forms runs here ({runnable(forms[0])})")
    elif variant not in forms:
        raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, forms)}")
    return Model(pack, which, variant, threads)


def loaded(
    path: str | Path, variant: str, threads: int = 1, settings: Mapping[str, Any] | None = None
) -> tuple[Kind, Engine]:
    """Kind and engine of a Pack's form, or of a bare GGUF file; ``settings`` of loading as the unit names them."""
    given = dict(settings or {})
    if Path(path).is_file():  # whatever it is called: its header was read before
        which = kind("decoder-lm")
        _known_settings(which, given)
        return which, import_module("hedgerow.kinds.decoder_gguf").open_file(Path(path), threads, given)
    model = open(path, variant, threads, verify=False)
    _known_settings(model.kind, given)
    return model.kind, replace(model, settings=given).engine


def _known_settings(which: Kind, given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in which.unit.settings:
            raise HedgerowError(f"{which.name} has no setting '{name}'{did_you_mean(name, which.unit.settings)}")


def form_of_file(path: str | Path) -> str:
    """The form that a bare model file is in ('gguf-q4_1'); HedgerowError for what is no whole model file."""
    from hedgerow.kinds.decoder_export import form_of_file

    return form_of_file(Path(path))


def pack_of_folder(folder: str | Path, target: str | Path, name: str) -> Pack:
    """A language model's folder in the layout of Hugging Face as a Pack at ``target``; needs [build]."""
    from hedgerow.kinds import decoder_lm

    source = Source(name=name, licence="as its owner says")
    info = Info(name=name, kind=decoder_lm.KIND.name, summary="from a local folder", data=(source,), shareable=False)
    return decoder_lm.from_folder(folder, target, info)


def is_model(path: str | Path) -> bool:
    """Whether this is a file, or a folder with a config.json that is no Pack."""
    path = Path(path)
    return path.is_file() or ((path / "config.json").is_file() and not (path / "pack.toml").is_file())


def pack_of_model(path: str | Path, target: str | Path, *, licence: str | None = None, shareable: bool = False) -> Pack:
    """A Pack at ``target`` from a GGUF file or a folder in the layout of Hugging Face, with its origin noted."""
    from hedgerow.kinds.foreign import pack_of

    return pack_of(path, target, licence=licence, shareable=shareable)


def time_by_part(pack: Pack, threads: int, prompt: int) -> dict[str, Any]:
    """Time of a decoder's attention, FFN, head and embedding in torch; HedgerowError for a Pack that is none."""
    from hedgerow.kinds.decoder_parts import by_part

    return by_part(
        open(pack, None if "torch" not in kind(pack.info.kind).variants(pack) else "torch", threads).engine, prompt
    )
