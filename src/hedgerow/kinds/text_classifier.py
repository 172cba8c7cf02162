"""Text classifiers: a short text -> a class of a tree (ISIC: class, group, division, section), or 'review'.

An answer says what was decided and how surely, the best classes, the nearest coded examples, and for a national code
what it stands for. It is made with numpy alone, plus a trunk (an encoder or decoder Pack) where members read vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.base import Kind, Unit
from hedgerow.kinds.hierarchy import LEVELS, Label, LabelsFile
from hedgerow.kinds.text_engine import Options, TextClassifier, Trunk
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import Member
from hedgerow.kinds.text_sample import sample_text
from hedgerow.kinds.text_store import (
    USUAL,
    Calibration,
    Combine,
    Draft,
    Example,
    Preprocess,
    read_parts,
    write_parts,
)
from hedgerow.kinds.texts import MAX_CHARACTERS
from hedgerow.pack import Info, Pack, VariantInfo, add_variant, create, open_pack, trunk_cache
from hedgerow.runtimes import runnable
from hedgerow.runtimes.numpy import describe
from hedgerow.schema import R, check

_CANDIDATE = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "title": {"type": "string"}, "p": {"type": "number"}},
    "required": ["code", "title", "p"],
}
_NEAREST = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "code": {"type": "string"}, "similarity": {"type": "number"}},
    "required": ["text", "code", "similarity"],
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "answer of a text classifier",
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"], "description": "the row's id, null where it has none"},
        "text": {"type": "string", "description": "as given, cut where it was too long"},
        "decision": {"enum": [*LEVELS, "review"], "description": "level of the deepest node that is probable enough"},
        "code": {"type": ["string", "null"], "description": "of the decided node, null for 'review'"},
        "title": {"type": ["string", "null"]},
        "p": {"type": "number", "description": "of the decided node; for 'review' of the best class"},
        "candidates": {"type": "array", "items": _CANDIDATE, "description": "classes, best first"},
        "nearest": {"type": "array", "items": _NEAREST, "description": "coded examples, nearest first"},
        "via": {
            "type": "object",
            "description": "the row's national code, and every class it stands for",
            "properties": {
                "scheme": {"type": "string"},
                "code": {"type": "string"},
                "classes": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["scheme", "code", "classes"],
        },
        "to": {
            "type": "object",
            "description": "with the option 'to': the codes of that scheme that each candidate class can stand for",
            "properties": {
                "scheme": {"type": "string"},
                "codes": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": {"type": "string"}},
                },
            },
            "required": ["scheme", "codes"],
        },
        "note": {"type": "string", "description": "what a person should know about this answer"},
        "truncated": {"const": True, "description": "the text was longer than the Pack reads"},
    },
    "required": ["id", "text", "decision", "code", "title", "p", "candidates", "nearest"],
}


class TextClassifierKind:
    """Text -> class, with probability, candidates, nearest coded examples and back-off to a higher level."""

    name = "text-classifier"
    summary = "puts a short text into a class of a tree, and says how surely and why"
    unit = Unit(
        name="text",
        sizes=({"words": 4}, {"words": 12}, {"words": 30}),
        make=lambda size, seed: sample_text(size["words"], seed),
        bytes_in=lambda size: 7 * size["words"],
        bytes_out=lambda size: 1100 + 7 * size["words"],  # five candidates and three examples as JSON
    )
    schema = SCHEMA
    options: dict[str, Any] = Options().model_dump()
    explains: dict[str, Any] = {"nearest": 3}  # without a trunk the search takes longer than the classification
    needs = ("text",)
    columns = (
        "decision",
        "code",
        "title",
        "p",
        "level",
        "best_code",
        "best_p",
        "candidates",
        "nearest_text",
        "nearest_code",
        "nearest_similarity",
        "note",
    )
    metrics = ("accuracy", "top5", "division", "macro_f1", "ece")

    def read(self, row: Mapping[str, Any], base: Path) -> dict[str, Any]:
        """``{text, id?, code?, scheme?}``; a code counts only with its scheme, for a lone ``code`` is a gold label."""
        if "text" not in row:
            raise HedgerowError(f"there is no column 'text'; the columns are {', '.join(map(str, row))}")
        text = row["text"]
        if not isinstance(text, str):
            raise HedgerowError(f"a text is needed, got {type(text).__name__}")
        if len(text) > MAX_CHARACTERS:
            raise HedgerowError(f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
        coded = bool(str(row.get("code") or "").strip() and str(row.get("scheme") or "").strip())
        if not normalise(text) and not coded:
            raise HedgerowError("the text is empty")
        keys = ("id", "code", "scheme") if coded else ("id",)
        return {"text": text, **{k: str(row[k]) for k in keys if row.get(k) is not None}}

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """One row; ``candidates`` as '0112 0.61; 0111 0.20'."""
        best = answer["candidates"][0] if answer["candidates"] else {"code": "", "p": ""}
        near = answer["nearest"][0] if answer["nearest"] else {"text": "", "code": "", "similarity": ""}
        notes = [answer.get("note", ""), "the text was cut" if answer.get("truncated") else ""]
        if "via" in answer and answer["via"]["classes"]:
            via = answer["via"]
            notes.append(f"{via['scheme']} {via['code']} stands for {' '.join(via['classes'])}")
        if "to" in answer and best["code"]:
            found = " ".join(answer["to"]["codes"][best["code"]]) or "no code"
            notes.append(f"{best['code']} is {found} in {answer['to']['scheme']}")
        return {
            "decision": answer["decision"],
            "code": answer["code"] or "",
            "title": answer["title"] or "",
            "p": answer["p"],
            "level": "" if answer["decision"] == "review" else answer["decision"],
            "best_code": best["code"],
            "best_p": best["p"],
            "candidates": "; ".join(f"{c['code']} {c['p']:.3f}" for c in answer["candidates"]),
            "nearest_text": near["text"],
            "nearest_code": near["code"],
            "nearest_similarity": near["similarity"],
            "note": "; ".join(filter(None, notes)),
        }

    def line(self, answer: Mapping[str, Any]) -> str:
        """The decision; then what else it could be, the nearest example and a note, each on a line."""
        if answer["decision"] == "review":
            lines = ["review: no level is sure enough"]
        else:
            lines = [f"{answer['code']}  {answer['title']}  ({answer['decision']}, p {answer['p']:.2f})"]
        classes = [f"{c['code']} {c['title']} {c['p']:.2f}" for c in answer["candidates"]]
        if answer["decision"] == "class":
            classes = classes[1:]
        if classes:
            lines.append(f"   {'or' if answer['decision'] == 'class' else 'best'}: {' · '.join(classes[:3])}")
        if answer["nearest"]:
            near = answer["nearest"][0]
            lines.append(f'   like the coded example "{near["text"]}" ({near["code"]}, {near["similarity"]:.2f})')
        note = self.cells(answer)["note"]
        return "\n".join([*lines, *([f"   note: {note}"] if note else [])])

    def check(self, pack: Pack) -> None:
        """Whether labels, members, tables, examples and crosswalk fit one another, and the trunk is whole."""
        read_parts(pack)
        if pack.info.trunk is not None:
            trunk = pack.trunk()
            _trunk_kind(trunk).check(trunk)

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """('numpy',), or the forms of the trunk."""
        if pack.info.trunk is None:
            return ("numpy",)
        trunk = pack.trunk(verify=False)
        return _trunk_kind(trunk).variants(trunk)

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """This Pack's own files and what the trunk's form needs."""
        if pack.info.trunk is None:
            return pack.bytes
        trunk = pack.trunk(verify=False)
        return pack.bytes + _trunk_kind(trunk).disk_bytes(trunk, variant)

    def load(self, pack: Pack, variant: str, threads: int) -> TextClassifier:
        """Load members, and the trunk in the form ``variant``."""
        if variant not in self.variants(pack):
            raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, self.variants(pack))}")
        if pack.info.trunk is None:
            return TextClassifier(read_parts(pack), None, describe(), str(pack.path))
        trunk = load_trunk(pack.trunk(verify=False), variant, threads)
        dim = int(trunk.encode(["a"]).shape[1])
        return TextClassifier(read_parts(pack, dim), trunk, trunk.runtime, str(pack.path))

    def export(self, pack: Pack, to: str) -> Pack:
        """Add the form ``to`` to the trunk, in this Pack's folder and in the cache; the Pack's digest stays."""
        if pack.info.trunk is None:
            raise HedgerowError(f"{pack.path} has no trunk and runs on numpy; it cannot be exported to '{to}'")
        trunk = pack.trunk()
        trunk = _trunk_kind(trunk).export(trunk, to)
        cached = trunk_cache(trunk.digest)
        if cached.is_dir() and cached.resolve() != trunk.path.resolve():
            _copy_variant(trunk, to, open_pack(cached, verify=False))
        return open_pack(pack.path, verify=False)


def _trunk_kind(trunk: Pack) -> Kind:
    from hedgerow import kinds

    if trunk.info.kind not in ("encoder", "decoder-lm"):
        raise HedgerowError(f"{trunk.path} is a Pack of kind {trunk.info.kind}; a trunk is an encoder or a decoder-lm")
    return kinds.kind(trunk.info.kind)


def load_trunk(trunk: Pack, variant: str | None = None, threads: int = 1) -> Trunk:
    """A trunk's engine; ``variant`` None takes the first form that this installation can run."""
    which = _trunk_kind(trunk)
    forms = which.variants(trunk)
    form = variant or next((f for f in forms if runnable(f) is None), forms[0])
    engine: Any = which.load(trunk, form, threads)
    found: Trunk = engine
    return found


