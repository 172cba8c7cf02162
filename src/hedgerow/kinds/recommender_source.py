"""Where a recommender's records come from: the snapshot inside its Pack, or a live store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from pydantic import Field

from hedgerow.errors import HedgerowError
from hedgerow.kinds.hierarchy import Tree
from hedgerow.kinds.recommender_index import WasteIndex, Wording
from hedgerow.kinds.recommender_match import Donors, Links
from hedgerow.records.database import connect
from hedgerow.records.exchange import DISPOSAL, RECOVERY, Exchange, isic_shares, nested, plain_waste, route_of
from hedgerow.records.store import Link, State, Store
from hedgerow.schema import Record, check

COLLECTING = ("3700", "3811", "3812", "3821", "3822")  # sewerage, collection, disposal; 3830 is recovery
EARTH_KM = 6371.0


class Kept(Record):
    """A record of a snapshot: the exchange, its identity, and its classes as '2410:0.5 2420:0.5'."""

    digest: str = Field(min_length=1)
    exchange: Exchange
    donor: str = ""
    receiver: str = ""

    def row(self) -> dict[str, Any]:
        """As a row of the store's table."""
        d = self.exchange.__dict__
        lists = {k: ";".join(d[k]) for k in ("donor_codes", "receiver_codes")}
        return {**d, **lists, "digest": self.digest, "donor_isic": self.donor, "receiver_isic": self.receiver}


@dataclass(frozen=True)
class Filter:
    """What a record must be known to be; a field that it lacks is unknown, and unknown never fits."""

    hazardous: bool | None = None
    permit: bool = False
    quantity: float = 0.0  # at least, in `unit`
    unit: str = ""
    within_km: float = 0.0
    latitude: float | None = None
    longitude: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is asked for."""
        return self.hazardous is not None or self.permit or self.quantity > 0 or self.within_km > 0

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a record's row meets every condition."""
        if self.hazardous is not None and row["hazardous"] != self.hazardous:
            return False
        if self.permit and row["permit"] is not True:
            return False
        if self.quantity > 0:
            same = row["unit"].strip().casefold() == self.unit.strip().casefold()
            if row["quantity"] is None or not same or row["quantity"] < self.quantity:
                return False
        return self.within_km <= 0 or self._near(row)

    def _near(self, row: Mapping[str, Any]) -> bool:
        if None in (row["latitude"], row["longitude"], self.latitude, self.longitude):
            return False
        assert self.latitude is not None and self.longitude is not None
        return distance_km(self.latitude, self.longitude, row["latitude"], row["longitude"]) <= self.within_km


