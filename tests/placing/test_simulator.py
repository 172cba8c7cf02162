"""The simulator against closed forms and a second, simpler calculation; what dies, what is lost, what returns."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fabricated as f
import numpy as np
import pytest

from hedgerow.placing import Fleet, World
from hedgerow.placing.dag import App, Demand, Request, Work, app_of, stream
from hedgerow.placing.options import menus_of
from hedgerow.placing.policies import policy
from hedgerow.placing.simulator import Run, run
from hedgerow.placing.view import Believed, Placement, Policy, Score
from hedgerow.placing.world import AS_BELIEVED, draw

MB = 1_000_000  # takes one second on a test link


def plain(name: str, seconds: float, bytes_in: int = 0, bytes_out: int = 0, memory: int = 1) -> Work:
    return Work(name, seconds=seconds, bytes_in=bytes_in, bytes_out=bytes_out, memory=memory, source="measured: test")


def solo(seconds: float, **more: Any) -> App:
    return app_of("one", [plain("job", seconds, **more)], [("job", 0, [])])


def known(fleet: Fleet, app: App) -> Believed:
    return Believed.of(fleet, app, menus_of(app, fleet))


class Fixed:
    """Job ``j`` of the App goes to the devices ``where[j]``, by position; a device that is down is left out."""

    name = "fixed"

    def __init__(self, *where: int | tuple[int, ...]) -> None:
        self.where = [w if isinstance(w, tuple) else (w,) for w in where]

    def start(self, fleet: Any) -> Any:
        return None

    def place(self, ready: Any, view: Any, state: Any, rng: Any) -> Any:
        placed = []
        for job in ready:
            c = view.known.candidates[job.work]
            wanted = self.where[job.job]
            chosen = tuple(int(np.flatnonzero(c.device == d)[0]) for d in wanted if view.up[d])
            nothing = np.zeros(len(c.device))
            placed.append(Placement(job, chosen, Score("fixed", {}, nothing, nothing.astype(int))))
        return placed, state

    def learn(self, state: Any, event: Any) -> Any:
        return state


def simulate(
    fleet: Fleet, demand: Demand, how: Policy | str = "earliest-finish", world: World = AS_BELIEVED, seed: int = 0
) -> Run:
    chosen = policy(how) if isinstance(how, str) else how
    return run(demand, known(fleet, demand.app), chosen, world, seed, record=True)


def latencies(found: Run, demand: Demand) -> list[float]:
    return [a - r.arrives_s for a, r in zip(found.answered_s, demand.requests) if a is not None]


def starts(found: Run) -> list[tuple[str, str, float]]:
    return [(row["request"], row["dev"], row["t"]) for row in found.log if row["ev"] == "start"]


# --- closed forms ----------------------------------------------------------------------------------------------------
def test_one_slot_queue_has_its_closed_form() -> None:
    """D/D/1: with service s and arrivals every a < s, request i waits i·(s - a)."""
    demand = stream(solo(1.0), ["a"], 10, every_ms=400)
    found = simulate(f.fleet([f.device("a")]), demand)
    assert latencies(found, demand) == pytest.approx([1.0 + 0.6 * i for i in range(10)])
    assert found.busy_s == pytest.approx((10.0,))
    assert found.wasted_s == 0.0


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_several_slots_follow_lindley(slots: int) -> None:
    """G/G/c, first come first served: a request takes the slot that is free first (Kiefer & Wolfowitz 1955)."""
    rng = np.random.default_rng(slots)
    arrivals = np.cumsum(rng.exponential(0.4, 40))
    app = solo(1.0)
    demand = Demand(app, tuple(Request(f"r{i}", "a", float(t)) for i, t in enumerate(arrivals)))
    fleet = f.fleet([f.device("a", cores=slots, factor=1.0)])
    believed = known(fleet, app)
    believed.candidates[0].spread.flags.writeable = True
    believed.candidates[0].spread[:] = 0.3
    world = World(failures=False, doubt=0.0)
    found = run(demand, believed, policy("local-only"), world, seed=5)
    service = np.exp(0.3 * draw(world, fleet, 40, 1, 5).luck[:, 0])
    free, expected = [0.0] * slots, []
    for arrival, s in zip(arrivals, service):
        start = max(min(free), arrival)
        free[free.index(min(free))] = start + s
        expected.append(start + s)
    assert list(found.answered_s) == pytest.approx(expected)
    assert sum(found.busy_s) == pytest.approx(service.sum())


def test_a_link_sends_one_after_the_other() -> None:
    app = app_of("one", [plain("job", 0.25, bytes_in=MB, bytes_out=MB // 2)], [("job", 0, [])])
    demand = stream(app, ["a"], 4)
    fleet = f.fleet([f.device("a"), f.device("b", cores=4)], [f.link("a", "b", rtt_ms=200)])
    found = simulate(fleet, demand, Fixed(1))
    # input k is there at k + 0.1 s, its answer leaves at k + 0.35 and takes 0.5 + 0.1 s on the free way back
    assert latencies(found, demand) == pytest.approx([k + 0.95 for k in (1, 2, 3, 4)])
    assert found.bytes_moved == 4 * 1_500_000


def test_two_hops_take_two_transfers() -> None:
    app = app_of("one", [plain("job", 1.0, bytes_in=MB)], [("job", 0, [])])
    fleet = f.fleet([f.device("a"), f.device("b"), f.device("c")], [f.link("a", "b"), f.link("b", "c", mbps=4)])
    demand = stream(app, ["a"], 2)
    found = simulate(fleet, demand, Fixed(2))
    assert latencies(found, demand) == pytest.approx([1 + 2 + 1, 1 + 2 + 2 + 1])  # the slower link is the bottleneck


def test_a_model_is_loaded_once_and_the_others_wait_for_it(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=1000.0)
    fleet = f.fleet([f.device("a", cores=4)])
    app = stream_of(model, 6)
    found = simulate(fleet, app)
    assert found.loads == 1
    assert latencies(found, app) == pytest.approx([1.1] * 4 + [1.2] * 2)
    assert found.busy_s == pytest.approx((1.0 + 0.6,))


def stream_of(model: Any, requests: int, every_ms: float = 0.0) -> Demand:
    from hedgerow.placing.dag import app_of_packs

    return stream(app_of_packs([model], unit=f.UNIT), ["a"], requests, every_ms)


def test_a_full_device_evicts_the_idle_and_waits_for_the_busy() -> None:
    works = [plain("x", 1.0, memory=600), plain("y", 1.0, memory=600), plain("z", 1.0, memory=300)]
    fleet = f.fleet([f.device("a", cores=4, memory=1000)])
    app = app_of("app", works, [("x", 0, []), ("z", 2, []), ("y", 1, [])])
    found = simulate(fleet, stream(app, ["a"], 1))
    times = {row["job"]: row["t"] for row in found.log if row["ev"] == "start"}
    assert times == {"x": 0.0, "z": 0.0, "y": 1.0}  # y needs the room that x holds until it is done
    assert found.evictions >= 1
    assert next(row["form"] for row in found.log if row["ev"] == "evict") == "x"


def test_requests_that_share_a_device_slow_one_another() -> None:
    """k at once at rate 1 / (1 + g·(k - 1)) each: two of 1 s with g = 1 take 2 s each."""
    fleet = f.fleet([f.device("a", cores=2)])
    world = AS_BELIEVED.model_copy(update={"interference": 1.0})
    demand = stream(solo(1.0), ["a"], 2)
    assert latencies(simulate(fleet, demand, world=world), demand) == pytest.approx([2.0, 2.0])
    # half a second alone, then shared: the first has .5 left -> 1 s more; the second then .5 alone
    demand = stream(solo(1.0), ["a"], 2, every_ms=500)
    assert latencies(simulate(fleet, demand, world=world), demand) == pytest.approx([1.5, 1.5])


# --- DAGs against brute force ----------------------------------------------------------------------------------------
def by_hand(app: App, where: Sequence[int], factors: Sequence[float]) -> float:
    """When the answer of one request is home, on one-slot devices joined by links of 1 MB/s; home is device 0.

    Jobs of one device run in the order in which their inputs are there; on a tie in the App's order. A link carries
    what was ready first; each pair of devices has a link of its own, so only outputs of one job meet there.
    """
    works = [app.works[j.work] for j in app.jobs]
    done: dict[int, float] = {}
    free = [0.0] * len(factors)
    link: dict[tuple[int, int], float] = {}
    there: dict[tuple[int, int], float] = {}  # (job, device) -> output is there

    def move(nbytes: int, at: float, source: int, target: int) -> float:
        if source == target:
            return at
        start = max(at, link.get((source, target), 0.0))
        link[source, target] = start + nbytes / MB
        return start + nbytes / MB

    left = list(range(len(app.jobs)))
    ready: dict[int, float] = {}
    while left:
        for j in left:
            deps = app.jobs[j].deps
            if j in ready or not all(d in done for d in deps):
                continue
            known_at = max((done[d] for d in deps), default=0.0)
            if deps:
                for d in deps:
                    if (d, where[j]) not in there:
                        there[d, where[j]] = move(works[d].bytes_out, known_at, where[d], where[j])
                ready[j] = max(known_at, *(there[d, where[j]] for d in deps))
            else:
                ready[j] = move(works[j].bytes_in, 0.0, 0, where[j])
        j = min((j for j in left if j in ready), key=lambda j: (max(ready[j], free[where[j]]), ready[j], j))
        start = max(ready[j], free[where[j]])
        done[j] = free[where[j]] = start + (works[j].seconds or 0) * factors[where[j]]
        there[j, where[j]] = done[j]
        left.remove(j)
    return max(move(works[s].bytes_out, done[s], where[s], 0) for s in app.sinks)


DIAMOND = app_of(
    "diamond",
    [plain("a", 1.0, MB, MB), plain("b", 2.0, 0, 2 * MB), plain("c", 3.5, 0, MB // 4), plain("d", 0.5, 0, MB // 8)],
    [("a", 0, []), ("b", 1, ["a"]), ("c", 2, ["a"]), ("d", 3, ["b", "c"])],
)
CHAIN = app_of(
    "chain",
    [plain("a", 1.0, MB // 2, MB), plain("b", 2.0, 0, 2 * MB), plain("c", 0.25, 0, MB // 4), plain("d", 0.5, 0, MB)],
    [("a", 0, []), ("b", 1, ["a"]), ("c", 2, ["b"]), ("d", 3, ["c"])],
)
FACTORS = (2.0, 1.0, 0.7)
TRIANGLE = f.fleet(
    [f.device(n, factor=x) for n, x in zip("abc", FACTORS)], [f.link("a", "b"), f.link("a", "c"), f.link("b", "c")]
)


@pytest.mark.parametrize("app", [DIAMOND, CHAIN], ids=["diamond", "chain"])
def test_every_placement_of_a_small_dag_takes_as_long_as_by_hand(app: App) -> None:
    for where in itertools.product(range(3), repeat=4):
        (found,) = latencies(simulate(TRIANGLE, stream(app, ["a"], 1), Fixed(*where)), stream(app, ["a"], 1))
        assert found == pytest.approx(by_hand(app, where, FACTORS)), where


def test_a_dag_with_two_sources_and_two_sinks_answers_when_the_last_is_home() -> None:
    works = [plain("a", 1.0, MB, MB), plain("b", 2.0, MB, MB), plain("c", 1.0, 0, MB), plain("d", 1.0, 0, 3 * MB)]
    app = app_of("x", works, [("a", 0, []), ("b", 1, []), ("c", 2, ["a", "b"]), ("d", 3, ["b"])])
    found = simulate(TRIANGLE, stream(app, ["a"], 1), Fixed(0, 1, 1, 2))
    # b: 1 + 2 = 3; d on c: input at 4, run .7, home 3 -> 7.7; c on b: a's output (2 + 1) at 3, run -> 4, home -> 5
    assert found.answered_s == pytest.approx((7.7,))


# --- dying -----------------------------------------------------------------------------------------------------------
PAIR = f.fleet([f.device("a", factor=3.0), f.device("b")], [f.link("a", "b")])


def leaving(**when: float) -> World:
    return AS_BELIEVED.model_copy(update={"leave": when, "notice_s": 0.5})


def test_running_work_dies_with_its_device_and_is_placed_anew() -> None:
    demand = stream(solo(2.0), ["a"], 1)
    found = simulate(PAIR, demand, world=leaving(b=1.5))
    # dies on b at 1.5, noticed at 2.0, 6 s on a
    assert found.answered_s == pytest.approx((8.0,))
    assert found.busy_s == pytest.approx((6.0, 1.5))
    assert found.wasted_s == pytest.approx(1.5)
    assert found.lost == 1


def test_an_output_that_was_held_only_there_is_made_again() -> None:
    works = [plain("first", 1.0, 0, 10 * MB), plain("second", 1.0)]
    app = app_of("two", works, [("first", 0, []), ("second", 1, ["first"])])
    found = simulate(PAIR, stream(app, ["a"], 1), Fixed((1, 0), 0), leaving(b=4.0))
    # first wins on b at 1 (a is called off); its output is on its way to a until 11, and dies at 4;
    # noticed at 4.5; made again on a until 7.5; second on a until 10.5
    assert found.answered_s == pytest.approx((10.5,))
    assert [d.job for d in found.done] == [0, 0, 1]
    assert found.wasted_s == pytest.approx(1.0 + 1.0)  # first on b, and the replica on a until it was called off


def test_the_first_replica_wins_and_the_other_is_called_off() -> None:
    found = simulate(PAIR, stream(solo(2.0), ["a"], 1), Fixed((0, 1)))
    assert found.answered_s == pytest.approx((2.0,))
    assert found.busy_s == pytest.approx((2.0, 2.0))
    assert found.wasted_s == pytest.approx(2.0)
    assert [row["dev"] for row in found.log if row["ev"] == "cancel"] == ["a"]


def test_a_replica_saves_the_day() -> None:
    found = simulate(PAIR, stream(solo(2.0), ["a"], 1), Fixed((0, 1)), leaving(b=1.0))
    assert found.answered_s == pytest.approx((6.0,))


def test_nobody_left_is_unfinished_not_wrong() -> None:
    fleet = f.fleet([f.device("a", rules={"max_memory": 5}), f.device("b")], [f.link("a", "b")])
    app = app_of("x", [plain("job", 2.0, memory=6)], [("job", 0, [])])
    found = simulate(fleet, stream(app, ["a"], 3), world=leaving(b=5.0))
    assert found.answered_s[:2] == pytest.approx((2.0, 4.0))
    assert found.answered_s[2] is None
    assert found.busy_s[1] == pytest.approx(5.0)
    assert found.wasted_s == pytest.approx(1.0)


def failing(up: float, down: float, **more: Any) -> dict[str, Any]:
    return {"failure": {"mean_up_s": up, "mean_down_s": down, "source": "assumed: for a test"}, **more}


def stays(fleet: Fleet, seed: int, until: float) -> list[tuple[float, float]]:
    """(from, to) of every stay of device 0 that begins before ``until``."""
    found, at = [], 0.0
    for up, down in draw(World(), fleet, 1, 1, seed).lives(fleet.devices[0]):
        found.append((at, at + up))
        at += up + down
        if at > until:
            return found
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_a_home_that_is_away_gets_its_answer_when_it_is_back(seed: int) -> None:
    fleet = f.fleet([f.device("a", **failing(3.0, 5.0)), f.device("b")], [f.link("a", "b")])
    world = World(jitter=False, doubt=0.0, notice_s=0.1)
    found = simulate(fleet, stream(solo(8.0), ["a"], 1), Fixed(1), world, seed)
    assert found.answered_s == pytest.approx((min(max(8.0, at) for at, to in stays(fleet, seed, 500.0) if to > 8.0),))


@pytest.mark.parametrize("seed", range(12))
def test_an_input_waits_on_the_disk_of_a_home_that_is_away(seed: int) -> None:
    fleet = f.fleet([f.device("a", **failing(5.0, 5.0)), f.device("b")], [f.link("a", "b")])
    world = World(jitter=False, doubt=0.0, notice_s=0.0)
    found = simulate(fleet, stream(solo(1.0, bytes_in=4 * MB), ["a"], 1), Fixed(1), world, seed)
    visits = stays(fleet, seed, 2000.0)
    sent = next(at + 4.0 for at, to in visits if to - at > 4.0)  # the first stay that is long enough to send it all
    assert found.answered_s == pytest.approx((min(max(sent + 1.0, at) for at, to in visits if to > sent + 1.0),))


def test_a_relay_that_dies_is_gone_round() -> None:
    fleet = f.fleet([f.device("a"), f.device("b"), f.device("c")],
                    [f.link("a", "b", mbps=80), f.link("b", "c", mbps=80), f.link("a", "c", mbps=4)])  # fmt: skip
    app = solo(1.0, bytes_in=10 * MB)
    found = simulate(fleet, stream(app, ["a"], 1), Fixed(2), leaving(b=1.5))
    # two seconds by way of b; b dies after 1.5, noticed at 2.0; then 20 s on the direct link
    assert found.answered_s == pytest.approx((2.0 + 20.0 + 1.0,))


# --- the same again --------------------------------------------------------------------------------------------------
def busy_fleet() -> Fleet:
    devices = [
        f.device("a", factor=4.0, **failing(60, 2)),
        f.device("b", **failing(5, 2), cores=2),
        f.device("c", factor=2.0, **failing(9, 3)),
    ]
    return f.fleet(devices, [f.link("a", "b", rtt_ms=5), f.link("a", "c", rtt_ms=9), f.link("b", "c")])


def test_all_policies_meet_the_same_failures() -> None:
    fleet = busy_fleet()
    demand = stream(DIAMOND, ["a"], 12, every_ms=300)
    deaths = []
    for name in ("earliest-finish", "random", "local-only"):
        found = simulate(fleet, demand, name, World(patience_s=200), seed=4)
        first = min(found.ended_s, 20.0)
        deaths.append([(r["t"], r["ev"], r["dev"]) for r in found.log if r["ev"] in ("down", "up") and r["t"] < first])
    shortest = min(map(len, deaths))
    assert shortest >= 3
    assert len({json.dumps(d[:shortest]) for d in deaths}) == 1


SCRIPT = """
import sys; sys.path.insert(0, sys.argv[1])
import test_simulator as t
from hedgerow.files import digest
demand = t.stream(t.DIAMOND, ["a"], 12, every_ms=300)
for policy in ("earliest-finish", "random"):
    found = t.simulate(t.busy_fleet(), demand, policy, t.World(interference=0.2, patience_s=300), seed=3)
    print(digest([found.log, found.answered_s, found.busy_s, found.cost]), len(found.log))
