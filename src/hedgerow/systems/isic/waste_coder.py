"""A classifier Pack as a coder of records: texts to ISIC Rev.4 classes, and what it is not sure of left open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hedgerow import kinds
from hedgerow.errors import HedgerowError
from hedgerow.records import Coding, Store
from hedgerow.systems.isic.waste_cells import classes_of

KEPT = 5  # classes of a text that are kept
_NONE = Coding()


class Coder:
    """A text classifier with the 419 classes of ISIC Rev.4; its digest goes beside every coding."""

    def __init__(self, pack: str | Path) -> None:
        self._model = kinds.open(pack)
        found = self._model.pack.json("labels.json") if self._model.pack.has("labels.json") else None
        labels = found.get("labels") if isinstance(found, dict) else None
        if not labels or not all(len(label["code"]) == 4 and label["code"].isdigit() for label in labels):
            raise HedgerowError(f"{pack} does not answer in four-digit classes of ISIC Rev.4: no coder of records")
        self.digest, self.name = self._model.pack.digest, self._model.pack.info.name
        self._known: dict[str, Coding] = {}

    def code(self, texts: Sequence[str]) -> list[Coding]:
        """A coding a text: the best classes with shares, or none where the Pack says 'review'."""
        new = sorted(set(texts) - self._known.keys(), key=lambda t: (len(t), t))
        if len(self._known) > 200_000:  # a list of that many firms: start over rather than fill the memory
            self._known.clear()
            new = sorted(set(texts))
        for text, answer in zip(new, self._model.predict(new, top=KEPT) if new else []):
            self._known[text] = _coding(answer)
        return [self._known[t] for t in texts]


def _coding(answer: dict[str, Any]) -> Coding:
    if answer["decision"] == "review" or not answer["candidates"]:
        return _NONE
    shares = [(c["code"], float(c["p"])) for c in answer["candidates"] if c["p"] > 0.005]
    total = sum(p for _, p in shares)
    kept = tuple((code, min(1.0, round(p / total, 4))) for code, p in shares)
    return Coding(isic=kept, how="classifier", level=answer["decision"])


def recode(store: Store, coder: Coder) -> int:
    """Code every text of the store again, as one batch that :meth:`Store.undo` takes back; returns the codings.

    Sides whose own code leads to ISIC keep that coding: a classifier does not overrule what a source says.
    """
    return store.recode(_codings(store, coder), coder=coder.digest, name=coder.name)


def _codings(store: Store, coder: Coder) -> Iterator[tuple[int, str, Coding]]:
    waiting: list[tuple[int, str, str]] = []
    for side in store.sides():
        if not side.text or _leads(side.codes, side.scheme):
            continue
        waiting.append((side.id, side.side, side.text))
        if len(waiting) >= 256:
            yield from _done(waiting, coder)
            waiting.clear()
    yield from _done(waiting, coder)


def _leads(codes: Sequence[str], scheme: str) -> bool:
    try:
        return bool(codes) and all(classes_of(code, scheme)[0] for code in codes)
    except HedgerowError:
        return False


def _done(waiting: Sequence[tuple[int, str, str]], coder: Coder) -> Iterator[tuple[int, str, Coding]]:
    for (number, side, _), coding in zip(waiting, coder.code([t for _, _, t in waiting])):
        yield number, side, coding
