"""Recommenders: a donor and its waste -> industry classes that took such a waste before, with the records that say so.

The Pack's trunk is a text classifier (its parent, by digest), which tells what the donor is; ``records.json`` is the
snapshot of records, inside the Pack's digest. A live store is asked with the option ``records`` in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.base import Kind, Unit
from hedgerow.kinds.hierarchy import LabelsFile, Tree
from hedgerow.kinds.recommender_engine import SIDES, USUAL, Model, Options, Recommender, question
from hedgerow.kinds.recommender_source import Kept, Snapshot, distinct, read_kept
from hedgerow.kinds.text_classifier import load_trunk
from hedgerow.kinds.text_engine import TextClassifier
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_sample import sample_text
from hedgerow.kinds.text_search import unit
from hedgerow.pack import Info, Pack, Parent, create, open_pack, write_arrays
from hedgerow.runtimes import runnable
from hedgerow.schema import check

MODEL, RECORDS, VECTORS, LABELS = "model.json", "records.json", "weights.safetensors", "labels.json"
_CLASS = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "title": {"type": "string"}, "p": {"type": "number"}},
    "required": ["code", "title", "p"],
}
_RECORD = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "kind": {"enum": ["lca_link", "reported_exchange", "user"], "description": "an lca_link is no deal"},
        "source": {"type": "string"},
        "licence": {"type": "string"},
        "text": {"type": ["string", "null"], "description": "null where its licence does not let it be printed"},
    },
    "required": ["id", "kind", "source", "text"],
}
_RECEIVER = {
    "type": "object",
    "properties": {
        "code": {"type": "string"},
        "title": {"type": "string"},
        "score": {"type": "number", "description": "G^a w^(1-a) of its best record, 0 to 1; no probability"},
        "level": {"type": "string", "description": "how near the donor of that record is"},
        "recovery": {"type": "boolean", "description": "false: landfill, incineration, collection or disposal"},
        "count": {"type": "integer", "description": "records that speak for it"},
        "records": {"type": "array", "items": _RECORD},
    },
    "required": ["code", "title", "score", "level", "recovery", "count", "records"],
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "answer of a recommender",
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"]},
        "donor": {"type": "string"},
        "waste": {"type": "string"},
        "classes": {"type": "array", "items": _CLASS, "description": "what the donor is taken for"},
        "how": {"enum": ["given", "concordance", "classifier", "unknown"]},
        "receivers": {"type": "array", "items": _RECEIVER, "description": "best first, disposal last"},
        "note": {"type": "string"},
    },
    "required": ["id", "donor", "waste", "classes", "how", "receivers"],
}


class RecommenderKind:
    """Donor and waste -> receivers, with score, matched level and the records behind each."""

    name = "recommender"
    summary = "names the industries that took such a waste before, with the records that say so"
    unit = Unit(
        name="question",
        sizes=({"words": 4}, {"words": 12}, {"words": 30}),
        make=lambda size, seed: f"{sample_text(size['words'], seed)} {SIDES} {sample_text(3, seed + 1)}",
        bytes_in=lambda size: 7 * (size["words"] + 4),
        bytes_out=lambda size: 6000 + 7 * size["words"],  # ten receivers with three records each as JSON
    )
    schema = SCHEMA
    options: dict[str, Any] = Options().model_dump()
    explains: dict[str, Any] = {}
    needs = ("donor_text", "waste_text")
    columns = ("best_code", "best_title", "best_score", "best_level", "recovery", "receivers", "donor_class", "how",
               "evidence", "note")  # fmt: skip
    metrics = ("hit5", "hit1", "hit10", "mrr")

    def read(self, row: Mapping[str, Any], base: Path) -> dict[str, Any]:
        """``{donor_text, waste_text, id?, donor_isic?, donor_scheme?, donor_code?, ewc?, ewc_stat?, place?}``."""
        if "donor_text" not in row:
            raise HedgerowError(f"there is no column 'donor_text'; the columns are {', '.join(map(str, row))}")
        known = ("id", "donor_isic", "donor_scheme", "donor_code", "ewc", "ewc_stat", "latitude", "longitude")
        asked = question({k: row[k] for k in ("donor_text", "waste_text", *known) if row.get(k) is not None}, "the row")
        return asked

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """One row; ``receivers`` as '2394 0.61; 2395 0.20', ``evidence`` as 'user 0a1b…' of the best receiver."""
        best = answer["receivers"][0] if answer["receivers"] else None
        donor = answer["classes"][0] if answer["classes"] else None
        return {
            "best_code": best["code"] if best else "",
            "best_title": best["title"] if best else "",
            "best_score": best["score"] if best else "",
            "best_level": best["level"] if best else "",
            "recovery": "" if best is None else "yes" if best["recovery"] else "no",
            "receivers": "; ".join(f"{r['code']} {r['score']:.3f}" for r in answer["receivers"]),
            "donor_class": donor["code"] if donor else "",
            "how": answer["how"],
            "evidence": "; ".join(f"{r['kind']} {r['id'][:12]}" for r in best["records"]) if best else "",
            "note": answer.get("note", ""),
        }

    def line(self, answer: Mapping[str, Any]) -> str:
        """The best receivers, a line each, with the nearest record behind them; at most five lines."""
        donor = answer["classes"][0] if answer["classes"] else None
        head = f"donor {donor['code']} {donor['title']} ({answer['how']})" if donor else "donor unknown"
        lines = [head]
        for r in answer["receivers"][:3]:
            what = "" if r["recovery"] else ", disposal"
            many = f"{r['count']} record{'' if r['count'] == 1 else 's'}"
            lines.append(f"   {r['score']:.2f}  {r['code']} {r['title']}  ({r['level']}, {many}{what})")
            if r is answer["receivers"][0] and r["records"]:
                first = r["records"][0]
                text = first["text"] or "its text may not be printed"
                lines[-1] += f"\n         {first['kind']}, {first['source']}: {text}"
        if "note" in answer and len(lines) < 4:
            lines.append(f"   note: {answer['note']}")
        return "\n".join(lines)

    def check(self, pack: Pack) -> None:
        """Whether model, records and vectors fit the classifier, and the classifier is whole."""
        trunk = _classifier(pack)
        _kind(trunk).check(trunk)
        read_parts(pack, trunk)

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """The forms of the classifier."""
        trunk = _classifier(pack, verify=False)
        return _kind(trunk).variants(trunk)

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """This Pack's own files and what the classifier's form needs."""
        trunk = _classifier(pack, verify=False)
        return pack.bytes + _kind(trunk).disk_bytes(trunk, variant)

    def load(self, pack: Pack, variant: str, threads: int) -> Recommender:
        """Load the classifier in the form ``variant``, and index the snapshot's wastes."""
        if variant not in self.variants(pack):
            raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, self.variants(pack))}")
        trunk = _classifier(pack, verify=False)
        model, kept, vectors, tree = read_parts(pack, trunk)
        engine: Any = _kind(trunk).load(trunk, variant, threads)
        classifier: TextClassifier = engine
        encoder = None
        if vectors is not None:
            encoder = load_trunk(trunk.trunk(verify=False), variant, threads)
            width = int(encoder.encode(["a"]).shape[1])
            if width != vectors.shape[1]:
                raise HedgerowError(f"{pack.path}: {VECTORS} has {vectors.shape[1]} values a waste, the trunk {width}")
        return Recommender(model, classifier, encoder, Snapshot(kept, tree, vectors), str(pack.path))

    def export(self, pack: Pack, to: str) -> Pack:
        """Add the form ``to`` to the classifier's trunk; the Pack's digest stays."""
        trunk = _classifier(pack)
        _kind(trunk).export(trunk, to)
        return open_pack(pack.path, verify=False)


