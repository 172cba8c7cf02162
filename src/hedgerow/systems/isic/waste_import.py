"""The user's list of exchanges into the store: each row coded, set aside for review, or refused for a stated reason."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data import ewc
from hedgerow.data.rows import Row, read_rows
from hedgerow.data.rows import columns as csv_columns
from hedgerow.errors import HedgerowError
from hedgerow.records import Coding, Exchange, Imported, Store, check_ewc
from hedgerow.schema import Record, check
from hedgerow.systems.isic.waste_cells import classes_of, guess, number, plain_cell, safe_cell, split_codes, truth
from hedgerow.systems.isic.waste_coder import Coder

CHUNK = 256  # rows that are held, and whose texts are classified together
SHOWN = 20  # rows of a dry run that are shown
CODED, REVIEW, REFUSED = "coded", "review", "refused"
_OURS = ("line", "decision", "why")  # columns of a review file behind the list's own
_NONE = Coding()


class About(Record):
    """What the whole list is: compulsory for every record in it."""

    kind: str = "user"
    source: str
    licence: str
    shareable: bool = False
    scheme: str = "NACE2"  # of code columns, where a row names no other


@dataclass
class Judged:
    """One row: what became of it and why."""

    row: Row
    exchange: Exchange | None = None
    donor: Coding = _NONE
    receiver: Coding = _NONE
    decision: str = CODED
    why: str = ""

    def shown(self) -> dict[str, Any]:
        """For a dry run."""
        x = self.exchange
        return {
            "line": self.row.line,
            "decision": self.decision,
            "donor": x.donor_text if x else "",
            "donor_isic": [c for c, _ in self.donor.isic],
            "donor_how": self.donor.how,
            "waste": x.waste_text if x else "",
            "receiver": x.receiver_text if x else "",
            "receiver_isic": [c for c, _ in self.receiver.isic],
            "receiver_how": self.receiver.how,
            "why": self.why,
        }


@dataclass
class Report:
    """What an import did, or would do."""

    columns: dict[str, str]  # our field -> the file's column
    unused: tuple[str, ...] = ()  # the file's columns that no field takes
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, Any]] = field(default_factory=list)
    imported: Imported | None = None  # None: a dry run
    review: str = ""  # file of the rows that were set aside or refused

    def add(self, judged: Judged) -> None:
        """Count one row."""
        self.decisions[judged.decision] += 1
        if judged.why:
            self.reasons[f"{judged.decision}: {_sort_of(judged.why)}"] += 1
        if len(self.first) < SHOWN:
            self.first.append(judged.shown())


def _sort_of(why: str) -> str:
    """A reason without the words in quotes, so that like reasons are counted together."""
    return "'…'".join(why.split("'")[::2])


def import_file(
    path: Path,
    store: Store | None,
    about: About,
    *,
    chosen: Mapping[str, str] | None = None,
    coder: Coder | None = None,
    review: Path | None = None,
    sheet: str = "",
    tick: Callable[[int], None] = lambda n: None,
) -> Report:
    """Import a CSV, JSON Lines or Excel file; ``store`` None is a dry run, which writes nothing.

    One transaction: all rows that were coded, or none. Rows set aside or refused go to ``review`` (default beside the
    file, ``NAME.review.csv``) with their reason; when they cannot be written, nothing is imported. ``NAME.review.csv``
    itself, corrected, takes the place of itself: what still cannot come in is all that it holds afterwards. Raises
    HedgerowError for a fault of the whole file or the store.
    """
    with _as_rows(path, sheet) as (headers, rows):
        columns = guess(headers, chosen or {})
        if tuple(headers[-len(_OURS) :]) == _OURS:  # rows that were set aside before, corrected
            headers = headers[: -len(_OURS)]
        report = Report(columns, tuple(h for h in headers if h not in columns.values()))
        judge = Judge(columns, about, coder)
        where = review or path.with_name(f"{path.stem.removesuffix('.review')}.review.csv")
        itself = where.resolve() == path.resolve()
        if itself and review is not None:
            raise HedgerowError(f"--review {where}: that is the list itself; name another file")
        with _Aside(where, headers, wanted=store is not None) as aside:

            def good() -> Iterator[tuple[Exchange, Coding, Coding]]:
                for judged in judge.all(rows):
                    report.add(judged)
                    tick(1)
                    if judged.decision == CODED and judged.exchange is not None:
                        yield judged.exchange, judged.donor, judged.receiver
                    else:
                        aside.add(judged)
                if not itself:
                    aside.keep()  # before the transaction ends: where this cannot be written, nothing is imported

            if store is None:
                for _ in good():
                    pass
                return report
            by = coder.digest if coder else ""  # with another coder, rows that were set aside may come in
            digest = files.digest([files.sha256(path), sorted(columns.items()), about.model_dump(), sheet, by])
            report.imported = store.add(good(), name=path.name, digest=digest, coder=by)
            if itself:
                aside.keep()  # after it: until the rows are in the store, this file is all that holds them
            report.review = str(where) if aside.count else ""
    return report


def read_all(path: Path, about: About, coder: Coder | None = None) -> list[Judged]:
    """Every row of a small file, judged."""
    with _as_rows(path, "") as (headers, rows):
        return list(Judge(guess(headers, {}), about, coder).all(rows))


class Judge:
    """Rows to records. Codes are led to ISIC by concordance; what they leave open a classifier Pack may decide."""

    def __init__(self, columns: Mapping[str, str], about: About, coder: Coder | None) -> None:
        self._columns, self._about, self._coder = columns, about, coder

    def all(self, rows: Iterator[Row]) -> Iterator[Judged]:
        """Every row in order."""
        while chunk := list(islice(rows, CHUNK)):
            yield from self._chunk([self._first(row) for row in chunk])

    def _first(self, row: Row) -> Judged:
        """The row as a record, coded as far as its codes lead."""
        judged = Judged(row)
        if row.error:
            return _marked(judged, REFUSED, row.error)
        cells = {f: plain_cell(row.values.get(h, "").strip()) for f, h in self._columns.items()}
        try:
            if not cells["waste"]:
                raise HedgerowError("the row names no waste")
            if not cells.get("donor") and not cells.get("donor_code"):
                raise HedgerowError("the row names no donor")
            judged.exchange = self._exchange(cells)
        except HedgerowError as e:
            return _marked(judged, REFUSED, str(e))
        try:
            self._codes(judged, cells)
        except HedgerowError as e:
            return _marked(judged, REVIEW, str(e))
        return judged

    def _exchange(self, cells: Mapping[str, str]) -> Exchange:
        a = self._about
        schemes = {s: cells.get(f"{s}_scheme") or a.scheme for s in ("donor", "receiver")}
        year = number(cells.get("year", ""), "year")
        return check(
            Exchange,
            {
                "kind": a.kind, "source": a.source, "licence": a.licence, "shareable": a.shareable,
                "source_id": cells.get("id", ""),
                "donor_text": cells.get("donor", ""),
                "donor_scheme": schemes["donor"] if cells.get("donor_code") else "",
                "donor_codes": _verbatim(cells.get("donor_code", "")),
                "waste_text": cells["waste"], "ewc_stat": cells.get("ewc_stat", ""),
                "hazardous": truth(cells.get("hazardous", ""), "hazardous"),
                "treatment_text": cells.get("treatment", ""), "dr_code": cells.get("dr_code", "").upper(),
                "receiver_text": cells.get("receiver", ""),
                "receiver_scheme": schemes["receiver"] if cells.get("receiver_code") else "",
                "receiver_codes": _verbatim(cells.get("receiver_code", "")),
                "status": cells.get("status", ""), "use": cells.get("use", ""), "citation": cells.get("citation", ""),
                "quantity": number(cells.get("quantity", ""), "quantity"), "unit": cells.get("unit", ""),
                "place": cells.get("place", ""), "country": cells.get("country", ""),
                "year": _whole(year, "year"), "permit": truth(cells.get("permit", ""), "permit"),
                "latitude": number(cells.get("latitude", ""), "latitude"),
                "longitude": number(cells.get("longitude", ""), "longitude"),
            },
            "the row",
        )  # fmt: skip

    def _codes(self, judged: Judged, cells: Mapping[str, str]) -> None:
        """EWC and operation checked; each side's codes led to ISIC, or left for the classifier."""
        assert judged.exchange is not None
        code = cells.get("ewc", "")
        if code:
            starred = check_ewc(code)
            more = {"ewc": code, **({"hazardous": True} if starred else {})}
            judged.exchange = check(Exchange, {**judged.exchange.model_dump(), **more}, "the row")
        x = judged.exchange
        if x.ewc_stat and x.ewc_stat not in ewc.ewc_stat():
            raise HedgerowError(f"'{x.ewc_stat}' is no EWC-Stat category")
        if x.dr_code and x.dr_code not in ewc.operations():
            raise HedgerowError(f"'{x.dr_code}' is no operation D1 to D15 or R1 to R13")
        notes: list[str] = []
        judged.donor = self._side(x.donor_text, cells.get("donor_code", ""), x.donor_scheme, notes)
        judged.receiver = self._side(x.receiver_text, cells.get("receiver_code", ""), x.receiver_scheme, notes)
        if not judged.receiver.isic and not x.receiver_text and x.dr_code and ewc.operation_isic(x.dr_code):
            judged.receiver = Coding(isic=_shares(ewc.operation_isic(x.dr_code)), how="concordance", note=x.dr_code)
        if not x.receiver_text and not x.receiver_codes and not judged.receiver.isic:
            notes.append("no receiver: kept, but nobody is recommended by it")
        judged.why = "; ".join(notes)

    def _side(self, text: str, cell: str, scheme: str, notes: list[str]) -> Coding:
        """A side by its codes; words in the code column or an unknown code are left to a classifier if there is one."""
        if not cell:
            return _NONE
        try:
            found: set[str] = set()
            for code in split_codes(cell):
                classes, remark = classes_of(code, scheme)
                found.update(classes)
                notes.extend([remark] if remark else [])
        except HedgerowError as e:
            if self._coder is None or not text:
                raise
            notes.append(f"{e}; coded by its text")
            return _NONE
        how: Any = "given" if scheme.upper().startswith("ISIC4") else "concordance"
        return Coding(isic=_shares(sorted(found)), how=how) if found else _NONE

    def _chunk(self, judged: list[Judged]) -> Iterator[Judged]:
        """Sides that codes left open, by the classifier, all texts of the chunk at once."""
        open_ = []
        for j in judged:
            if j.decision != CODED or j.exchange is None:
                continue
            for side, text in (("donor", j.exchange.donor_text), ("receiver", j.exchange.receiver_text)):
                if text and not getattr(j, side).isic:
                    open_.append((j, side, text))
        if open_ and self._coder is None:
            for j, side, _ in open_:
                _marked(j, REVIEW, f"the {side} has no code; give --coder PACK to code it by its text")
        elif open_ and self._coder is not None:
            for (j, side, text), coding in zip(open_, self._coder.code([t for _, _, t in open_])):
                if coding.isic:
                    setattr(j, side, coding)
                else:
                    _marked(j, REVIEW, f"the classifier is not sure what the {side} '{text[:60]}' is")
        yield from judged


