"""The store keeps what it is given, once, whole, with the history of its codings; on SQLite and PostgreSQL alike."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made import GOOD, NONE, ROWS, exchange, given

from hedgerow.errors import HedgerowError
from hedgerow.records import Exchange, check_ewc, database, open_store
from hedgerow.records.exchange import isic_shares, isic_text, route_of
from hedgerow.records.tables import NEWEST, STEPS, TEXTS, tables


def content(url: str) -> list[tuple[Any, ...]]:
    with open_store(url) as store:
        return sorted(
            (r["donor"]["text"], tuple(r["donor"]["isic"]), tuple(r["receiver"]["isic"])) for r in store.records()
        )


def test_what_goes_in_comes_out(url: str) -> None:
    with open_store(url) as store:
        done = store.add(ROWS, name="a.csv", digest="a")
        assert (done.rows, done.new, done.repeated, done.already) == (4, 4, 0, False)
        found = {r["donor"]["text"]: r for r in store.records()}
        ash = found["coal power station"]
        assert ash["waste"] == {"text": "fly ash", "ewc": "", "ewc_stat": "", "hazardous": None}
        assert ash["receiver"]["isic"] == ["2394"] and ash["quantity"] == 12.5 and ash["country"] == "DK"
        assert found["alumina refinery"]["waste"]["ewc"] == "01 03 07*"
        assert [r["number"] for r in store.records([2, 1])] == [2, 1]
        assert len(store) == 4 and [w.text for w in store.wastes()] == ["fly ash", "red mud", "sawdust", "whey"]
        assert sum(s["records"] for s in store.summary()) == 4 and store.summary()[0]["coded"] == 3


def test_the_same_file_twice_changes_nothing(url: str) -> None:
    with open_store(url) as store:
        store.add(ROWS, name="a.csv", digest="a")
        before = store.history()
        again = store.add(ROWS, name="a.csv", digest="a")
        assert again.already and again.new == 0 and len(store) == 4 and store.history() == before


def test_a_record_is_kept_once_whatever_file_brings_it(url: str) -> None:
    with open_store(url) as store:
        store.add(ROWS[:2], name="a.csv", digest="a")
        more = store.add([*ROWS, *ROWS], name="b.csv", digest="b")
        assert (more.rows, more.new, len(store)) == (8, 2, 4)


def test_links_sum_up_and_details_do_not(url: str) -> None:
    again = [(exchange("dairy", "Whey.", "pig farm", source_id=str(i)), given("1050"), given("0145")) for i in range(3)]
    with open_store(url) as store:
        store.add([*ROWS, *again], name="a", digest="a")
        whey = next(w.id for w in store.wastes() if w.text.lower().startswith("whey"))
        links = [x for x in store.links() if x.waste == whey]
        assert [(x.donor, x.receiver, x.size) for x in links] == [("1050:1", "0145:1", 4)]
        assert len(store.details([whey])) == 4 and store.details([]) == []
        state = store.state()
        assert state.wastes == max(w.id for w in store.wastes()) and store.wastes(state.wastes) == []
        assert sum(x.size for x in store.links(after=state.exchanges - 2)) == 2 and state.undone == 0


def test_recoding_keeps_history_and_can_be_undone(url: str) -> None:
    with open_store(url) as store:
        store.add(ROWS, name="a", digest="a", coder="c" * 64)
        before = content(url)
        sides = list(store.sides())
        assert {(s.side, s.text) for s in sides} >= {("donor", "dairy"), ("receiver", "pig farm")}
        number = next(s.id for s in sides if s.text == "dairy")
        assert store.recode([(number, "donor", given("1010", "1020"))], coder="d" * 64, name="other") == 1
        assert ("dairy", ("1010", "1020"), ("0145",)) in content(url)
        digest = next(r["id"] for r in store.records() if r["donor"]["text"] == "dairy")
        donors = [h for h in store.coding_history(digest) if h["side"] == "donor"]
        assert [h["coder"][:1] for h in donors] == ["c", "d"] and donors[1]["isic"] == "1010:0.5 1020:0.5"
        assert store.undo()["coder"] == "d" * 64
        assert content(url) == before
        assert [b["undone"] for b in store.history()["batches"]] == [False, True]
        with pytest.raises(HedgerowError, match="no re-coding to undo"):
            store.undo()


def test_whatever_stops_an_import_undoes_all_of_it(url: str) -> None:
    def rows() -> Iterator[Any]:
        for number in range(database_chunk() + 10):
            yield exchange(source_id=str(number)), NONE, NONE
        raise HedgerowError("the file breaks off")

    with open_store(url) as store:
        with pytest.raises(HedgerowError, match="breaks off"):
            store.add(rows(), name="a", digest="a")
        assert len(store) == 0 and store.history()["imports"] == [] and store.wastes() == []
        assert store.add(ROWS, name="a", digest="a").new == 4


def database_chunk() -> int:
    from hedgerow.records import store

    return store.CHUNK


def _write(url: str, who: int) -> None:
    with open_store(url) as store:
        rows = [(exchange(f"donor {who}", f"waste {n % 7}", source_id=str(n)), given("1050"), given("0145"))
                for n in range(300)]  # fmt: skip
        store.add([*rows, *ROWS], name=f"{who}.csv", digest=str(who))


def test_several_writers_at_once(url: str) -> None:
    """Four processes that also create the schema at the same moment: nobody's rows are lost, common ones kept once."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(url, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [w.exitcode for w in workers] == [0] * 4
    with open_store(url) as store:
        assert len(store) == 4 * 300 + len(ROWS)
        assert len(store.wastes()) == 7 + 4 and len(store.history()["imports"]) == 4


