"""More coded examples for a text classifier, without training it again: ``build --from PACK --set examples=…``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import LabelsFile, Tree
from hedgerow.kinds.text_classifier import load_trunk, save_text_classifier
from hedgerow.kinds.text_features import exact_key, normalise
from hedgerow.kinds.text_members import Member
from hedgerow.kinds.text_store import (
    CROSSWALK,
    EXAMPLES,
    LABELS,
    MODEL,
    PREPROCESS,
    Combine,
    Example,
    ModelFile,
    Preprocess,
    read_members,
)
from hedgerow.pack import Pack, Parent, Source
from hedgerow.schema import check

_OWN = Source(name="examples added by the user", licence="the user's own", shareable=False)


def add_examples(
    pack: Pack,
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    source: Source | None = None,
    scorable: bool = True,
) -> Pack:
    """A new Pack at ``path`` that also knows the coded texts of ``rows`` (``text``, ``code``, optional ``source``).

    Nothing is trained. The texts join the examples and the vectors that nearest neighbours are looked up in, and a text
    that is met again word for word gets its code (an ``exact`` table is added where the Pack has none). A row whose
    text is known already replaces what was known. ``source`` is recorded as data of the new Pack; without it the rows
    count as the user's own and the Pack as not shareable. ``scorable`` false: an added text stands in the test of the
    Task that the Pack names, so the new one names none. Raises HedgerowError for an empty text, an unknown code, and
    no rows at all.
    """
    if not rows:
        raise HedgerowError("there are no examples to add: the file holds no row")
    labels = check(LabelsFile, pack.json(LABELS), f"{pack.path}/{LABELS}")
    model = check(ModelFile, pack.json(MODEL), f"{pack.path}/{MODEL}")
    settings = check(Preprocess, pack.json(PREPROCESS), f"{pack.path}/{PREPROCESS}")
    new = _read(rows, Tree(labels), settings)
    old = [check(Example, x, EXAMPLES) for x in pack.json(EXAMPLES)]
    members, vectors = read_members(pack)
    stays = np.array([exact_key(x.text) not in new for x in old], bool)
    examples = [*(x for x, s in zip(old, stays) if s), *new.values()]
    fresh = None
    trunk = pack.trunk() if pack.info.trunk is not None else None
    if trunk is not None:
        fresh = load_trunk(trunk).encode([normalise(x.text, settings.unicode) for x in new.values()])
        vectors = fresh if vectors is None else np.concatenate([vectors[stays].astype(np.float32), fresh])
    codes = [label.code for label in labels.labels]
    members = [_grown(m, list(new.values()), fresh, codes) for m in members]
    members, combine = _with_exact(members, model.combine, new)
    added = source or _OWN
    info = pack.info.model_copy(
        update={
            "name": Path(path).name,
            "task": pack.info.task if scorable else None,
            "parents": (*pack.info.parents, Parent(role="start", name=pack.info.name, digest=pack.digest)),
            "data": (*pack.info.data, added.model_copy(update={"rows": len(new)})),
            "shareable": pack.info.shareable and added.shareable,
        }
    )
    return save_text_classifier(
        path,
        info,
        labels,
        members,
        combine,
        examples,
        trunk=trunk,
        thin=trunk is not None and not (pack.path / "trunk").is_dir(),
        calibration=model.calibration,
        example_vectors=vectors,
        crosswalk=pack.json(CROSSWALK) if model.crosswalk else None,
        preprocess=settings.model_dump(),
    )


def _read(rows: Sequence[Mapping[str, Any]], tree: Tree, settings: Preprocess) -> dict[str, Example]:
    """The rows by :func:`exact_key`; of two rows with one text the later counts."""
    found = {}
    for number, row in enumerate(rows, start=1):
        where = f"example {number}"
        text, code = row.get("text"), row.get("code")
        if not isinstance(text, str) or not normalise(text, settings.unicode):
            raise HedgerowError(f"{where}: the text is empty")
        tree.find(str(code), where)
        found[exact_key(text)] = Example(text=text, code=str(code), source=str(row.get("source") or "user"))
    return found


def _grown(member: Member, new: Sequence[Example], fresh: np.ndarray | None, codes: Sequence[str]) -> Member:
    """The member with the new examples in its own store, where it has one."""
    if member.type == "exact":
        table = {exact_key(text): found for text, found in member.tables["table"].items()}
        return Member(member.type, member.settings, {}, {"table": table | _table(new)})
    if member.type == "trunk-knn" and member.arrays and fresh is not None:
        vectors, labels = member.arrays["vectors"], member.arrays["labels"]
        more = np.array([codes.index(x.code) for x in new], labels.dtype)
        grown = {
            "vectors": np.concatenate([vectors, fresh.astype(vectors.dtype)]),
            "labels": np.concatenate([labels, more]),
        }
        return Member(member.type, member.settings, grown, {})
    return member


def _table(new: Sequence[Example]) -> dict[str, list[str]]:
    return {exact_key(x.text): [x.code] for x in new}


def _with_exact(members: list[Member], combine: Combine, new: Mapping[str, Example]) -> tuple[list[Member], Combine]:
    """Members that know the new texts word for word, and a combination in which that counts first."""
    if any(m.type == "exact" for m in members):
        return members, combine
    exact = Member("exact", tables={"table": _table(list(new.values()))})
    if combine.rule == "first":
        return [exact, *members], combine
    return [*members, exact], Combine(rule="mean", weights=(*combine.weights, 0.0), exact_first=True)
