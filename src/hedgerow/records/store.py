"""The store of records: imports in one transaction, a history of codings, and what a recommendation looks up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hedgerow.errors import HedgerowError
from hedgerow.records import database
from hedgerow.records.adding import CHUNK, Adding, Row, chunks, coding_row, key_of, new_batch, now, parts
from hedgerow.records.database import default_url
from hedgerow.records.exchange import Coding, nested
from hedgerow.records.tables import tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Imported", "Link", "Side", "State", "Store", "Waste", "default_url", "open_store"]


@dataclass(frozen=True)
class Imported:
    """What an import did. ``already``: a file of the same content was imported before, so nothing was done."""

    rows: int
    new: int
    already: bool = False

    @property
    def repeated(self) -> int:
        """Rows whose record was there already."""
        return self.rows - self.new


class Waste(NamedTuple):
    """A wording of a waste with its codes; records of one wording and other codes are another waste."""

    id: int
    text: str
    ewc: str
    ewc_stat: str


class Link(NamedTuple):
    """Records alike in waste, donor class, receiver class and route: how many, and one of them to show."""

    waste: int
    donor: str
    receiver: str
    route: int
    size: int
    example: int


class State(NamedTuple):
    """How far a store has got."""

    wastes: int
    exchanges: int
    recoded: int
    undone: int


class Side(NamedTuple):
    """What a coder is asked: one side of one record, as its source words it."""

    id: int
    side: str
    text: str
    scheme: str
    codes: tuple[str, ...]


@contextmanager
def open_store(
    where: str | Path | None = None, *, wait_s: float = database.WAIT_S, create: bool = True
) -> Iterator[Store]:
    """The store at a URL or SQLite file (None: the user's own), of the newest schema; closed at the end.

    Raises HedgerowError in one line, see :func:`hedgerow.records.database.connect`.
    """
    store = Store(database.connect(where, wait_s=wait_s, create=create))
    try:
        yield store
    finally:
        store.close()


class Store:
    """An open store. Made by :func:`open_store` (or from an engine that ``connect`` gave)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.where = database.shown(engine.url.render_as_string(hide_password=False))
        self._sqlite = engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    # --- writing -----------------------------------------------------------------------------------------------------
    def add(self, rows: Iterable[Row], *, name: str, digest: str, coder: str = "") -> Imported:
        """Import records in one transaction: all of them, or, whatever is raised meanwhile, none.

        ``digest`` is that of the file's content: a second import of it does nothing. A record that is there already
        (same content) is not added again. ``coder`` is the digest of the Pack that coded the rows.
        """
        t = tables()
        with database.told(self.where, "nothing was imported"), database.writing(self._engine) as connection:
            known = connection.execute(t.imports.select().where(t.imports.c.digest == digest)).first()
            if known is not None:
                return Imported(known.rows, 0, already=True)
            made = {"digest": digest, "name": name, "at": now(), "rows": 0, "new": 0}
            number = key_of(connection.execute(t.imports.insert().values(made)))
            done = Adding(connection, self._sqlite, number, coder, name)
            for chunk in chunks(rows):
                done.chunk(chunk)
            update = t.imports.update().where(t.imports.c.id == number)
            connection.execute(update.values(rows=done.rows, new=done.new))
        return Imported(done.rows, done.new)

    def recode(self, codings: Iterable[tuple[int, str, Coding]], *, coder: str, name: str) -> int:
        """Add a batch of codings, which from now on count: (record number, side, coding). Returns how many.

        The codings before stay in the history; :meth:`undo` goes back to them. One transaction.
        """
        t = tables()
        count = 0
        with database.told(self.where, "nothing was coded again"), database.writing(self._engine) as connection:
            batch = new_batch(connection, coder, f"recode: {name}")
            for chunk in chunks(codings):
                count += len(chunk)
                connection.execute(t.codings.insert(), [coding_row(i, batch, side, c) for i, side, c in chunk])
            _refresh(connection, batch)
        return count

    def undo(self) -> dict[str, Any]:
        """Take the newest re-coding back; the codings before it count again. HedgerowError when there is none."""
        t = tables()
        with database.told(self.where, "nothing was undone"), database.writing(self._engine) as connection:
            wanted = t.batches.select().where(~t.batches.c.undone, t.batches.c.name.like("recode:%"))
            last = connection.execute(wanted.order_by(t.batches.c.id.desc()).limit(1)).first()
            if last is None:
                raise HedgerowError(f"{self.where}: there is no re-coding to undo")
            connection.execute(t.batches.update().where(t.batches.c.id == last.id).values(undone=True))
            _refresh(connection, last.id)
        return {"batch": last.id, "coder": last.coder, "name": last.name, "at": last.at}

    # --- reading -----------------------------------------------------------------------------------------------------
    def _read(self, statement: Any) -> Sequence[Any]:
        with database.told(self.where), self._engine.connect() as connection:
            return connection.execute(statement).all()

    def __len__(self) -> int:
        import sqlalchemy as sa

        return int(self._read(sa.select(sa.func.count()).select_from(tables().exchanges))[0][0])

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """``{imports: [{name, at, rows, new, digest}], batches: [{name, coder, at, undone, codings}]}``."""
        import sqlalchemy as sa

        t = tables()
        counts = dict(
            self._read(sa.select(t.codings.c.batch_id, sa.func.count()).group_by(t.codings.c.batch_id))  # type: ignore[arg-type]
        )
        return {
            "imports": [_without_id(r) for r in self._read(t.imports.select().order_by(t.imports.c.id))],
            "batches": [
                {**_without_id(r), "codings": counts.get(r.id, 0)}
                for r in self._read(t.batches.select().order_by(t.batches.c.id))
            ],
        }

    def coding_history(self, digest: str) -> list[dict[str, Any]]:
        """Every coding that a record ever had, oldest first: ``{side, isic, how, level, note, coder, …}``."""
        import sqlalchemy as sa

        t = tables()
        c, b = t.codings.c, t.batches.c
        columns = (c.side, c.isic, c.how, c.level, c.note, b.coder, b.name, b.undone)
        joined = t.codings.join(t.batches, c.batch_id == b.id).join(t.exchanges, c.exchange_id == t.exchanges.c.id)
        wanted = sa.select(*columns).select_from(joined).where(t.exchanges.c.digest == digest).order_by(b.id, c.side)
        return [dict(r._mapping) for r in self._read(wanted)]

    def summary(self) -> list[dict[str, Any]]:
        """``{kind, source, licence, shareable, records, coded}``; coded = with a receiver class."""
        import sqlalchemy as sa

        c = tables().exchanges.c
        coded = sa.func.sum(sa.case((c.receiver_isic != "", 1), else_=0)).label("coded")
        wanted = sa.select(c.kind, c.source, c.licence, c.shareable, sa.func.count().label("records"), coded)
        grouped = wanted.group_by(c.kind, c.source, c.licence, c.shareable).order_by(c.kind, c.source)
        return [dict(r._mapping) for r in self._read(grouped)]

    def sides(self) -> Iterator[Side]:
        """Donor and receiver of every record, for a coder; in order of their numbers."""
        import sqlalchemy as sa

        c = tables().exchanges.c
        names = [f"{side}_{what}" for side in ("donor", "receiver") for what in ("text", "scheme", "codes")]
        after = 0
        while True:
            wanted = sa.select(c.id, *(c[n] for n in names)).where(c.id > after).order_by(c.id).limit(CHUNK)
            rows = self._read(wanted)
            if not rows:
                return
            after = rows[-1][0]
            for number, *cells in rows:
                for side, (text, scheme, codes) in (("donor", cells[:3]), ("receiver", cells[3:])):
                    if text or codes:
                        yield Side(number, side, text, scheme, tuple(c for c in codes.split(";") if c))

    def wastes(self, after: int = 0, until: int | None = None) -> list[Waste]:
        """Wastes with a number above ``after`` and at most ``until`` (None: to the newest), in order."""
        t = tables().wastes
        wanted = t.select().where(t.c.id > after, *([] if until is None else [t.c.id <= until]))
        return [Waste(r.id, r.text, r.ewc, r.ewc_stat) for r in self._read(wanted.order_by(t.c.id))]

    def state(self) -> State:
        """The newest waste, record and re-coding, and how many re-codings are undone: equal states hold equal links."""
        import sqlalchemy as sa

        t = tables()
        again = t.batches.c.name.like("recode:%")
        newest = [sa.select(sa.func.max(x.c.id)).scalar_subquery() for x in (t.wastes, t.exchanges)]
        recoded = sa.select(sa.func.max(t.batches.c.id)).where(again).scalar_subquery()
        undone = sa.select(sa.func.count()).select_from(t.batches).where(t.batches.c.undone).scalar_subquery()
        return State(*(int(x or 0) for x in self._read(sa.select(*newest, recoded, undone))[0]))

    def links(self, *, after: int = 0, until: int | None = None) -> list[Link]:
        """Records with a receiver class and a number above ``after`` and at most ``until``, summed up.

        In order of their first record, so that equal scores are explained by the same records on every database.
        """
        import sqlalchemy as sa

        c = tables().exchanges.c
        some = [*([c.id > after] if after else []), *([] if until is None else [c.id <= until])]
        wanted = (
            sa.select(c.waste_id, c.donor_isic, c.receiver_isic, c.route, sa.func.count(), sa.func.min(c.id))
            .where(c.receiver_isic != "", *some)
            .group_by(c.waste_id, c.donor_isic, c.receiver_isic, c.route)
            .order_by(sa.func.min(c.id))
        )
        return [Link(*row) for row in self._read(wanted)]

    def details(self, wastes: Sequence[int]) -> list[dict[str, Any]]:
        """Every record of these wastes with a receiver class as a row, for filters on single records."""
        c = tables().exchanges
        rows: list[dict[str, Any]] = []
        for part in parts(sorted(wastes)):
            wanted = c.select().where(c.c.waste_id.in_(part), c.c.receiver_isic != "").order_by(c.c.id)
            rows.extend(dict(r._mapping) for r in self._read(wanted))
        return rows

    def records(self, numbers: Sequence[int] | None = None, *, limit: int | None = None) -> list[dict[str, Any]]:
        """Records as nested JSON with ``number``: those of these numbers in order, or all (the first ``limit``)."""
        t = tables().exchanges
        if numbers is None:
            rows = self._read(t.select().order_by(t.c.id).limit(limit))
            return [{**nested(dict(r._mapping)), "number": r.id} for r in rows]
        found = {}
        for part in parts(numbers):
            for r in self._read(t.select().where(t.c.id.in_(part))):
                found[r.id] = {**nested(dict(r._mapping)), "number": r.id}
        return [found[n] for n in numbers if n in found]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every record as a flat row, in order of its number; bounded memory."""
        t = tables().exchanges
        after = 0
        while True:
            found = self._read(t.select().where(t.c.id > after).order_by(t.c.id).limit(CHUNK))
            if not found:
                return
            after = found[-1].id
            yield from (dict(r._mapping) for r in found)


def _refresh(connection: Connection, batch: int) -> None:
    """Write the coding that counts now into the records that the batch touches."""
    import sqlalchemy as sa

    for side in ("donor", "receiver"):
        newest = (
            "SELECT c.isic FROM codings c JOIN batches b ON b.id = c.batch_id WHERE c.exchange_id = exchanges.id "
            f"AND c.side = '{side}' AND NOT b.undone ORDER BY b.id DESC LIMIT 1"
        )
        touched = f"SELECT exchange_id FROM codings WHERE batch_id = :batch AND side = '{side}'"
        text = f"UPDATE exchanges SET {side}_isic = COALESCE(({newest}), '') WHERE id IN ({touched})"
        connection.execute(sa.text(text), {"batch": batch})


def _without_id(row: Any) -> dict[str, Any]:
    return {k: v for k, v in row._mapping.items() if k != "id"}