def _classifier(pack: Pack, *, verify: bool = True) -> Pack:
    trunk = pack.trunk(verify=verify)
    if trunk.info.kind != "text-classifier":
        raise HedgerowError(f"{trunk.path} is a Pack of kind {trunk.info.kind}; a recommender needs a text-classifier")
    return trunk


def _kind(trunk: Pack) -> Kind:
    from hedgerow import kinds

    return kinds.kind(trunk.info.kind)


def read_parts(pack: Pack, trunk: Pack) -> tuple[Model, list[Kept], np.ndarray | None, Tree]:
    """(settings, records, vectors of the distinct wastes [W, d] of unit length or None, the classifier's tree)."""
    where = str(pack.path)
    model = check(Model, pack.json(MODEL), f"{where}/{MODEL}")
    tree = Tree(check(LabelsFile, trunk.json(LABELS), f"{trunk.path}/{LABELS}"), f"{trunk.path}/{LABELS}")
    kept = read_kept(pack.json(RECORDS), tree, f"{where}/{RECORDS}")
    vectors = None
    if trunk.info.trunk is not None:
        arrays = pack.arrays(VECTORS)
        wastes = len(distinct(kept)[0])
        found = arrays.get("vectors")
        if found is None or len(arrays) != 1:
            raise HedgerowError(f"{where}/{VECTORS} must hold exactly the array 'vectors'")
        if found.dtype != np.float16 or found.ndim != 2 or len(found) != wastes or not found.shape[1]:
            raise HedgerowError(f"{where}/{VECTORS}: float16 [{wastes}, d] is needed, got {found.dtype} {found.shape}")
        if not np.isfinite(found).all():
            raise HedgerowError(f"{where}/{VECTORS} holds values that are no numbers")
        vectors = unit(found.astype(np.float32))
    elif pack.has(VECTORS):
        raise HedgerowError(f"{where} holds {VECTORS}, but its classifier has no encoder")
    return model, kept, vectors, tree