def _whole(value: float | None, what: str) -> int | None:
    if value is not None and not value.is_integer():
        raise HedgerowError(f"{what} '{value:g}' is no whole number")
    return None if value is None else int(value)


def _marked(judged: Judged, decision: str, why: str) -> Judged:
    if judged.decision == CODED or decision == REFUSED:
        judged.decision, judged.why = decision, why
    return judged


def _verbatim(cell: str) -> tuple[str, ...]:
    """The codes as written, whatever they are."""
    return tuple(p.strip() for p in cell.split(";") if p.strip())


def _shares(codes: Sequence[str]) -> tuple[tuple[str, float], ...]:
    return tuple((code, 1 / len(codes)) for code in codes)


class _Aside:
    """Rows set aside, in a temporary file until all rows were read."""

    def __init__(self, path: Path, headers: Sequence[str], *, wanted: bool) -> None:
        self._path, self._headers, self._wanted = path, list(headers), wanted
        self.count = 0

    def __enter__(self) -> _Aside:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", newline="", errors="replace")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow([*map(safe_cell, self._headers), *_OURS])
        return self

    def add(self, judged: Judged) -> None:
        """One more row."""
        self.count += 1
        cells = [safe_cell(judged.row.values.get(h, "")) for h in self._headers]
        self._writer.writerow([*cells, judged.row.line, judged.decision, safe_cell(judged.why)])

    def keep(self) -> None:
        """Write the rows under their name, if there are any; HedgerowError when that cannot be."""
        if self._wanted and self.count:
            self._file.seek(0)
            files.write_text(self._path, self._file.read())

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _as_rows:
    """(headers, rows) of a CSV, JSON Lines or Excel file."""

    def __init__(self, path: Path, sheet: str) -> None:
        self._path, self._sheet = path, sheet

    def __enter__(self) -> tuple[list[str], Iterator[Row]]:
        if self._path.suffix.lower() in (".xlsx", ".xlsm"):
            from hedgerow.systems.isic.waste_excel import read_sheet

            return read_sheet(self._path, self._sheet)
        if self._sheet:
            raise HedgerowError(f"--sheet {self._sheet}: {self._path} is no Excel file")
        return csv_columns(self._path), read_rows(self._path)

    def __exit__(self, *_: object) -> None:
        return None
