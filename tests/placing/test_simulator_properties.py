"""What must hold in every run, read from its log alone: random fleets and DAGs, devices that die at random times."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import fabricated as f
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.placing import World
from hedgerow.placing.dag import App, Demand, Work, app_of, stream
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import menus_of
from hedgerow.placing.policies import POLICIES, policy
from hedgerow.placing.simulator import Run, run
from hedgerow.placing.view import Believed, Draft, Placement, Score, refused


class Twice:
    """Every job on the two fastest devices that can, to exercise replicas."""

    name = "twice"

    def start(self, fleet: Any) -> Any:
        return None

    def place(self, ready: Any, view: Any, state: Any, rng: Any) -> Any:
        placed = []
        for job in ready:
            total = np.add.reduce(list(Draft(view).terms(job).values()))
            out = refused(job, view)
            total[out > 0] = np.inf
            best = [int(c) for c in np.argsort(total, kind="stable") if np.isfinite(total[c])]
            placed.append(Placement(job, tuple(best[:2]), Score("two", {}, total, out)))
        return placed, state

    def learn(self, state: Any, event: Any) -> Any:
        return state


CHOICES = {**{name: policy(name) for name in POLICIES}, "twice": Twice()}


@st.composite
def problems(draw: Any) -> tuple[Fleet, Demand, World, int, str]:
    count = draw(st.integers(2, 4))
    names = [f"d{i}" for i in range(count)]
    devices = []
    for name in names:
        more: dict[str, Any] = {"factor": draw(st.sampled_from([0.5, 1.0, 3.0])), "cores": draw(st.integers(1, 3))}
        more["memory"] = draw(st.sampled_from([120, 250, 1000]))
        if draw(st.booleans()):
            up, down = draw(st.sampled_from([(0.7, 0.3), (3.0, 2.0), (8.0, 0.2)]))
            more["failure"] = {"mean_up_s": up, "mean_down_s": down, "source": "assumed: test"}
        if name != "d0" and draw(st.integers(0, 5)) == 0:
            more["rules"] = {"own_only": True}
        more["tier"] = draw(st.sampled_from(["edge", "cloud"]))
        devices.append(f.device(name, **more))
    links = [
        f.link("d0", n, mbps=draw(st.sampled_from([2.0, 80.0])), rtt_ms=draw(st.sampled_from([0, 30])))
        for n in names[1:]
    ]
    if count > 2 and draw(st.booleans()):
        links.append(f.link(names[1], names[2], mbps=20))
    jobs = draw(st.integers(1, 5))
    works, wired = [], []
    for j in range(jobs):
        size = draw(st.sampled_from([0, 1000, 200_000]))
        seconds, memory = draw(st.sampled_from([0.05, 0.4, 1.0])), draw(st.sampled_from([50, 100]))
        works.append(
            Work(f"j{j}", seconds=seconds, memory=memory, bytes_in=size, bytes_out=size, source="assumed: test")
        )
        deps = sorted(draw(st.sets(st.integers(0, j - 1), max_size=2))) if j else []
        wired.append((f"j{j}", j, [f"j{d}" for d in deps]))
    homes = names[: draw(st.integers(1, 2))]
    fleet = f.fleet(devices, links, home=homes)
    demand = stream(
        app_of("app", works, wired), homes, draw(st.integers(1, 8)), draw(st.sampled_from([0.0, 150.0, 900.0]))
    )
    leave = {names[-1]: 1.5} if draw(st.integers(0, 3)) == 0 else {}
    world = World(
        interference=draw(st.sampled_from([0.0, 0.5])),
        notice_s=draw(st.sampled_from([0.0, 0.2, 1.0])),
        leave=leave,
        patience_s=60.0,
    )
    return fleet, demand, world, draw(st.integers(0, 1000)), draw(st.sampled_from(sorted(CHOICES)))


def lived(problem: tuple[Fleet, Demand, World, int, str]) -> tuple[Run, Believed]:
    fleet, demand, world, seed, name = problem
    known = Believed.of(fleet, demand.app, menus_of(demand.app, fleet))
    return run(demand, known, CHOICES[name], world, seed, record=True), known


SETTINGS = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def up_times(log: Any, names: tuple[str, ...], end: float) -> dict[str, list[tuple[float, float]]]:
    """(from, to) of every life of every device."""
    born: dict[str, float] = dict.fromkeys(names, 0.0)
    lives: dict[str, list[tuple[float, float]]] = {n: [] for n in names}
    for row in log:
        if row["ev"] == "down":
            lives[row["dev"]].append((born.pop(row["dev"]), row["t"]))
        elif row["ev"] == "up":
            born[row["dev"]] = row["t"]
    for name, since in born.items():
        lives[name].append((since, end))
    return lives


def intervals(log: Any, end: float) -> list[dict[str, Any]]:
    """Every stay of an attempt on a slot."""
    open_, found = {}, []
    for row in log:
        if row["ev"] in ("load", "start") and row["attempt"] not in open_:
            open_[row["attempt"]] = {**row, "from": row["t"]}
        elif row["ev"] in ("finish", "lost", "cancel") and row["attempt"] in open_:
            found.append({**open_.pop(row["attempt"]), "to": row["t"], "how": row["ev"]})
    assert not open_  # at the end of a run everything is put out, and logged
    return found


@SETTINGS
@given(problems())
def test_no_job_starts_before_its_inputs_are_there(problem: Any) -> None:
    demand = problem[1]
    found, _ = lived(problem)
    deps = {j.name: [demand.app.jobs[d].name for d in j.deps] or ["input"] for j in demand.app.jobs}
    homes = {r.id: r.home for r in demand.requests}
    here: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in found.log:
        event, device = row["ev"], row.get("dev")
        if event == "arrive":
            here[device].add((row["request"], "input"))
        elif event == "receive":
            here[row["dst"]].add((row["request"], row["job"]))
        elif event == "send":
            assert (row["request"], row["job"]) in here[row["src"]]
        elif event == "finish":
            here[device].add((row["request"], row["job"]))
        elif event == "down":
            here[device] = {(r, j) for r, j in here[device] if j == "input" and homes[r] == device}
        elif event in ("load", "start"):
            for wanted in deps[row["job"]]:
                assert (row["request"], wanted) in here[device], row


@SETTINGS
@given(problems())
def test_nothing_runs_or_moves_on_a_dead_device(problem: Any) -> None:
    found, known = lived(problem)
    lives = up_times(found.log, known.fleet.names, found.ended_s)
    for stay in intervals(found.log, found.ended_s):
        assert any(a <= stay["from"] and stay["to"] <= b for a, b in lives[stay["dev"]]), stay
    for row in found.log:
        if row["ev"] in ("send", "receive"):
            for end in (row["src"], row["dst"]):
                if row["ev"] == "send" or end == row["dst"]:
                    assert any(a <= row["t"] <= b for a, b in lives[end]), row


@SETTINGS
@given(problems())
def test_busy_time_is_work_done_and_slots_and_memory_bind(problem: Any) -> None:
    fleet, demand = problem[:2]
    found, known = lived(problem)
    stays = intervals(found.log, found.ended_s)
    for d, name in enumerate(fleet.names):
        mine = [s for s in stays if s["dev"] == name]
        assert found.busy_s[d] == pytest.approx(sum(s["to"] - s["from"] for s in mine))
        times = sorted(
            [(s["from"], 1) for s in mine if s["to"] > s["from"]]
            + [(s["to"], -1) for s in mine if s["to"] > s["from"]],
            key=lambda x: (x[0], x[1]),
        )
        running = 0
        for _, step in times:
            running += step
            assert running <= known.slots[d]
    memory = {form.label: work.memory for form in known.forms for work in demand.app.works if work.name == form.name}
    held: dict[str, set[str]] = defaultdict(set)
    loading: set[int] = set()
    for row in found.log:
        if row["ev"] == "load":
            held[row["dev"]].add(row["form"])
            room = known.room[fleet.index(row["dev"])]
            assert sum(memory[x] for x in held[row["dev"]]) <= room
            loading.add(row["attempt"])
        elif row["ev"] == "loaded":
            loading.remove(row["attempt"])
        elif row["ev"] == "evict" or (row["ev"] == "cancel" and row["attempt"] in loading):
            held[row["dev"]].remove(row["form"])
        elif row["ev"] == "down":
            held[row["dev"]].clear()


@SETTINGS
@given(problems())
def test_a_finished_job_ran_for_its_own_time(problem: Any) -> None:
    from hedgerow.placing.world import draw

    fleet, demand, world, seed, _ = problem
    found, known = lived(problem)
    truth = draw(world, fleet, len(demand.requests), len(demand.app.jobs), seed)
    began: dict[int, float] = {}
    for row in found.log:
        if row["ev"] == "start":
            began[row["attempt"]] = row["t"]
        elif row["ev"] == "finish":
            d = fleet.index(row["dev"])
            c = known.candidates[next(i for i, w in enumerate(demand.app.works) if w.name == row["form"])]
            alone = float(c.run_s[list(c.device).index(d)] * truth.speed[d])
            took = row["t"] - began[row["attempt"]]
            slowest = 1 + world.interference * (known.slots[d] - 1)
            assert alone * (1 - 1e-9) - 1e-9 <= took <= alone * slowest * (1 + 1e-9) + 1e-9
            if not world.interference:
                assert took == pytest.approx(alone)


@SETTINGS
@given(problems())
def test_every_request_is_answered_or_counted_unfinished(problem: Any) -> None:
    _, demand, _, _, _ = problem
    found, _ = lived(problem)
    sinks = {demand.app.jobs[s].name for s in demand.app.sinks}
    answers: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in found.log:
        if row["ev"] == "answer":
            answers[row["request"]].append((row["job"], row["t"]))
    for request, when in zip(demand.requests, found.answered_s):
        came = answers[request.id]
        assert len({job for job, _ in came}) == len(came)  # each once
        if when is None:
            assert {job for job, _ in came} < sinks
        else:
            assert {job for job, _ in came} == sinks
            assert when == max(t for _, t in came) >= request.arrives_s
    assert 0 <= found.wasted_s <= sum(found.busy_s) * (1 + 1e-12)


@SETTINGS
@given(problems())
def test_without_failures_everything_is_answered_and_nothing_wasted(problem: Any) -> None:
    fleet, demand, world, seed, name = problem
    calm = world.model_copy(update={"failures": False, "leave": {}, "patience_s": 1e6})
    found, known = lived((fleet, demand, calm, seed, name))
    homes = {r.home for r in demand.requests}
    able = all(any(int(d) in {fleet.index(h)} for d in c.device) for c in known.candidates for h in homes)
    cloud = {i for i, d in enumerate(fleet.devices) if d.tier == "cloud" and not d.rules.own_only}
    if (name == "local-only" and not able) or (
        name == "cloud-only" and not all(cloud & set(c.device.tolist()) for c in known.candidates)
    ):
        return
    assert None not in found.answered_s
    assert found.lost == 0
    assert len(found.done) == len(demand.requests) * len(demand.app.jobs)
    if name not in ("twice", "mtec", "ibdash", "lookahead"):  # those send replicas
        assert found.wasted_s == 0.0


def test_the_log_is_made_only_when_asked() -> None:
    work = Work("j", seconds=1.0, memory=1, source="measured: test")
    app: App = app_of("x", [work], [("j", 0, [])])
    fleet = f.fleet([f.device("a")])
    known = Believed.of(fleet, app, menus_of(app, fleet))
    quiet = run(stream(app, ["a"], 3), known, policy("random"), World(), 0)
    loud = run(stream(app, ["a"], 3), known, policy("random"), World(), 0, record=True)
    assert quiet.log == () and quiet.decisions == ()
    assert quiet.answered_s == loud.answered_s
