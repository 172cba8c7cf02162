"""A loaded text classifier: its members give probabilities, the tree and the coded examples make them an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Flops, Phase, Size
from hedgerow.kinds.hierarchy import Node
from hedgerow.kinds.text_codes import Translation, restrict
from hedgerow.kinds.text_features import chunks, normalise
from hedgerow.kinds.text_members import Batch, TfidfLinear, softmax
from hedgerow.kinds.text_sample import sample_text
from hedgerow.kinds.text_search import Postings, Vectors
from hedgerow.kinds.text_store import Parts
from hedgerow.kinds.texts import MAX_CHARACTERS
from hedgerow.schema import Record, check

_SAMPLES = 16  # texts from which a mean number of features is taken


class Trunk(Protocol):
    """What a text classifier asks of an encoder or a decoder: one vector a text."""

    runtime: dict[str, str]
    weights_bytes: int

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [n, d]."""
        ...

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """See :class:`~hedgerow.kinds.base.Engine`."""
        ...


class Options(Record):
    """Options of ``predict``."""

    top: int = Field(default=5, ge=1, le=1000)  # candidates
    nearest: int = Field(default=0, ge=0, le=1000)  # coded examples; 0 = none are looked for (`use` asks for 3)
    precision: float = Field(default=0.9, gt=0, le=1)  # wanted of a decision; picks a calibrated threshold
    threshold: float | None = Field(default=None, ge=0, le=1)  # smallest probability of a decision, in place of it
    codes: bool = True  # whether a row's national code is used
    to: str = ""  # a scheme of the crosswalk whose codes are given beside the classes


@dataclass(frozen=True)
class Ask:
    """One input, checked: the text as given (cut when too long), its normalised form, and a national code."""

    id: str | None
    text: str
    prepared: str
    scheme: str
    code: str
    truncated: bool


