"""Traces: what is refused and how; pauses, cuts and deaths as told; a recorded run replayed decision by decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fabricated as f
import pytest
from test_simulator import MB, Fixed, known, plain, solo

from hedgerow.errors import HedgerowError
from hedgerow.placing import World
from hedgerow.placing.dag import app_of, stream
from hedgerow.placing.learning import Planner
from hedgerow.placing.policies import POLICIES, policy
from hedgerow.placing.simulator import recording, replay, run
from hedgerow.placing.traces import Trace, demand_of_trace, merged, open_trace, save_trace, trace_of
from hedgerow.placing.world import AS_BELIEVED

FLEET = f.fleet([f.device("a"), f.device("b", factor=0.5)], [f.link("a", "b")])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"t": 5, "ev": "down", "dev": "a"}, {"t": 2, "ev": "up", "dev": "a"}], "line 2: t: 2 comes after 5; sort"),
        ([{"t": 0, "ev": "bw", "src": "a", "dst": "b", "mbps": -3}], "line 1: mbps: must not be negative (got -3)"),
        ([{"t": 0, "ev": "dwn", "dev": "a"}], "line 1: ev: there is no event 'dwn' (did you mean 'down'?)"),
        ([{"t": 0, "ev": "down", "dev": "c"}], "line 1: dev: the fleet has no device 'c'"),
        ([{"t": 0, "ev": "down"}], "line 1: dev: 'down' needs it, and it is missing"),
        ([{"t": 0, "ev": "down", "dev": 3}], "line 1: dev: must be a text (got 3)"),
        ([{"t": "x", "ev": "down", "dev": "a"}], "line 1: t: must be a number (got 'x')"),
        ([{"t": float("nan"), "ev": "down", "dev": "a"}], "line 1: t: must be a number"),
        ([{"t": 0, "ev": "down", "dev": "a", "deb": 1}], "line 1: 'down' has no field 'deb' (did you mean 'dev'?)"),
        ([{"t": 0, "ev": "busy", "dev": "a", "cpu": 80}], "line 1: cpu: is a share between 0 and 1 (got 80)"),
        ([{"t": 0, "ev": "bw", "src": "b", "dst": "b", "mbps": 3}], "line 1: src, dst: the fleet has no link b→b"),
    ],
)
def test_a_faulty_trace_names_line_and_field(rows: Any, says: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        trace_of(rows, "x.jsonl", FLEET)
    assert says in str(caught.value) and str(caught.value).startswith("x.jsonl: line")


def test_a_trace_file_names_its_line_too_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    made = trace_of([{"t": 1, "ev": "down", "dev": "a"}, {"t": 2.5, "ev": "up", "dev": "a"}], kind="generated")
    save_trace(path, made)
    assert open_trace(path, FLEET) == made
    path.write_text('{"t":1,"ev":"down","dev":"a"}\n{"t":0,"ev":"up","dev":"a"}\n')
    with pytest.raises(HedgerowError, match=r"trace.jsonl: line 2: t: 0 comes after 1"):
        open_trace(path, FLEET)
    assert merged(made, trace_of([{"t": 2, "ev": "wake", "dev": "b"}])).kind == "generated"


def lived(app: Any, trace: Trace, requests: int = 1, where: int = 1, world: World = AS_BELIEVED, **more: Any) -> Any:
    demand = stream(app, ["a"], requests)
    return run(demand, known(FLEET, app), Fixed(*[where] * len(app.jobs)), world, 0, True, trace=trace, **more)


def test_a_paused_device_stands_still_and_loses_nothing() -> None:
    """1 s of work on b (twice as fast: 2 s on a), owner at work from .3 to .8: everything ends .5 later."""
    for first, last in (
        ({"ev": "busy", "cpu": 0.9}, {"ev": "busy", "cpu": 0.1}),
        ({"ev": "sleep"}, {"ev": "wake"}),
    ):
        trace = trace_of([{"t": 0.3, "dev": "b", **first}, {"t": 0.8, "dev": "b", **last}])
        found = lived(solo(2.0), trace)
        assert found.answered_s == (pytest.approx(1.5),)
        assert found.lost == 0
        starts = [r["t"] for r in lived(solo(2.0), trace, requests=3).log if r["ev"] == "start"]
        assert not [t for t in starts if 0.3 < t < 0.8]


def test_nobody_is_sent_to_a_device_whose_owner_wants_it() -> None:
    trace = trace_of([{"t": 0.0, "ev": "busy", "dev": "b", "cpu": 1.0}, {"t": 9.0, "ev": "busy", "dev": "b", "cpu": 0}])
    demand = stream(solo(2.0), ["a"], 2, every_ms=100)
    for name in sorted(set(POLICIES) - {"local-only", "cloud-only"}):
        found = run(demand, known(FLEET, demand.app), policy(name), AS_BELIEVED, 0, True, trace=trace)
        assert {d.device for d in found.done} == {0}, name


def test_a_link_that_changes_and_is_cut_moves_the_bytes_it_should() -> None:
    """2 MB at 1 MB/s; after 1 s half is over; at .25 MB/s the rest takes 4 s; a cut of 10 s in between adds them."""
    app = solo(2.0, bytes_in=2 * MB)
    slower = {"t": 1.0, "ev": "bw", "src": "a", "dst": "b", "mbps": 2.0}
    assert lived(app, trace_of([slower])).answered_s == (pytest.approx(1 + 4 + 1),)
    cut, healed = {**slower, "t": 1.5, "mbps": 0}, {**slower, "t": 11.5}
    assert lived(app, trace_of([slower, cut, healed])).answered_s == (pytest.approx(1 + 4 + 1 + 10),)


def test_a_told_death_takes_running_work_and_held_outputs() -> None:
    app = app_of("two", [plain("w", 2.0, 0, 1000)], [("x", 0, []), ("y", 0, ["x"])])
    trace = trace_of([{"t": 1.5, "ev": "down", "dev": "b"}, {"t": 4.0, "ev": "up", "dev": "b"}])
    found = lived(app, trace, world=AS_BELIEVED.model_copy(update={"notice_s": 0.25}))
    assert found.lost == 1 and found.failed == (True,)
    assert [(d.job, d.start_s) for d in found.done] == [(0, 0.0), (0, 4.0), (1, 5.0)]  # x was lost with b too
    assert lived(app, Trace(())).failed == (False,)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"cloud-only"}))
def test_a_recorded_run_replays_to_the_same_decisions(name: str, tmp_path: Path) -> None:
    failing = {"mean_up_s": 6.0, "mean_down_s": 1.0, "source": "assumed: test"}
    fleet = f.fleet(
        [f.device("a", cores=2), f.device("b", cores=2, failure=failing), f.device("c", factor=2.0, failure=failing)],
        [f.link("a", "b", mbps=80), f.link("a", "c", mbps=30, rtt_ms=3), f.link("b", "c", mbps=50)],
    )
    app = app_of("dag", [plain("w", 0.5, 9000, 40_000), plain("v", 0.2, 900, 100)],
                 [("x", 0, []), ("y", 1, ["x"]), ("z", 0, ["x"]), ("end", 1, ["y", "z"])])  # fmt: skip
    demand = stream(app, ["a"], 10, every_ms=150)
    world = World(notice_s=0.2, interference=0.5, interference_spread=0.5, doubt=0.4)
    k = known(fleet, app)
    told = trace_of([{"t": 1.1, "ev": "bw", "src": "a", "dst": "b", "mbps": 9.0}, {"t": 1.2, "ev": "sleep", "dev": "c"},
                     {"t": 1.9, "ev": "wake", "dev": "c"}])  # fmt: skip
    for seed in range(3):
        real = run(demand, k, policy(name), world, seed, True, trace=told)
        path = tmp_path / "trace.jsonl"
        seen = recording(real, k)
        save_trace(path, merged(seen, Trace(tuple(r for r in told.rows if r["ev"] == "bw"))))
        trace = open_trace(path, fleet)
        again = replay(demand_of_trace(app, trace), k, policy(name), world, seed, trace)
        assert [p.targets(k) for _, p in again.decisions] == [p.targets(k) for _, p in real.decisions]
        assert [p.job.request for _, p in again.decisions] == [p.job.request for _, p in real.decisions]
        assert again.answered_s == pytest.approx(real.answered_s)
        assert again.lost == real.lost


def test_a_run_that_was_not_recorded_leaves_no_trace() -> None:
    app = solo(1.0)
    found = run(stream(app, ["a"], 1), known(FLEET, app), policy("random"), World(), 0, planner=Planner())
    with pytest.raises(HedgerowError, match="was not recorded"):
        recording(found, known(FLEET, app))
    with pytest.raises(HedgerowError, match="no 'arrive'"):
        demand_of_trace(app, Trace(()))


# --- found by reading -------------------------------------------------------------------------------------------------
def test_a_trace_that_is_not_there_and_a_last_line_without_its_end(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="cannot be read"):
        open_trace(tmp_path / "none.jsonl")
    path = tmp_path / "trace.jsonl"
    path.write_text('{"t":1,"ev":"down","dev":"a"}\n\n{"t":2,"ev":"up","dev":"a"}')
    assert [r["ev"] for r in open_trace(path).rows] == ["down", "up"]
    for text, says in (("[1]", "line 1: expected a JSON object"), ('{"t":1', "line 1: not JSON")):
        path.write_text(text)
        with pytest.raises(HedgerowError, match=says):
            open_trace(path)


def test_two_requests_of_one_name_and_a_recording_of_another_run() -> None:
    twice = [{"t": i, "ev": "arrive", "request": "r", "home": "a"} for i in range(2)]
    app = app_of("one", [plain("job", 1.0)], [("job", 0, [])])
    with pytest.raises(HedgerowError, match="two requests 'r'"):
        demand_of_trace(app, trace_of(twice))
    fleet = f.fleet([f.device("a"), f.device("b")], [f.link("a", "b")])
    for change in ({"job": "other"}, {"request": "request-9"}, {"dev": "c"}):
        row = {"t": 0, "ev": "ran", "request": "request-1", "job": "job", "dev": "a", "load_s": 0, "run_s": 1, **change}
        with pytest.raises(HedgerowError, match="the trace is of another run"):
            replay(stream(app, ["a"], 1), known(fleet, app), policy("random"), World(), 0, trace_of([row]))