def distance_km(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance (haversine formula) of two places in degrees, in km on a sphere of 6,371 km."""
    p1, p2, d_lat, d_lon = np.radians([lat1, lat2, lat2 - lat1, lon2 - lon1])
    h = np.sin(d_lat / 2) ** 2 + np.cos(p1) * np.cos(p2) * np.sin(d_lon / 2) ** 2
    return float(2 * EARTH_KM * np.arcsin(np.sqrt(min(1.0, float(h)))))


class Source(Protocol):
    """Records to recommend from."""

    index: WasteIndex
    whole: bool  # whether links(None) is cheap: everything in memory

    @property
    def remark(self) -> str:
        """What an answer says of where it comes from; '' for the Pack's own records, which its digest covers."""
        ...

    def links(self, wastes: np.ndarray | None, wanted: Filter) -> Links:
        """Links of these wastes (numbers in the index; None: all) that pass the filter."""
        ...

    def records(self, examples: Sequence[int]) -> list[dict[str, Any]]:
        """Nested JSON of records by number, in that order."""
        ...


class Table:
    """Makes :class:`Links` of rows; classes that the tree lacks are left out."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._donors: dict[str, int] = {}
        self._entries: list[tuple[int, int, float]] = []
        self._takers: dict[str, list[tuple[int, float]]] = {}

    def make(self, found: Iterable[Link]) -> Links:
        """One entry for each link and receiver class; ``Link.waste`` is a number in the waste index."""
        out: list[tuple[int, int, int, float, bool, int, int]] = []
        for waste, donor, receiver, route, size, example in found:
            for r, share in self._taker(receiver):
                keeps = recovers(route, self._tree.codes[r])
                out.append((waste, self._donor(donor), r, share, keeps, size, example))
        columns = list(zip(*out)) or [()] * 7
        types: tuple[Any, ...] = (np.int32, np.int32, np.int32, np.float32, bool, np.int32, np.int64)
        arrays = [np.array(c, t) for c, t in zip(columns, types)]
        return Links(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], arrays[5], arrays[6], self.donors)

    @property
    def donors(self) -> Donors:
        """All donors that were met so far."""
        row, cls, share = (list(c) for c in zip(*self._entries)) if self._entries else ([], [], [])
        return Donors(np.array(row, np.int64), np.array(cls, np.int64), np.array(share), len(self._donors))

    def _taker(self, text: str) -> list[tuple[int, float]]:
        """Receiver classes with their share, the largest = 1."""
        if text not in self._takers:
            shares = [(self._tree.index[c], s) for c, s in isic_shares(text) if c in self._tree.index]
            most = max((s for _, s in shares), default=1.0)
            self._takers[text] = [(r, s / most) for r, s in shares]
        return self._takers[text]

    def _donor(self, text: str) -> int:
        if text not in self._donors:
            shares = [(self._tree.index[c], s) for c, s in isic_shares(text) if c in self._tree.index]
            total = sum(s for _, s in shares)
            number = self._donors[text] = len(self._donors)
            self._entries += [(number, c, s / total) for c, s in sorted(shares)]
        return self._donors[text]


def recovers(route: int, receiver: str) -> bool:
    """Whether a link keeps the material or its energy in use: by its operation, or else by the taker's class."""
    if route in (RECOVERY, DISPOSAL):
        return route == RECOVERY
    return receiver not in COLLECTING


class Snapshot:
    """Records in memory, all of them looked at for each question."""

    whole = True
    remark = ""

    def __init__(self, kept: Sequence[Kept], tree: Tree, vectors: np.ndarray | None = None) -> None:
        self.kept = kept
        wordings, of = distinct(kept)
        self.index = WasteIndex(wordings, vectors)
        self._of, self._tree = of, tree
        self._all = self._links(range(len(kept)))

    def _links(self, numbers: Iterable[int]) -> Links:
        groups: dict[tuple[int, str, str, int], list[int]] = {}
        for n in numbers:
            k = self.kept[n]
            if k.receiver:
                route = route_of(k.exchange.dr_code, k.exchange.treatment_text)
                groups.setdefault((self._of[n], k.donor, k.receiver, route), []).append(n)
        return Table(self._tree).make(Link(*key, len(found), found[0]) for key, found in groups.items())

    def links(self, wastes: np.ndarray | None, wanted: Filter) -> Links:
        """See :class:`Source`."""
        if wanted.wanted:
            return self._links(n for n, k in enumerate(self.kept) if wanted.fits(k.exchange.__dict__))
        return self._all if wastes is None else self._all.some(np.isin(self._all.waste, wastes))

    def records(self, examples: Sequence[int]) -> list[dict[str, Any]]:
        """See :class:`Source`."""
        return [nested(self.kept[n].row()) for n in examples]


def distinct(kept: Sequence[Kept]) -> tuple[list[Wording], list[int]]:
    """The wastes of records, and each record's number among them: same plain wording and same codes are one waste."""
    known: dict[tuple[str, str, str], int] = {}
    wordings: list[Wording] = []
    of: list[int] = []
    for k in kept:
        x = k.exchange
        key = (plain_waste(x.waste_text), "".join(x.ewc.split()), x.ewc_stat)
        if key not in known:
            known[key] = len(wordings)
            wordings.append(Wording(x.waste_text, key[1], key[2]))
        of.append(known[key])
    return wordings, of


class Live:
    """A store that others write to meanwhile. Its wastes and summed-up links are held here; the records stay there.

    Before each question the store is asked whether anything changed: new records are added to what is held, and after a
    re-coding the links are read anew.
    """

    whole = False

    def __init__(self, store: Store, tree: Tree) -> None:
        self._store, self._tree = store, tree
        self._state = State(0, 0, 0, 0)
        self._table, self._held = Table(tree), list[Links]()
        self._numbers: list[int] = []
        self._place: dict[int, int] = {}
        self.index = WasteIndex([])
        self.refresh()

    @property
    def remark(self) -> str:
        """See :class:`Source`: the Pack's digest does not cover these, so an answer says how far they went."""
        return f"from live records, {self._store.where} up to record {self._state.exchanges}"

    def refresh(self) -> None:
        """Take in what was added since, by whomever."""
        now = self._store.state()
        before, self._state = self._state, now
        if now == before:
            return
        if now.wastes != before.wastes:
            wastes = self._store.wastes(until=now.wastes)  # what comes in meanwhile is taken in next time
            self._numbers = [w.id for w in wastes]
            self._place = {number: i for i, number in enumerate(self._numbers)}
            self.index = WasteIndex([Wording(w.text, w.ewc, w.ewc_stat) for w in wastes])
        recoded = (now.recoded, now.undone) != (before.recoded, before.undone)
        if recoded:
            self._table, self._held = Table(self._tree), []
        found = self._store.links(after=0 if recoded else before.exchanges, until=now.exchanges)
        self._held.append(self._table.make(x._replace(waste=self._place[x.waste]) for x in found))
        self._sort()

    def _sort(self) -> None:
        """All links ordered by waste, so that those of some wastes are a few slices."""
        columns = {name: np.concatenate([getattr(x, name) for x in self._held]) for name in _COLUMNS}
        whole = Links(**columns, donors=self._table.donors)
        self._all = whole.some(np.argsort(whole.waste, kind="stable"))
        self._held = [self._all]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(self._all.waste, minlength=len(self._numbers)))])

    def links(self, wastes: np.ndarray | None, wanted: Filter) -> Links:
        """See :class:`Source`."""
        if wanted.wanted:
            ids = self._numbers if wastes is None else [self._numbers[i] for i in wastes]
            rows = [r for r in self._store.details(ids) if wanted.fits(r)]
            found = [Link(r["waste_id"], r["donor_isic"], r["receiver_isic"], r["route"], 1, r["id"]) for r in rows]
            return Table(self._tree).make(x._replace(waste=self._place[x.waste]) for x in found)
        if wastes is None:
            return self._all
        starts = self._starts[wastes]
        lengths = self._starts[np.asarray(wastes) + 1] - starts
        return self._all.some(np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum()))

    def records(self, examples: Sequence[int]) -> list[dict[str, Any]]:
        """See :class:`Source`."""
        return self._store.records(list(examples))