class TextClassifier:
    """The engine of the kind; see ``text_classifier.py`` for what an answer holds."""

    def __init__(self, parts: Parts, trunk: Trunk | None, runtime: dict[str, str], where: str) -> None:
        self.parts, self.runtime, self._trunk, self._where = parts, runtime, trunk, where
        self._tfidf = next((m.tfidf for m in parts.members if isinstance(m, TfidfLinear)), None)
        self._temperature = np.float32(parts.model.calibration.temperature)
        held = [a for m in parts.members for a in m.arrays.values()]
        if parts.store is not None:
            held.extend(parts.store.arrays.values())
        self.weights_bytes = sum(a.nbytes for a in held) + (trunk.weights_bytes if trunk else 0)

    @cached_property
    def _search(self) -> Vectors | Postings | None:
        """What the nearest examples are looked up in; an index of their words is made when it is first asked."""
        if self.parts.store is not None or not self.parts.examples or self._tfidf is None:
            return self.parts.store
        unicode = self.parts.preprocess.unicode
        return Postings(self._tfidf, [normalise(x.text, unicode) for x in self.parts.examples])

    # --- probabilities -----------------------------------------------------------------------------------------------
    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated class probabilities, float32 [n, K]; every row sums to 1."""
        asks = [self.ask(text, f"text {i + 1}") for i, text in enumerate(texts)]
        out = np.empty((len(asks), len(self.parts.tree)), np.float32)
        for part in chunks([a.prepared for a in asks]):
            out[part] = self._mixed(self._batch(asks[part]))
        return out

    def _batch(self, asks: Sequence[Ask]) -> Batch:
        return Batch([a.prepared for a in asks], self._trunk.encode if self._trunk else None)

    def _mixed(self, batch: Batch) -> np.ndarray:
        combine = self.parts.model.combine
        n, k = len(batch.texts), len(self.parts.tree)
        total, weight = np.zeros((n, k), np.float32), np.zeros(n, np.float32)
        decided = np.zeros(n, bool)
        for i, member in enumerate(self.parts.members):
            first = combine.rule == "first" or (combine.exact_first and member.passes)
            share = 1.0 if first else combine.weights[i]
            if share == 0 or decided.all():
                continue
            p, answers = member.probabilities(batch)
            if answers is None and not decided.any():  # the usual case, without a copy
                total += np.float32(share) * p
                weight += np.float32(share)
                decided |= first
                continue
            open_rows = ~decided if answers is None else ~decided & answers
            if first:  # what weighted members said before no longer counts
                total[open_rows], weight[open_rows] = 0, 0
            total[open_rows] += np.float32(share) * p[open_rows]
            weight[open_rows] += np.float32(share)
            decided |= first & open_rows
        nobody = weight == 0
        total[nobody], weight[nobody] = 1 / k, 1
        total /= weight[:, None]
        return temper(total, self._temperature)

    # --- answers -----------------------------------------------------------------------------------------------------
    def ask(self, value: Any, where: str = "input") -> Ask:
        """An input checked: a text, or ``{text, id?, code?, scheme?}``. HedgerowError for an empty or non-text one."""
        row = value if isinstance(value, Mapping) else {"text": value}
        text = row.get("text", "")
        if not isinstance(text, str):
            raise HedgerowError(f"{where}: a text is needed, got {type(text).__name__}")
        if len(text) > MAX_CHARACTERS:
            raise HedgerowError(f"{where}: the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
        code, scheme = str(row.get("code") or "").strip(), str(row.get("scheme") or "").strip()
        coded = bool(code and scheme)
        most = self.parts.preprocess.max_characters
        truncated = len(text) > most
        text = text[:most]
        prepared = normalise(text, self.parts.preprocess.unicode)
        if not prepared and not coded:
            raise HedgerowError(f"{where}: the text is empty")
        identity = row.get("id")
        return Ask(
            None if identity is None else str(identity),
            text,
            prepared,
            scheme if coded else "",
            code if coded else "",
            truncated,
        )

    def threshold(self, options: Options) -> float:
        """The smallest probability that decides: given, or calibrated for the wanted precision, or that precision."""
        if options.threshold is not None:
            return options.threshold
        found = self.parts.model.calibration.thresholds
        if not found:
            return options.precision
        for precision, threshold in found.items():
            if abs(float(precision) - options.precision) < 1e-9:
                return threshold
        have = ", ".join(sorted(found))
        raise HedgerowError(
            f"{self._where} has thresholds for precision {have}, not {options.precision}; or set a threshold"
        )

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One answer per input, as the kind's schema says."""
        chosen = check(Options, dict(options), "options")
        threshold = self.threshold(chosen)
        if chosen.to:
            self.parts.crosswalk.named(chosen.to)  # an unknown scheme is the caller's mistake, not a row's
        asks = [self.ask(x, f"input {i + 1}" if len(inputs) > 1 else "input") for i, x in enumerate(inputs)]
        out: list[dict[str, Any]] = []
        for part in chunks([a.prepared for a in asks]):
            out.extend(self._answers(asks[part], chosen, threshold))
        return out

    def _answers(self, asks: Sequence[Ask], options: Options, threshold: float) -> list[dict[str, Any]]:
        tree = self.parts.tree
        batch = self._batch(asks)
        p = self._mixed(batch)
        translations: dict[int, Translation] = {}
        for i, ask in enumerate(asks):
            if options.codes and ask.scheme:
                found = translations[i] = self.parts.crosswalk.translate(ask.scheme, ask.code)
                if found.labels:
                    p[i] = restrict(p[i], found.labels, bool(ask.prepared))
                elif not ask.prepared:
                    raise HedgerowError(f"{found.note}, and there is no text to answer from")
        nodes = tree.decide(p, threshold)
        candidates = self._candidates(p, min(options.top, len(tree)))
        nearest = self._nearest(batch, options.nearest)
        answers = [
            self._answer(asks[i], nodes[i], candidates[i], nearest[i] if asks[i].prepared else [], translations.get(i))
            for i in range(len(asks))
        ]
        return [self._translated(a, options.to) for a in answers] if options.to else answers

    def _translated(self, answer: dict[str, Any], scheme: str) -> dict[str, Any]:
        """The answer with every code of ``scheme`` that each candidate class can stand for."""
        walk, index = self.parts.crosswalk, self.parts.tree.index
        codes = {c["code"]: list(walk.images(scheme, index[c["code"]])) for c in answer["candidates"]}
        return {**answer, "to": {"scheme": walk.named(scheme), "codes": codes}}

    def _answer(
        self,
        ask: Ask,
        node: Node,
        candidates: list[dict[str, Any]],
        nearest: list[dict[str, Any]],
        via: Translation | None,
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "id": ask.id,
            "text": ask.text,
            "decision": node.level,
            "code": node.code,
            "title": node.title,
            "p": round(node.p, 6),
            "candidates": candidates,
            "nearest": nearest,
        }
        if via is not None:
            codes = self.parts.tree.codes
            answer["via"] = {"scheme": via.scheme, "code": via.code, "classes": [codes[i] for i in via.labels]}
            if via.note:
                answer["note"] = via.note if via.labels else f"{via.note}; answered from the text alone"
        if ask.truncated:
            answer["truncated"] = True
        return answer

    def _candidates(self, p: np.ndarray, top: int) -> list[list[dict[str, Any]]]:
        """Best classes with a probability above 0."""
        labels = self.parts.tree.labels
        found = np.argpartition(p, -top, axis=1)[:, -top:]
        values = np.take_along_axis(p, found, 1)
        order = np.lexsort((found, -values), axis=1)
        ids = np.take_along_axis(found, order, 1).tolist()
        shares = np.round(np.take_along_axis(values, order, 1).astype(np.float64), 6).tolist()
        return [
            [
                {"code": labels[j].code, "title": labels[j].title, "p": share}
                for j, share in zip(row, row_shares)
                if share > 0
            ]
            for row, row_shares in zip(ids, shares)
        ]

    def _nearest(self, batch: Batch, k: int) -> list[list[dict[str, Any]]]:
        if k == 0 or self._search is None:
            return [[] for _ in batch.texts]
        if isinstance(self._search, Postings):
            found, cosines = self._search.nearest(batch.rows(self._search.tfidf), k)
        else:
            found, cosines = self._search.nearest(batch.unit, k)
        shares = np.round(cosines.astype(np.float64), 4).tolist()
        examples = self.parts.examples
        return [
            [
                {"text": examples[j].text, "code": examples[j].code, "similarity": share}
                for j, share in zip(row, row_shares)
                if share > 0
            ]
            for row, row_shares in zip(found.tolist(), shares)
        ]

    # --- weighing ----------------------------------------------------------------------------------------------------
    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """One phase: texts in, answers out."""
        return [Phase("run", float(len(inputs)), partial(self.predict, list(inputs), Options().model_dump()))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula: the members at the mean number of features of sample texts, and the trunk; what `run` does."""
        nnz = self._features(size["words"])
        count = sum(m.flops(nnz) for m in self.parts.members) + 2.0 * len(self.parts.tree)
        cover = "members by closed formula"
        count *= batch
        if self._trunk is not None:
            trunk = self._trunk_flops(size["words"], batch)
            if trunk is None:
                return None
            count += trunk.count
            cover += f", trunk: {trunk.cover}"
        return Flops(count, cover)

    def _trunk_flops(self, words: int, batch: int) -> Flops | None:
        """Of a trunk's own way to a vector: an encoder counts words, a decoder tokens (taken as 1.4 a word)."""
        size = {"words": words, "prompt": round(1.4 * words)}
        assert self._trunk is not None
        found = (self._trunk.flops(phase, size, batch) for phase in ("run", "encode", "prefill"))
        return next((f for f in found if f is not None), None)

    def _features(self, words: int) -> float:
        """Mean number of TF-IDF features of sample texts of that many words, 0 without such a member."""
        if self._tfidf is None:
            return 0.0
        return len(self._tfidf.rows([sample_text(words, seed) for seed in range(_SAMPLES)]).values) / _SAMPLES


def temper(p: np.ndarray, temperature: float | np.float32) -> np.ndarray:
    """``p^(1/temperature)``, each row scaled to sum 1; a class with p = 0 keeps 0. The array is overwritten."""
    if temperature == 1:
        return p
    with np.errstate(divide="ignore"):
        np.log(p, out=p)
    p /= np.float32(temperature)
    return softmax(p)