def test_text_is_data(url: str) -> None:
    """What would be SQL elsewhere is a text here."""
    evil = "'; DROP TABLE exchanges; --"
    with open_store(url) as store:
        store.add(
            [(exchange(evil, f"{evil} %s %(x)s :y ?", "\\copy", source_id=evil), NONE, given("0145"))],
            name=evil,
            digest=evil,
        )
        assert store.records()[0]["donor"]["text"] == evil and len(store) == 1
        assert len(store.links()) == 1


# --- schema ----------------------------------------------------------------------------------------------------------
def test_an_older_schema_is_upgraded_with_its_records(url: str) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(database.as_url(url))
    with engine.connect() as connection:
        database.migrate(connection, STEPS[0])
        connection.execute(sa.text("INSERT INTO imports (digest, name, at, rows, new) VALUES ('x', 'x', 'then', 1, 1)"))
        connection.execute(sa.text("INSERT INTO wastes (key, text, ewc, ewc_stat) VALUES ('whey', 'whey', '', '')"))
        texts = dict.fromkeys((*TEXTS, "donor_isic"), "")
        row = texts | {"digest": "d", "import_id": 1, "waste_id": 1, "waste_text": "whey", "shareable": True}
        row |= {"route": 0, "receiver_isic": "0145:1"}
        names = ", ".join(f'"{n}"' for n in row)
        connection.execute(sa.text(f"INSERT INTO exchanges ({names}) VALUES ({', '.join(':' + n for n in row)})"), row)
        connection.commit()
    engine.dispose()
    with open_store(url) as store:
        [found] = store.records()
        assert found["waste"]["text"] == "whey" and found["permit"] is None and found["latitude"] is None
        assert store.add(ROWS, name="a", digest="a").new == 4


def test_the_steps_lead_to_the_tables(url: str) -> None:
    """What the migrations make is what the code reads: names, types and nullability of every column."""
    import sqlalchemy as sa

    with open_store(url):
        engine = sa.create_engine(database.as_url(url))
        inspector = sa.inspect(engine)
        for table in tables().metadata.sorted_tables:
            made = {c["name"]: c["nullable"] for c in inspector.get_columns(table.name)}
            assert made == {c.name: bool(c.nullable) for c in table.columns}, table.name
        engine.dispose()
    folder = Path(database.__file__).parent / "migrations" / "versions"
    assert tuple(sorted(p.stem.removeprefix("step_") for p in folder.glob("step_*.py"))) == STEPS
    assert STEPS[-1] == NEWEST


