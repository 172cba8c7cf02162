"""The experiments: scenarios that are kept and hashed, a tiny cell of each command, and what a summary makes of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.placing import experiment as x
from hedgerow.placing import scenarios as s
from hedgerow.placing import search
from hedgerow.placing.generators import markov_links, on_off, owners, step_links
from hedgerow.placing.policies import POLICIES
from hedgerow.placing.summary import difference, hypervolume, summary, wilson
from hedgerow.run import load_results

KEPT = Path(__file__).parents[2] / "results" / "mtec" / "scenarios.json"


@pytest.fixture
def held() -> dict[str, Any]:
    return s.load(KEPT)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder for results that holds the kept scenarios with a load of a few requests."""
    body = {k: v for k, v in s.generate().items() if k != "digest"}
    body["load"] = {"requests": 4, "window_s": 3.0, "horizon_s": 500.0}
    files.write_json(tmp_path / "mtec" / "scenarios.json", {**body, "digest": files.digest(body)})
    return tmp_path


def test_the_kept_scenarios_are_what_the_code_draws_and_a_changed_file_is_refused(tmp_path: Path, held: Any) -> None:
    assert held == s.generate()
    assert set(held["settings"]) <= set(POLICIES)
    changed = {**held, "seed": 1}
    files.write_json(tmp_path / "scenarios.json", changed)
    with pytest.raises(HedgerowError, match="do not have the digest that they state"):
        s.load(tmp_path / "scenarios.json")
    files.write_json(
        tmp_path / "mtec" / "scenarios.json", {**changed, "digest": files.digest({**changed, "digest": 0})}
    )
    with pytest.raises(HedgerowError):
        x.main("scenarios", root=tmp_path)


def test_drawn_times_lie_in_the_stated_ranges(held: Any) -> None:
    ranges = {"lightgbm": (13, 98), "mapreduce": (25, 88), "matrix": (5, 8), "video": (10, 29)}
    for (app, (low, high)), fleet in itertools.product(ranges.items(), held["fleets"]):
        made = s.scenario(held, app, fleet)
        count = np.bincount([j.work for j in made.app.jobs])
        total = np.array(held["solo_s"][f"{app}/{fleet}"]) @ count
        assert low * 0.7 < total.min() < low * 1.4 and high * 0.7 < total.max() < high * 1.4
        for t, c in enumerate(made.known.candidates):
            assert c.run_s.tolist() == [held["solo_s"][f"{app}/{fleet}"][d][t] for d in c.device]
    assert [len(s.scenario(held, a, "mixed").app.jobs) for a in ranges] == [4, 8, 5, 8]
    twice = s.scenario(held, "matrix", "PED", lam=2.0, mbps=5.0)
    once = s.scenario(held, "matrix", "PED")
    assert [d.failure.mean_up_s * 2 for d in twice.fleet.devices if d.failure] == pytest.approx(
        [d.failure.mean_up_s for d in once.fleet.devices if d.failure]
    )
    assert {link.mbps for link in twice.fleet.links} == {5.0}
    with pytest.raises(HedgerowError, match=r"no scenario 'matrx' \(did you mean 'matrix'\?\)"):
        s.scenario(held, "matrx", "PED")


def test_every_cell_of_every_experiment_can_be_made_and_none_is_given_twice(held: Any) -> None:
    for name, cells in x.EXPERIMENTS.items():
        made = [json.dumps(x.configured(held, c, {}), sort_keys=True) for c in cells()]
        assert made and all(json.loads(m)["policy"] in (*POLICIES, "clairvoyant") for m in made), name
        assert len(made) - len(set(made)) <= 8  # what an ablation shares with its base
    tuned = {"mtec": {"w_lat": 0.9}}
    assert x.configured(held, {"app": "matrix", "policy": "mtec"}, tuned)["settings"]["w_lat"] == 0.9
    given = {"app": "matrix", "policy": "mtec", "settings": {"w_lat": 0.1}}
    assert x.configured(held, given, tuned)["settings"]["w_lat"] == 0.1


