"""How records get into the tables: rows of one import, their wastes, and the codings that came with them."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from hedgerow.records.exchange import Coding, Exchange, isic_text, plain_waste, route_of
from hedgerow.records.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

CHUNK = 5000  # rows sent at once
_IN = 500  # values in one IN (…)
_KEY = 1500  # bytes of a waste's key; PostgreSQL indexes no value of more than 2,704
_PLAIN = (
    "kind", "source", "licence", "source_id", "donor_text", "donor_scheme", "waste_text", "ewc", "ewc_stat",
    "treatment_text", "dr_code", "receiver_text", "receiver_scheme", "status", "use", "citation", "unit", "place",
    "country", "shareable", "hazardous", "quantity", "year", "permit", "latitude", "longitude",
)  # fmt: skip
_MADE = ("digest", "import_id", "waste_id", "donor_codes", "receiver_codes", "route", "donor_isic", "receiver_isic")
Row = tuple[Exchange, Coding, Coding]  # a record, its donor's coding, its receiver's


class Adding:
    """One running import."""

    def __init__(self, connection: Connection, sqlite: bool, number: int, coder: str, name: str) -> None:
        self._c, self._sqlite, self._import, self._coder, self._name = connection, sqlite, number, coder, name
        self._wastes: dict[tuple[str, str, str], int] = {}
        self._batch = 0
        self.rows = self.new = 0

    def chunk(self, rows: Sequence[Row]) -> None:
        """Send these rows."""
        self.rows += len(rows)
        self._know_wastes([r[0] for r in rows])
        values = [self._values(*row) for row in rows]
        before = self._last()
        self.new += self._insert(values)
        coded = {v[0]: row for v, row in zip(values, rows) if row[1].isic or row[2].isic}
        if coded:
            self._add_codings(before, coded)

    def _values(self, item: Exchange, donor: Coding, receiver: Coding) -> tuple[Any, ...]:
        d = item.__dict__
        made = (
            item.digest, self._import, self._wastes[_waste(item)], ";".join(item.donor_codes),
            ";".join(item.receiver_codes), route_of(item.dr_code, item.treatment_text),
            isic_text(donor), isic_text(receiver),
        )  # fmt: skip
        return (*made, *(d[name] for name in _PLAIN))

    def _last(self) -> int:
        import sqlalchemy as sa

        return int(self._c.execute(sa.select(sa.func.max(tables().exchanges.c.id))).scalar() or 0)

    def _know_wastes(self, items: Sequence[Exchange]) -> None:
        missing = {w: item.waste_text for item in items if (w := _waste(item)) not in self._wastes}
        if not missing:
            return
        t = tables().wastes
        keys = {_waste_key(w): w for w in missing}
        known = self._wastes_of(keys)
        new = [(k, " ".join(missing[w].split()), w[1], w[2]) for k, w in sorted(keys.items()) if w not in known]
        if new:
            names = ("key", "text", "ewc", "ewc_stat")
            self._c.execute(t.insert(), [dict(zip(names, row)) for row in new])
            known |= self._wastes_of({row[0]: keys[row[0]] for row in new})
        self._wastes |= known

    def _wastes_of(self, keys: dict[str, tuple[str, str, str]]) -> dict[tuple[str, str, str], int]:
        import sqlalchemy as sa

        t = tables().wastes
        found = {}
        for part in parts(sorted(keys)):
            for number, key in self._c.execute(sa.select(t.c.id, t.c.key).where(t.c.key.in_(part))):
                found[keys[key]] = number
        return found

    def _insert(self, values: list[tuple[Any, ...]]) -> int:
        names = ", ".join(f'"{n}"' for n in (*_MADE, *_PLAIN))
        if self._sqlite:
            marks = ", ".join("?" * len(values[0]))
            result = self._c.exec_driver_sql(f"INSERT OR IGNORE INTO exchanges ({names}) VALUES ({marks})", values)
            return int(result.rowcount)
        return self._copy(names, values)

    def _copy(self, names: str, values: list[tuple[Any, ...]]) -> int:
        """PostgreSQL: COPY into a temporary table, and from there what is new."""
        self._c.exec_driver_sql(
            f"CREATE TEMP TABLE IF NOT EXISTS incoming ON COMMIT DROP AS SELECT {names} FROM exchanges WHERE false"
        )
        raw: Any = self._c.connection.driver_connection
        with raw.cursor() as cursor, cursor.copy(f"COPY incoming ({names}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
        result = self._c.exec_driver_sql(
            f"INSERT INTO exchanges ({names}) SELECT {names} FROM incoming ON CONFLICT (digest) DO NOTHING"
        )
        self._c.exec_driver_sql("TRUNCATE incoming")
        return int(result.rowcount)

    def _add_codings(self, before: int, coded: dict[str, Row]) -> None:
        import sqlalchemy as sa

        t = tables()
        e = t.exchanges.c
        wanted = sa.select(e.id, e.digest).where(e.id > before, e.import_id == self._import)
        rows = []
        for number, digest in self._c.execute(wanted).all():
            if digest in coded:
                self._batch = self._batch or new_batch(self._c, self._coder, f"import: {self._name}")
                _, donor, receiver = coded[digest]
                pairs = (("donor", donor), ("receiver", receiver))
                rows += [coding_row(number, self._batch, side, c) for side, c in pairs if c.isic]
        if rows:
            self._c.execute(t.codings.insert(), rows)


def _waste(item: Exchange) -> tuple[str, str, str]:
    return plain_waste(item.waste_text), "".join(item.ewc.split()), item.ewc_stat


def _waste_key(waste: tuple[str, str, str]) -> str:
    """What a waste is found again by: itself, or of a long one its digest."""
    key = "\t".join(waste)
    data = key.encode()
    return key if len(data) <= _KEY else f"sha256\t{hashlib.sha256(data).hexdigest()}"


def coding_row(number: int, batch: int, side: str, coding: Coding) -> dict[str, Any]:
    """One coding as a row of the table."""
    return {
        "exchange_id": number,
        "batch_id": batch,
        "side": side,
        "isic": isic_text(coding),
        "how": coding.how,
        "level": coding.level,
        "note": coding.note,
    }


def new_batch(connection: Connection, coder: str, name: str) -> int:
    """The number of a new batch of codings."""
    t = tables().batches
    return key_of(connection.execute(t.insert().values(coder=coder, name=name, at=now(), undone=False)))


def key_of(result: Any) -> int:
    """The number that an INSERT gave."""
    return int(result.inserted_primary_key[0])


def now() -> str:
    """The time as the tables keep it: UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of at most CHUNK items."""
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Slices of at most as many values as one IN (…) takes."""
    for start in range(0, len(values), _IN):
        yield values[start : start + _IN]