def test_a_newer_schema_is_refused(url: str) -> None:
    import sqlalchemy as sa

    with open_store(url):
        pass
    engine = sa.create_engine(database.as_url(url))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0999'"))
    engine.dispose()
    with (
        pytest.raises(HedgerowError, match=r"schema 0999, this hedgerow knows up to .* update hedgerow") as caught,
        open_store(url),
    ):
        pass
    assert "\n" not in str(caught.value)


# --- what can go wrong -----------------------------------------------------------------------------------------------
def one_line(where: Any, match: str, **more: Any) -> None:
    with pytest.raises(HedgerowError, match=match) as caught, open_store(where, **more) as store:
        store.add(ROWS, name="z", digest="z")
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_files_that_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("this is no database at all, it is a long enough text to be looked at " * 20)
    one_line(tmp_path / "text.sqlite", "no SQLite database")
    one_line(tmp_path, "is a folder")
    one_line(tmp_path / "none.sqlite", "does not exist", create=False)
    one_line("mysql://x/y", "neither")
    one_line("postgresql://nobody@127.0.0.1:1/x", "server does not answer", wait_s=2)


def test_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"
    with open_store(path) as store:
        store.add(ROWS, name="a", digest="a")
    locked = pytest.raises(HedgerowError, match=r"locked.*nothing was imported")
    with open_store(path) as holder, database.writing(holder._engine), locked, open_store(path, wait_s=0.1) as store:
        store.add([(exchange("new"), NONE, NONE)], name="b", digest="b")
    with open_store(path) as store:
        assert len(store) == 4