@pytest.mark.parametrize("name", ["fidelity", "network"])
def test_an_experiment_runs_resumes_and_is_summed_up(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [{"app": "matrix", "fleet": "mixed", "policy": p} for p in ("mtec", "ibdash", "random", "clairvoyant")]
    if name == "network":
        cells = [{**c, "links": how} for c in cells[:2] for how in ("step", "markov")]
    monkeypatch.setitem(x.EXPERIMENTS, name, lambda: iter(cells))
    x.main(name, root=root, first=30, count=2, only="")
    assert f"{name}: {2 * len(cells)} cells, 0 done, about" in capsys.readouterr().err
    first = load_results(root, "mtec", name)
    assert len(first) == 2 * len(cells)
    assert {r.metrics["trace"] for r in first} == ({"generated"} if name == "network" else {"none"})
    monkeypatch.setattr(x, "live", lambda *a: pytest.fail("a finished cell was run again"))
    x.main(name, root=root, first=30, count=2, only="")
    text = summary(root, name)
    for word in (
        "mtec",
        "ibdash",
        "unfinished",
        "failed",
        "hypervolume",
        "'at least 8 % lower than the best baseline'",
    ):
        assert word in text
    assert "(2 seeds)" in text


def test_scale_ablations_and_failures_live_through_one_cell(root: Path) -> None:
    held = s.load(root / "mtec" / "scenarios.json")
    for given in (
        {"app": "mapreduce", "devices": 30, "policy": "mtec", "requests": 2},
        {"app": "matrix", "fleet": "PED", "policy": "mtec", "settings": {"stages": True, "distinct": False}},
        {"app": "matrix", "fleet": "PED", "policy": "ibdash", "settings": {"gamma": 5, "beta": 0.05}, "lam": 10.0},
        {"app": "matrix", "fleet": "mixed", "policy": "mtec", "planner": {"links": "ping", "survival": "kaplan-meier"}},
    ):
        metrics, items = x.live(held, x.configured(held, given, {}), 31)
        assert len(items["latency_s"]) in (2, 4) and metrics["decision_ms"]["calls"] > 0


def test_gaps_worst_cases_and_tuning_are_commands(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = s.load(root / "mtec" / "scenarios.json")
    config = {"jobs": 5, "devices": 3, "policies": ["heft", "lookahead"]}
    metrics, numbers = search._gaps(config, 30)
    assert metrics["proved"] and metrics["path_s"] <= metrics["optimum_s"] + 1e-5
    assert all(t >= metrics["optimum_s"] - 1e-5 for t in metrics["latency_s"].values())
    assert len(numbers["bytes"]) == 5
    monkeypatch.setattr(search, "_STEPS", 12)
    x.main("worst", root=root, first=30, count=1, only="heft,min-completion")
    assert "times as long" in capsys.readouterr().out
    kept = load_results(root, "mtec", "worst")
    assert len(kept) == 2
    for r in kept:  # the instance is kept, and gives the same ratio again
        assert search._ratio(r.config, r.items) == pytest.approx(r.metrics["ratio"])
    monkeypatch.setattr(s, "GRIDS", {"mtec": [{"w_lat": 0.5}, {"w_lat": 0.9}]})
    monkeypatch.setitem(held, "apps", {k: held["apps"][k] for k in ("matrix", "video")})
    monkeypatch.setitem(held, "fleets", {k: held["fleets"][k] for k in ("CED", "held-out")})
    search.tune(root, held, range(0, 1), [])
    tuned = files.read_json(root / "mtec" / "tuned.json")
    assert tuned["settings"]["mtec"] in ({"w_lat": 0.5}, {"w_lat": 0.9}) and tuned["seeds"] == [0]
    assert {r.config["app"] for r in load_results(root, "mtec", "tune")} == {"matrix"}  # the held-out was not looked at


def test_bad_commands_are_one_line(root: Path, tmp_path: Path) -> None:
    for name, says in (("fidelty", "did you mean 'fidelity'"), ("summary", "was run under")):
        with pytest.raises(HedgerowError, match=says):
            x.main(name, "fidelity", root=root, first=30, count=1, only="")
    with pytest.raises(HedgerowError, match="did you mean 'mtec'"):
        x.main("fidelity", root=root, first=30, count=1, only="mtek")


def test_intervals_and_volumes_by_hand() -> None:
    low, high = wilson(0, 10)
    assert low == 0 and high == pytest.approx(0.2775, abs=1e-3)
    assert hypervolume([(0, 0, 0)], (1, 2, 3)) == pytest.approx(6)
    assert hypervolume([(0, 1, 0), (1, 0, 0)], (2, 2, 1)) == pytest.approx(3)
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (6, 3))
    grid = rng.uniform(0, 1, (200_000, 3))
    covered = np.any([(grid >= p).all(1) for p in points], axis=0).mean()
    assert hypervolume(points.tolist(), (1, 1, 1)) == pytest.approx(covered, abs=0.005)
    assert difference({}, {}) is None


def test_generated_traces_have_their_means_and_say_what_they_are(held: Any) -> None:
    fleet = s.scenario(held, "matrix", "PED").fleet
    for law in ("weibull", "gamma", "lognormal", "exponential"):
        ups: list[float] = []
        for seed in range(12):
            trace = on_off(fleet, 40_000.0, np.random.default_rng(seed), law)  # type: ignore[arg-type]
            assert trace.kind == "generated"
            mine = [r["t"] for r in trace.rows if r["dev"] == fleet.names[0]]
            ups += [b - a for a, b in zip([0.0, *mine[1::2]], mine[0::2], strict=False)]
        stated = fleet.devices[0].failure
        assert stated is not None and np.mean(ups) == pytest.approx(stated.mean_up_s, rel=0.2)
    rates = markov_links(fleet, 3000.0, np.random.default_rng(0))
    stated_rate = {(link.source_device, link.target_device): link.mbps for link in fleet.links}
    assert {round(r["mbps"] / stated_rate[r["src"], r["dst"]], 2) for r in rates.rows} == {0.15, 0.5, 1.0, 1.6}
    assert len(step_links(fleet, 5.0, 0.1, [fleet.names[0]]).rows) == 2 * (len(fleet.devices) - 1)
    busy = owners(fleet, 2 * 86_400.0, np.random.default_rng(0), [fleet.names[0]])
    starts = np.array([r["t"] for r in busy.rows if r["cpu"] > 0.5]) % 86_400
    assert (starts < 43_200).sum() > 1.5 * (starts >= 43_200).sum()
