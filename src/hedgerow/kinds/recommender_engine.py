"""A loaded recommender: the classifier says what the donor is, the records say who took such a waste."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Flops, Phase, Size
from hedgerow.kinds.recommender_index import Wording
from hedgerow.kinds.recommender_match import LEVELS, WORDS, Links, Nearness, Ranked, donor_match, link_scores, rank
from hedgerow.kinds.recommender_source import Filter, Live, Snapshot, Source, open_live
from hedgerow.kinds.text_engine import TextClassifier, Trunk
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_search import unit
from hedgerow.schema import Record, check

SIDES = "::"  # between donor and waste in one text
_MOST_DEGREES = {"latitude": 90.0, "longitude": 180.0}


class Model(Record):
    """``model.json``."""

    a: float = Field(ge=0, le=1)  # weight of the donor's class; 1 - a is that of the waste
    betas: tuple[float, float, float, float, float]  # back-off: same class, group, division, section, none of them
    bonus: float = Field(ge=0, le=1)  # for an equal EWC or EWC-Stat code
    least: float = Field(ge=0, le=1)  # likeness below which a waste says nothing: a few shared letters
    classes: int = Field(ge=1, le=1000)  # of the donor that are kept, the most probable
    wastes: int = Field(ge=1, le=100_000)  # of a live store that are looked at first
    most: int = Field(ge=1, le=100_000)  # … and at most
    fitted_on: str = Field(default="", max_length=200)

    @model_validator(mode="after")
    def _falling(self) -> Model:
        if not all(0 < b <= 1 for b in self.betas) or any(x < y for x, y in zip(self.betas, self.betas[1:])):
            raise ValueError("the betas must fall from the class to the section, within (0, 1]")
        if self.most < self.wastes:
            raise ValueError("'most' is less than 'wastes'")
        return self


USUAL = Model(a=0.5, betas=(1.0, 0.6, 0.3, 0.1, 0.02), bonus=0.2, least=0.1, classes=5, wastes=100, most=800)


class Options(Record):
    """Options of ``predict``."""

    top: int = Field(default=10, ge=1, le=1000)  # receivers
    evidence: int = Field(default=3, ge=0, le=100)  # records shown for each
    records: str = ""  # URL or SQLite file of a live store; '' = the Pack's own snapshot
    disposal: Literal["last", "mixed", "never"] = "last"  # landfill, incineration and the like
    hazard: Literal["any", "yes", "no"] = "any"  # records known to be of hazardous waste, or known not to be
    permit: bool = False  # only records known to have had a permit
    quantity: float = Field(default=0.0, ge=0)  # only records of at least that much, in `unit`
    unit: str = ""
    within_km: float = Field(default=0.0, ge=0)  # of the row's latitude and longitude
    texts: bool = False  # print also texts whose licence does not let them be handed on

    @model_validator(mode="after")
    def _unit(self) -> Options:
        if self.quantity > 0 and not self.unit:
            raise ValueError("a quantity needs its unit: --set unit=t")
        return self


@dataclass(frozen=True)
class Ask:
    """One question, checked."""

    id: str | None
    donor: str
    waste: Wording
    isic: tuple[str, ...]  # donor's classes, when the row gives them
    scheme: str
    code: str
    latitude: float | None
    longitude: float | None


@dataclass(frozen=True)
class Donor:
    """What the donor is: probabilities [K], how that was found, and a remark."""

    p: np.ndarray
    how: str  # given, concordance, classifier, unknown
    note: str = ""


class Recommender:
    """The engine of the kind; see ``recommender.py`` for what an answer holds."""

    def __init__(
        self, model: Model, classifier: TextClassifier, encoder: Trunk | None, snapshot: Snapshot, where: str
    ) -> None:
        self.model, self.classifier, self.snapshot, self._where = model, classifier, snapshot, where
        self._encoder = encoder if snapshot.index.vectors is not None else None
        self.tree = classifier.parts.tree
        self.near = Nearness(self.tree, model.betas)
        self.runtime = classifier.runtime
        self.weights_bytes = classifier.weights_bytes + snapshot.index.bytes + self.near.g.nbytes
        self._live: dict[str, Live] = {}

    # --- questions ---------------------------------------------------------------------------------------------------
    def ask(self, value: Any, where: str = "input") -> Ask:
        """An input checked: 'donor :: waste', or a row of ``donor_text, waste_text`` and more."""
        row = question(value, where)
        cells = str(row.get("donor_isic") or "").replace(",", ";").replace(" ", ";").split(";")
        isic = tuple(dict.fromkeys(c for c in cells if c))
        for code in isic:
            self.tree.find(code, f"{where}: donor_isic")
        waste = Wording(row["waste_text"], "".join(str(row.get("ewc") or "").split()), str(row.get("ewc_stat") or ""))
        identity = row.get("id")
        return Ask(
            None if identity is None else str(identity),
            normalise(row["donor_text"]),
            waste,
            isic,
            str(row.get("donor_scheme") or "").strip(),
            str(row.get("donor_code") or "").strip(),
            _number(row, "latitude", where),
            _number(row, "longitude", where),
        )

    def donors(self, asks: Sequence[Ask]) -> list[Donor]:
        """The donors' classes: as given, else by the concordance of a national code, else by the classifier."""
        out: dict[int, Donor] = {}
        texts: list[int] = []
        for i, ask in enumerate(asks):
            note = ""
            if ask.isic:
                out[i] = Donor(_equal([self.tree.index[c] for c in ask.isic], len(self.tree)), "given")
                continue
            if ask.scheme and ask.code:
                found = self.classifier.parts.crosswalk.translate(ask.scheme, ask.code)
                if found.labels:
                    out[i] = Donor(_equal(found.labels, len(self.tree)), "concordance", found.note)
                    continue
                note = f"{found.note}; answered from the donor's text"
            if ask.donor:
                texts.append(i)
                out[i] = Donor(np.zeros(0), "classifier", note)
            else:
                out[i] = Donor(np.zeros(len(self.tree)), "unknown", note or "nothing is known of the donor")
        if texts:
            p = self.classifier.probabilities([asks[i].donor for i in texts])
            for i, row in zip(texts, p):
                out[i] = Donor(self._most_probable(row), "classifier", out[i].note)
        return [out[i] for i in range(len(asks))]

    def _most_probable(self, p: np.ndarray) -> np.ndarray:
        k = min(self.model.classes, len(p))
        kept = np.argsort(-p, kind="stable")[:k]
        out = np.zeros(len(p))
        out[kept] = p[kept]
        return out

    def _vectors(self, asks: Sequence[Ask]) -> list[np.ndarray | None]:
        if self._encoder is None:
            return [None] * len(asks)
        return list(unit(self._encoder.encode([normalise(a.waste.text) for a in asks])))

    def _likeness(self, source: Source, ask: Ask, vector: np.ndarray | None) -> np.ndarray:
        """w [W], 0 where it is too small to mean anything."""
        w = source.index.similar(ask.waste, vector, self.model.bonus)
        return np.where(w >= self.model.least, w, np.float32(0))

    def _weight(self, donor: Donor) -> float:
        """a; of a donor of whom nothing is known, nothing is made: the waste alone decides."""
        return 0.0 if donor.how == "unknown" else self.model.a

    # --- scores ------------------------------------------------------------------------------------------------------
    def scores(self, inputs: Sequence[Any]) -> np.ndarray:
        """Score of every class as a receiver, by the snapshot's best link, float64 [n, K]."""
        asks = [self.ask(x) for x in inputs]
        out = np.zeros((len(asks), len(self.tree)))
        links = self.snapshot.links(None, Filter())
        for i, (ask, donor, vector) in enumerate(zip(asks, self.donors(asks), self._vectors(asks))):
            g, _ = donor_match(donor.p, links.donors, self.near)
            w = self._likeness(self.snapshot, ask, vector)
            np.maximum.at(out[i], links.receiver, link_scores(links, g, w, self._weight(donor)))
        return out

    def search(
        self, source: Source, donor: Donor, w: np.ndarray, wanted: Filter, top: int, disposal: str
    ) -> tuple[Links, np.ndarray, np.ndarray, Ranked]:
        """(links, their scores, levels of donors, ranking).

        A live store is asked for the most similar wastes first, then for four times as many, until no waste that is
        left could reach the ``top`` best (since G <= 1, its links score at most w^(1-a)), or ``most`` were looked at.
        """
        if source.whole:
            return self._ranked(source.links(None, wanted), donor, w, top, disposal)
        order = np.argsort(-w, kind="stable")
        order = order[w[order] > 0]
        count = self.model.wastes
        while True:
            found = self._ranked(source.links(order[:count], wanted), donor, w, top, disposal)
            if count >= min(len(order), self.model.most):
                return found
            ranked = found[3]
            sure = ranked.recovery if disposal == "last" else np.ones(len(ranked.scores), bool)
            reached = len(ranked.scores) >= top and sure[:top].all()
            if reached and float(w[order[count]]) ** (1 - self._weight(donor)) <= ranked.scores[:top].min():
                return found
            count = min(4 * count, self.model.most)

    def _ranked(
        self, links: Links, donor: Donor, w: np.ndarray, top: int, disposal: str
    ) -> tuple[Links, np.ndarray, np.ndarray, Ranked]:
        g, levels = donor_match(donor.p, links.donors, self.near)
        scores = link_scores(links, g, w, self._weight(donor))
        return links, scores, levels, rank(links, scores, len(self.tree), disposal, top)

    # --- answers -----------------------------------------------------------------------------------------------------
    def source(self, url: str) -> Source:
        """The snapshot, or the live store at a URL (opened once, looked at for new wastes each time)."""
        if not url:
            return self.snapshot
        if url not in self._live:
            self._live[url] = open_live(url, self.tree)
        self._live[url].refresh()
        return self._live[url]

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One answer per input, as the kind's schema says."""
        chosen = check(Options, dict(options), "options")
        source = self.source(chosen.records)
        asks = [self.ask(x, f"input {i + 1}" if len(inputs) > 1 else "input") for i, x in enumerate(inputs)]
        found = zip(asks, self.donors(asks), self._vectors(asks))
        return [self._answer(ask, donor, vector, chosen, source) for ask, donor, vector in found]

    def _answer(
        self, ask: Ask, donor: Donor, vector: np.ndarray | None, chosen: Options, source: Source
    ) -> dict[str, Any]:
        hazardous = {"any": None, "yes": True, "no": False}[chosen.hazard]
        wanted = Filter(
            hazardous, chosen.permit, chosen.quantity, chosen.unit, chosen.within_km, ask.latitude, ask.longitude
        )
        if chosen.within_km > 0 and (ask.latitude is None or ask.longitude is None):
            raise HedgerowError("within_km needs the columns latitude and longitude in each row")
        w = self._likeness(source, ask, vector)
        links, _, levels, ranked = self.search(source, donor, w, wanted, chosen.top, chosen.disposal)
        receivers = []
        for i in range(min(chosen.top, len(ranked.receivers))):
            own = ranked.links[i]
            shown = source.records([int(n) for n in links.example[own[: chosen.evidence]]])
            receivers.append(self._receiver(ranked, i, levels[links.donor[own[0]]], shown, chosen.texts))
        notes = [source.remark, donor.note, "" if receivers else "no record speaks for a taker" + _under(wanted)]
        answer: dict[str, Any] = {
            "id": ask.id,
            "donor": ask.donor,
            "waste": ask.waste.text,
            "classes": self._classes(donor.p),
            "how": donor.how,
            "receivers": receivers,
        }
        note = "; ".join(filter(None, notes))
        return {**answer, "note": note} if note else answer

    def _receiver(
        self, ranked: Ranked, i: int, level: int, shown: Sequence[Mapping[str, Any]], texts: bool
    ) -> dict[str, Any]:
        label = self.tree.labels[int(ranked.receivers[i])]
        return {
            "code": label.code,
            "title": label.title,
            "score": round(float(ranked.scores[i]), 6),
            "level": WORDS[LEVELS[level] if level < len(LEVELS) else "unknown"],
            "recovery": bool(ranked.recovery[i]),
            "count": int(ranked.sizes[i]),
            "records": [evidence(record, texts) for record in shown],
        }

    def _classes(self, p: np.ndarray) -> list[dict[str, Any]]:
        order = [int(j) for j in np.argsort(-p, kind="stable")[: self.model.classes] if p[j] > 0]
        labels = self.tree.labels
        return [{"code": labels[j].code, "title": labels[j].title, "p": round(float(p[j]), 6)} for j in order]

    # --- weighing ----------------------------------------------------------------------------------------------------
    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """One phase: questions in, answers out."""
        return [Phase("run", float(len(inputs)), partial(self.predict, list(inputs), Options().model_dump()))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula: the classifier on the donor, then products and powers over wastes and links."""
        found = self.classifier.flops("run", size, batch)
        if found is None:
            return None
        index, links = self.snapshot.index, self.snapshot.links(None, Filter())
        width = 0 if index.vectors is None else index.vectors.shape[1]
        k = len(self.tree)
        own = 2.0 * len(index) * (width + 2) + 2.0 * k * (self.model.classes + links.donors.size) + 6.0 * len(links)
        return Flops(found.count + batch * own, f"{found.cover}; wastes, donors and links by closed formula")


def evidence(record: Mapping[str, Any], texts: bool) -> dict[str, Any]:
    """A record as it may be shown: ``{id, kind, source, licence, text}``, the text None where it may not be printed.

    The user's own list is theirs to read; of others' records the licence decides, unless ``texts`` overrules it.
    """
    parts = (
        record["donor"]["text"],
        record["waste"]["text"],
        record["treatment"]["text"] or record["receiver"]["text"],
    )
    mine = record["kind"] == "user"
    return {
        "id": record["id"],
        "kind": record["kind"],
        "source": record["source"],
        "licence": record["licence"],
        "text": " → ".join(p for p in parts if p) if texts or mine or record["shareable"] else None,
        "donor": record["donor"]["isic"],
        "receiver": record["receiver"]["isic"],
        **{k: record[k] for k in ("country", "year", "status") if record[k]},
    }


def question(value: Any, where: str) -> dict[str, Any]:
    """``{donor_text, waste_text, …}`` of an input; HedgerowError where there is no waste."""
    from hedgerow.kinds.texts import good_text

    row = dict(value) if isinstance(value, Mapping) else {"donor_text": good_text(value)}
    donor, waste = row.get("donor_text"), row.get("waste_text")
    donor = "" if donor is None else donor
    if not isinstance(donor, str) or not (waste is None or isinstance(waste, str)):
        raise HedgerowError(f"{where}: donor_text and waste_text must be texts")
    if waste is None and SIDES in donor:
        donor, _, waste = donor.partition(SIDES)
    if waste is None:
        raise HedgerowError(f"{where}: write 'donor {SIDES} waste' (or '{SIDES} waste' when the donor does not matter)")
    good_text(waste or " ")
    if donor.strip():
        good_text(donor)
    return {**row, "donor_text": donor.strip(), "waste_text": waste.strip()}


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    most = _MOST_DEGREES[name]
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise HedgerowError(f"{where}: {name} '{str(value)[:40]}' is no number") from None
    if not -most <= found <= most:
        raise HedgerowError(f"{where}: {name} {found:g} lies outside -{most:g} to {most:g} degrees")
    return found


def _equal(labels: Sequence[int], classes: int) -> np.ndarray:
    out = np.zeros(classes)
    out[list(labels)] = 1 / len(labels)
    return out


def _under(wanted: Filter) -> str:
    return " under these conditions (a record that lacks a field does not meet them)" if wanted.wanted else ""