_COLUMNS = ("waste", "donor", "receiver", "share", "recovery", "size", "example")


def read_kept(value: Any, tree: Tree, where: str) -> list[Kept]:
    """The records of a Pack, checked; HedgerowError names the first that is none."""
    if not isinstance(value, list) or not value:
        raise HedgerowError(f"{where} holds no list of records")
    kept = [check(Kept, row, f"{where}, record {n}") for n, row in enumerate(value, start=1)]
    for n, k in enumerate(kept, start=1):
        for side in (k.donor, k.receiver):
            try:
                shares = isic_shares(side)
            except ValueError:
                raise HedgerowError(f"{where}, record {n}: '{side[:40]}' is not class:share") from None
            for code, share in shares:
                tree.find(code, f"{where}, record {n}")
                if not 0 < share <= 1:
                    raise HedgerowError(f"{where}, record {n}: the share {share} is not in (0, 1]")
    if not any(k.receiver for k in kept):
        raise HedgerowError(f"{where}: no record has a receiver class, so nobody can be recommended")
    return kept


def open_live(url: str, tree: Tree) -> Live:
    """A live source; HedgerowError when the store cannot be opened or is empty."""
    store = Store(connect(url, create=False))  # stays open as long as the engine does
    live = Live(store, tree)
    if not len(live.index):
        raise HedgerowError(f"{store.where} holds no records yet: hedgerow data import FILE --records {store.where}")
    return live