def test_a_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened read-only, since root may write anywhere."""
    path = tmp_path / "records.sqlite"
    with open_store(path) as store:
        store.add(ROWS, name="a", digest="a")
    one_line(f"sqlite:///file:{path}?mode=ro&uri=true", r"read-only.*nothing was imported")


@pytest.mark.service
def test_a_server_that_goes_away_in_the_middle(postgres: Any) -> None:
    import psycopg

    url = postgres.fresh()
    name = url.partition("@/")[2].partition("?")[0]

    def rows() -> Iterator[Any]:
        for number in range(database_chunk() + 1):
            yield exchange(source_id=str(number)), NONE, NONE
        with psycopg.connect(dbname="postgres", user="postgres", host=str(postgres.socket), autocommit=True) as c:
            c.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield from ROWS

    with open_store(url) as store:
        with pytest.raises(HedgerowError, match="cut; nothing was imported") as caught:
            store.add(rows(), name="a", digest="a")
        assert "\n" not in str(caught.value)
    with open_store(url) as store:
        assert len(store) == 0 and store.add(ROWS, name="a", digest="a").new == 4


# --- records themselves ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["01 03 07*", "010307*", "01 03 07 *", "20 03 99"])
def test_ewc_codes(code: str) -> None:
    assert check_ewc(code) == code.endswith("*")
    assert exchange(ewc=code).ewc == code  # verbatim


@pytest.mark.parametrize(
    ("code", "why"),
    [("10307", "leading zero"), ("slag", "no six-digit"), ("21 01 01", "chapters")],
)
def test_ewc_codes_that_are_none(code: str, why: str) -> None:
    with pytest.raises(HedgerowError, match=why):
        exchange(ewc=code)


@pytest.mark.parametrize("missing", ["kind", "source", "licence", "waste_text"])
def test_what_a_record_must_say(missing: str) -> None:
    from hedgerow.schema import check

    row = {**GOOD, "waste_text": "whey"}
    check(Exchange, row, "row")
    with pytest.raises(HedgerowError, match=missing):
        check(Exchange, {k: v for k, v in row.items() if k != missing}, "row")
    with pytest.raises(HedgerowError):
        check(Exchange, {**row, missing: ""}, "row")


def test_identity_is_content() -> None:
    assert exchange().digest == exchange().digest
    assert len({exchange().digest, exchange(year=2001).digest, exchange("dair", "ywhey").digest}) == 3
    with pytest.raises(HedgerowError, match="not hazardous"):
        from hedgerow.schema import check

        check(Exchange, {**GOOD, "waste_text": "x", "ewc": "01 03 07*", "hazardous": False}, "row")


def test_shares_and_routes() -> None:
    assert isic_shares(isic_text(given("1010", "1020"))) == (("1010", 0.5), ("1020", 0.5))
    assert isic_shares("") == () and isic_text(NONE) == ""
    assert route_of("D1", "") == -1 and route_of("R1", "landfill") == 1 and route_of("", "cement making") == 0


# --- found by reading ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("code", ["٠١٠٣٠٧*", "01\n03 07", "01 03 07**", "010 307"])
def test_an_ewc_code_is_six_plain_digits(code: str) -> None:
    with pytest.raises(HedgerowError, match="no six-digit EWC code"):
        check_ewc(code)


def test_no_text_holds_what_a_database_refuses() -> None:
    from hedgerow.schema import check

    for change in ({"use": "a\0b"}, {"donor_codes": ("24\0",)}):
        with pytest.raises(HedgerowError, match="NUL"):
            check(Exchange, {**GOOD, "waste_text": "whey", **change}, "the row")


def test_a_long_waste_has_a_short_key(url: str) -> None:
    """PostgreSQL indexes no value of more than 2,704 bytes; two long wordings that differ at their end stay two."""
    import random

    import sqlalchemy as sa

    draw = random.Random(0)
    long = "".join(draw.choice("abcdefghijklmnopqrstuvwxyz 0123456789") for _ in range(9000)).strip()
    rows = [(exchange(waste=f"{long} {end}"), NONE, given("0145")) for end in ("x", "y")]
    with open_store(url) as store:
        assert store.add(rows, name="a", digest="a").new == 2
        assert store.add([*rows, *ROWS], name="b", digest="b").new == 4
        assert len(store.wastes()) == 2 + 4
        (most,) = store._read(sa.select(sa.func.max(sa.func.length(tables().wastes.c.key))))[0]
        assert most < 1500


def test_a_driver_s_own_error_is_one_line_too() -> None:
    """COPY speaks to psycopg directly; sqlite3 may speak up while a connection is opened."""
    import sqlite3

    import psycopg

    for error in (psycopg.OperationalError("consuming input failed:\nserver closed"), sqlite3.OperationalError("x")):
        with pytest.raises(HedgerowError) as caught, database.told("here", "nothing was imported"):
            raise error
        assert "\n" not in str(caught.value) and str(caught.value).startswith("here: ")


def test_a_sqlite_uri_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.sqlite"
    with open_store(path) as store:
        store.add(ROWS, name="a", digest="a")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with open_store(f"sqlite:///file:{path}?mode=ro&uri=true", create=False) as store:
        assert len(store) == 4
    assert list((tmp_path / "here").iterdir()) == []


def test_no_password_is_shown() -> None:
    for url in ("postgresql+psycopg://me:secret@h/db", "postgresql+psycopg://me@h/db?password=secret&host=/run"):
        assert "secret" not in database.shown(url) and "db" in database.shown(url)


def test_links_and_wastes_up_to_a_number(url: str) -> None:
    with open_store(url) as store:
        store.add(ROWS, name="a", digest="a")
        state = store.state()
        before = store.links(), store.wastes()
        store.add([(exchange("x", "another", source_id="9"), NONE, given("0145"))], name="b", digest="b")
        assert (store.links(until=state.exchanges), store.wastes(until=state.wastes)) == before
        assert len(store.links()) == len(before[0]) + 1
        assert [x.example for x in store.links()] == sorted(x.example for x in store.links())
