"""Requests as DAGs: from Packs, from app.toml, and what is refused."""

from __future__ import annotations

from pathlib import Path

import fabricated as f
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.placing import open_app
from hedgerow.placing.dag import Edge, Work, app_of, app_of_packs, demand_of, stream

PLAIN = 'seconds = 0.1\nmemory = "10MB"\nsource = "measured: here"\n'


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "app.toml"
    path.write_text(text)
    return path


def test_a_request_to_a_pack_is_in_run_out(tmp_path: Path) -> None:
    demand = demand_of(f.workload(f.trio(tmp_path), 3, batch=2, every_ms=500), ["p", "q"], f.UNIT)
    assert demand.app.edges == (Edge(-1, 0, 2 * 72), Edge(0, -1, 2 * 600))
    assert [(r.id, r.home, r.arrives_s) for r in demand.requests] == [
        ("request-1", "p", 0.0), ("request-2", "q", 0.5), ("request-3", "p", 1.0),
    ]  # fmt: skip


def test_the_size_of_a_unit_changes_its_bytes(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    assert app_of_packs(packs, size={"words": 40}, unit=f.UNIT).works[0].bytes_in == 240
    with pytest.raises(HedgerowError, match=r"no size 'wrods' .did you mean 'words'"):
        app_of_packs(packs, size={"wrods": 40}, unit=f.UNIT)


def test_the_kind_says_how_large_a_unit_is(tmp_path: Path) -> None:
    from hedgerow.kinds import kind

    unit = kind("text-classifier").unit
    work = app_of_packs(f.trio(tmp_path)).works[0]
    assert (work.size, work.bytes_in, work.bytes_out) == (
        unit.usual,
        unit.bytes_in(unit.usual),
        unit.bytes_out(unit.usual),
    )


def test_rivals_are_of_one_kind_and_named_once(tmp_path: Path) -> None:
    a, b = f.bare(tmp_path, "a"), f.bare(tmp_path, "b", kind="encoder")
    with pytest.raises(HedgerowError, match=r"different kinds .*\(encoder: .*/b; .*: .*/a\)"):
        app_of_packs([a, b], unit=f.UNIT)
    with pytest.raises(HedgerowError, match="given twice"):
        app_of_packs([a, a], unit=f.UNIT)
    with pytest.raises(HedgerowError, match="no Pack to place"):
        app_of_packs([], unit=f.UNIT)


def test_streams_refuse_nonsense(tmp_path: Path) -> None:
    app = app_of_packs([f.bare(tmp_path, "a")], unit=f.UNIT)
    with pytest.raises(HedgerowError, match="at least one request"):
        stream(app, ["h"], 0)
    with pytest.raises(HedgerowError, match="negative"):
        stream(app, ["h"], 1, -1.0)
    with pytest.raises(HedgerowError, match="at least one unit"):
        app_of_packs([f.bare(tmp_path, "b")], batch=0, unit=f.UNIT)


def test_jobs_are_put_after_what_they_wait_for() -> None:
    work = Work("w", seconds=1.0, bytes_in=3, bytes_out=5)
    app = app_of("x", [work], [("d", 0, ["b", "c"]), ("b", 0, ["a"]), ("c", 0, ["a", "a"]), ("a", 0, [])])
    assert [j.name for j in app.jobs] == ["a", "b", "c", "d"]
    assert [j.deps for j in app.jobs] == [(), (0,), (0,), (1, 2)]
    assert app.sinks == (3,)
    assert app.edges == (Edge(-1, 0, 3), Edge(0, 1, 5), Edge(0, 2, 5), Edge(1, 3, 5), Edge(2, 3, 5), Edge(3, -1, 5))


def test_an_app_file_holds_a_dag(tmp_path: Path) -> None:
    f.pack(tmp_path, "m", 5.0, 0.6)
    text = f'name = "two"\n[[jobs]]\nname = "sort"\ndeps = ["ask"]\nbytes_out = "1kB"\n{PLAIN}'
    app = open_app(toml(tmp_path, text + '[[jobs]]\nname = "ask"\npacks = ["m"]\nbatch = 2\nlimit = ["p95<=1s"]\n'))
    assert [j.name for j in app.jobs] == ["ask", "sort"]
    assert [app.works[j.work].name for j in app.jobs] == ["ask", "sort"]
    assert app.works[app.jobs[0].work].limit == ("p95<=1s",)
    assert app.works[app.jobs[1].work].seconds == 0.1


def job(name: str, deps: str = "") -> str:
    """A plain job as text."""
    return f'[[jobs]]\nname = "{name}"\ndeps = [{deps}]\n{PLAIN}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (job("a", '"b"') + job("b", '"c"') + job("c", '"b"'), "b → c → b"),
        (job("a", '"a"'), "a → a"),
        (job("split") + job("b", '"spilt"'), "waits for unknown job 'spilt' (did you mean 'split'?)"),
        (job("a") + job("a"), "two jobs are called 'a'"),
        ('[[jobs]]\nname = "a"\n', "either packs or seconds"),
        ('[[jobs]]\nname = "a"\nseconds = -1\n', "job 'a': seconds"),
        ('[[jobs]]\nname = "a"\nseconds = 1\n', "seconds go with memory and a source"),
        (job("a") + 'after = ["b"]\n', "unknown key 'after'"),
        ('[[jobs]]\nname = "a"\npacks = ["nowhere"]\n', "nowhere is no Pack"),
        ("jobs = []\n", "jobs"),
    ],
)
def test_a_bad_app_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        open_app(toml(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