def _copy_variant(source: Pack, name: str, target: Pack) -> None:
    """Give ``target`` the form that ``source`` has; a cache that cannot be written is left as it is."""
    import os

    if name in target.variants or not os.access(target.path, os.W_OK):
        return
    folder = source.variant_folder(name)

    def fill(new: Path) -> None:
        for file in folder.iterdir():
            if file.name != "variant.json":
                files.link_or_copy(file, new / file.name)

    record: VariantInfo = source.variant(name)
    add_variant(target, name, record, fill)


# --- making ----------------------------------------------------------------------------------------------------------
def save_text_classifier(
    path: str | Path,
    info: Info,
    labels: Sequence[Label] | LabelsFile,
    members: Sequence[Member],
    combine: Combine | Mapping[str, Any],
    examples: Sequence[Example | Mapping[str, Any]] = (),
    *,
    trunk: Pack | None = None,
    thin: bool = False,
    calibration: Calibration | Mapping[str, Any] | None = None,
    example_vectors: np.ndarray | None = None,
    crosswalk: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    preprocess: Mapping[str, Any] | None = None,
) -> Pack:
    """Save a text classifier as a Pack.

    With a trunk and examples, ``example_vectors`` [m, d] are the trunk's vectors of the normalised example texts; None
    computes them here with the first form of the trunk that runs. They are stored as float16. Other arrays are stored
    in the type they come in. Raises HedgerowError, and leaves nothing, when the parts do not fit one another.
    """
    file = labels if isinstance(labels, LabelsFile) else LabelsFile(labels=tuple(labels))
    kept = tuple(_record(Example, x, "example") for x in examples)
    settings = _record(Preprocess, {**USUAL.model_dump(), **(preprocess or {})}, "preprocess")
    vectors = None
    if trunk is not None and kept:
        if example_vectors is None:
            example_vectors = load_trunk(trunk).encode([normalise(x.text, settings.unicode) for x in kept])
        vectors = example_vectors.astype(np.float16)
    with create(path, info.model_copy(update={"kind": KIND.name}), trunk=trunk, thin=thin) as folder:
        write_parts(
            folder,
            file,
            settings,
            members,
            _record(Combine, combine, "combine"),
            _record(Calibration, calibration, "calibration"),
            kept,
            vectors,
            crosswalk or {},
        )
        dim = None if vectors is None else vectors.shape[1]
        draft = Draft(Path(path), info.model_copy(update={"trunk": trunk.digest if trunk else None}), folder)
        read_parts(draft, dim).crosswalk.check()
    return open_pack(path, verify=False)


def _record(model: type[R], value: R | Mapping[str, Any] | None, where: str) -> R:
    return value if isinstance(value, model) else check(model, value or {}, where)


KIND = TextClassifierKind()