def save_recommender(
    path: str | Path,
    info: Info,
    classifier: Pack,
    kept: Sequence[Kept],
    model: Model | Mapping[str, Any] | None = None,
    *,
    thin: bool = False,
    threads: int = 1,
) -> Pack:
    """Save a recommender as a Pack whose trunk is ``classifier``.

    With a classifier that reads an encoder's vectors, those of the distinct wastes are computed here with the first of
    its forms that runs, and stored as float16. The Pack may be handed on only if the classifier and every record may,
    whatever ``info`` says. Raises HedgerowError, and leaves nothing, when the parts do not fit.
    """
    settings = model if isinstance(model, Model) else check(Model, {**USUAL.model_dump(), **(model or {})}, "model")
    parent = Parent(role="start", name=classifier.info.name, digest=classifier.digest)
    shareable = info.shareable and classifier.info.shareable and all(k.exchange.shareable for k in kept)
    info = info.model_copy(update={"kind": KIND.name, "parents": (*info.parents, parent), "shareable": shareable})
    vectors = None
    if classifier.info.trunk is not None:
        forms = _kind(classifier).variants(classifier)
        form = next((f for f in forms if runnable(f) is None), forms[0])
        texts = [normalise(w.text) for w in distinct(kept)[0]]
        vectors = unit(load_trunk(classifier.trunk(), form, threads).encode(texts)).astype(np.float16)
    with create(path, info, trunk=classifier, thin=thin, check=KIND.check) as folder:
        files.write_json(folder / MODEL, settings.model_dump(mode="json"))
        rows = [{**k.model_dump(mode="json", exclude={"exchange"}), "exchange": _short(k)} for k in kept]
        files.write_text(folder / RECORDS, "[\n" + ",\n".join(files.canonical(row) for row in rows) + "\n]\n")
        if vectors is not None:
            write_arrays(folder / VECTORS, {"vectors": vectors})
    return open_pack(path, verify=False)


def _short(kept: Kept) -> dict[str, Any]:
    return kept.exchange.model_dump(mode="json", exclude_defaults=True)


KIND = RecommenderKind()