"""


def test_one_seed_gives_one_log_in_every_process_and_for_every_hash_seed() -> None:
    said = set()
    for hash_seed in ("0", "1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
        said.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    (text,) = said
    digests = [line.split() for line in text.splitlines()]
    assert len(digests) == 2 and all(int(count) > 200 for _, count in digests)
    assert digests[0][0] != digests[1][0]


def test_another_seed_gives_another_log() -> None:
    demand = stream(DIAMOND, ["a"], 5, every_ms=300)
    one, two = (simulate(busy_fleet(), demand, world=World(patience_s=300), seed=s) for s in (1, 2))
    assert one.answered_s != two.answered_s


def test_an_answer_that_was_made_twice_is_counted_once() -> None:
    """Home is away when the answer is ready; its maker dies, it is made again, and both find home back."""
    from hedgerow.placing import scenarios

    made = scenarios.scenario(scenarios.generate(), "mapreduce", "mixed")
    demand = stream(made.app, made.fleet.home, 30, 750.0)
    world = World(interference=made.interference, interference_spread=0.3)
    found = run(demand, made.known, policy("mtec"), world, 30, record=True)
    answers = [row["request"] for row in found.log if row["ev"] == "answer"]
    assert len(answers) == len(set(answers)) == 30
    assert None not in found.answered_s
