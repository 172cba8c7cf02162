"""Forms of a decoder for llama.cpp: written, quantised, compared with the base form, and described in the Pack."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.cost import formats
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import gguf_write, transformer
from hedgerow.kinds.decoder_engine import Likelihood
from hedgerow.kinds.decoder_gguf import FILE
from hedgerow.kinds.text_continuations import PAIRS
from hedgerow.pack import Pack, VariantInfo, add_variant
from hedgerow.runtimes import runnable
from hedgerow.runtimes.gguf_header import read
from hedgerow.runtimes.llama import FTYPES, quantise

PREFIX = "gguf-"
FORMS = tuple(PREFIX + name for name in FTYPES)


def forms_of(pack: Pack) -> tuple[str, ...]:
    """The llama.cpp forms that a Pack has, largest first as in FTYPES."""
    return tuple(form for form in FORMS if form in pack.variants)


def export(
    pack: Pack, to: str, model: Any, answers: Callable[[Pack, str], Sequence[Likelihood]], threads: int = 1
) -> Pack:
    """Add ``gguf-q4_0`` and the like. ``model``: its DecoderModel; ``answers(pack, form)``: likelihoods of PAIRS.

    The Pack notes what the file is made of (elements by format, true bits a weight) and how far its log p lie from
    those of the base form. Raises HedgerowError for an unknown format, an architecture or tokenizer that is not
    written, or when [build] or llama.cpp is missing.
    """
    if to not in FORMS:
        raise HedgerowError(f"{pack.info.kind} cannot be exported to '{to}'{did_you_mean(to, FORMS)}")
    if (missing := runnable(to)) is not None:
        raise HedgerowError(missing)
    name = to.removeprefix(PREFIX)
    info = VariantInfo(runtime="gguf", of=pack.digest, quantisation="" if name in ("f16", "f32", "bf16") else name)
    info.made_with.update(_versions())

    def fill(folder: Path) -> None:
        info.details["remarks"] = _write(pack, model, folder / FILE, name, threads)
        info.details.update(described(folder / FILE))

    grown = add_variant(pack, to, info, fill)
    info.details.update(distance(answers(pack, "torch"), answers(grown, to)))

    def again(folder: Path) -> None:
        files.link_or_copy(grown.variant_folder(to) / FILE, folder / FILE)

    return add_variant(grown, to, info, again)


def keep(pack: Pack, file: Path) -> Pack:
    """Add the GGUF file that a Pack was made from as a form of it, unchanged."""
    form = form_of_file(file)
    if form not in FORMS:
        raise HedgerowError(f"{file}: no form of a Pack is called '{form}'; its weights are in the Pack")
    info = VariantInfo(runtime="gguf", of=pack.digest, quantisation=form.removeprefix(PREFIX))
    info.details.update({"remarks": ["the file that this Pack was made from"], **described(file)})
    return add_variant(pack, form, info, lambda folder: files.link_or_copy(file, folder / FILE))


def form_of_file(file: Path) -> str:
    """'gguf-q4_1' for a GGUF file, by what its header says, else by its most frequent format.

    Raises HedgerowError for what is no whole GGUF file.
    """
    contents = read(file)
    number = contents.fields.get("general.file_type")
    name = next((n for n, f in FTYPES.items() if f == number), None) or next(iter(contents.weights.mix))
    return PREFIX + name


def described(file: Path) -> dict[str, Any]:
    """Elements by format, true bits a weight, and both in one line."""
    weights = read(file).weights
    return {
        "elements": weights.mix,
        "bits_per_weight": round(formats.bits_per_weight(weights), 4),
        "mix": formats.mix_line(weights),
    }


def distance(base: Sequence[Likelihood], form: Sequence[Likelihood]) -> dict[str, float]:
    """|log p - log p of the base form| a token over PAIRS: median and largest; and how many pairs."""
    apart = [abs(b.logprob - f.logprob) / b.tokens for b, f in zip(base, form, strict=True)]
    return {
        "logp_difference_median": round(median(apart), 6),
        "logp_difference_largest": round(max(apart), 6),
        "continuations": len(PAIRS),
    }


def _write(pack: Pack, model: Any, target: Path, name: str, threads: int) -> list[str]:
    config = model.config
    sizes = transformer.geometry(config, transformer.DECODERS, str(pack.path))
    arrays = pack.arrays("weights.safetensors")
    special = {"bos": model.start, "eos": model.ends[0] if model.ends else None, "pad": model.padding}
    tokenizer = pack.file("tokenizer.json").read_text(encoding="utf-8")
    wide = any(a.dtype != np.float16 for a in arrays.values() if a.ndim > 1)
    exact = name in ("f16", "f32")
    first = target if exact else target.with_name(f"whole-{os.getpid()}.gguf")
    try:
        remarks = gguf_write.write(
            first, pack.info.name, config, sizes, arrays, tokenizer, special, wide=name == "f32" or (wide and not exact)
        )
        if not exact:
            quantise(first, target, name, threads)
    finally:
        if not exact:
            first.unlink(missing_ok=True)
    return remarks


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from hedgerow.runtimes.llama import binding

    try:
        writer = version("gguf")
    except ModuleNotFoundError as e:
        raise HedgerowError("writing a GGUF file needs gguf: pip install 'hedgerow[build]'") from e
    return {"gguf": writer, "llama.cpp": binding().about()["version"]}
