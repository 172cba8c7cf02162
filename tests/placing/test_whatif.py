"""What if: one more device, one less, other hardware; on arrivals that are drawn and on a trace that was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import fabricated as f
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.placing import World, place, simulate
from hedgerow.placing.show import as_text, explanation_tables, outcome_tables
from hedgerow.placing.traces import save_trace, trace_of
from hedgerow.placing.whatif import bought, changes, for_fleet, upgraded

CALM = World(failures=False, jitter=False, doubt=0.0)
FAILS = {"mean_up_s": 5.0, "mean_down_s": 1.0, "source": "assumed: test"}


def house() -> f.Fleet:
    return f.fleet(
        [f.device("phone", rules={"max_memory": "1MB"}), f.device("edge", failure=FAILS), f.device("box", factor=4.0)],
        [f.link("phone", "edge", mbps=1e5), f.link("phone", "box", mbps=1e5)],
    )


def test_one_more_one_less_and_an_upgrade_change_what_they_should(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0, p95=100.0)
    ask = {"requests": 8, "seeds": 2, "unit": f.UNIT, "world": CALM, "against": ()}
    outcome = simulate(model, house(), without=["edge"], more=["edge2=edge"], swap=["box=edge"], **ask)  # type: ignore[arg-type]
    rows = {r["label"]: r["metrics"]["makespan_s"]["value"] for r in outcome.data["rows"]}
    assert rows == {
        "earliest-finish": pytest.approx(0.7, abs=1e-3),  # seven on edge beside one on box, .4
        "earliest-finish without edge": pytest.approx(3.2, abs=1e-3),
        "earliest-finish with edge2 like edge": pytest.approx(0.4, abs=1e-3),
        "earliest-finish box made of edge": pytest.approx(0.4, abs=1e-3),
    }
    assert [d["label"] for d in outcome.data["differences"]] == list(rows)[1:]
    text = as_text(outcome_tables(outcome.to_json()), width=200)
    assert "edge2 like edge" in text and "Difference to earliest-finish, seed by seed" in text


def test_a_recorded_trace_answers_too(tmp_path: Path) -> None:
    """Edge is down from .15 to 100 in the trace: what would a second one have changed?"""
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0, p95=100.0)
    rows = [{"t": 0.1 * i, "ev": "arrive", "request": f"r{i}", "home": "phone"} for i in range(6)]
    rows.insert(2, {"t": 0.15, "ev": "down", "dev": "edge"})
    save_trace(tmp_path / "trace.jsonl", trace_of([*rows, {"t": 100.0, "ev": "up", "dev": "edge"}]))
    world = CALM.model_copy(update={"notice_s": 0.0, "failures": True})
    outcome = simulate(
        model, house(), unit=f.UNIT, seeds=2, world=world, against=(), more=["b2=box"], trace=tmp_path / "trace.jsonl"
    )
    row = outcome.data["rows"][0]
    assert outcome.data["requests"] == 6 and row["metrics"]["lost"]["value"] == 1
    assert outcome.data["rows"][1]["metrics"]["latency_mean_ms"]["value"] < row["metrics"]["latency_mean_ms"]["value"]
    told = for_fleet(trace_of(rows), house(), house().without(["edge"]))
    assert [r["ev"] for r in told.rows] == ["arrive"] * 6


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"more": ["edge"]}, "--with edge: write NAME=DEVICE, e.g. --with edge2=edge"),
        ({"more": ["box=edge"]}, "has a device 'box' already"),
        ({"more": ["x=edg"]}, "no device 'edg' (did you mean 'edge'?)"),
        ({"swap": ["bax=edge"]}, "the fleet has no device 'bax'"),
    ],
)
def test_wishes_that_cannot_be_are_one_line(tmp_path: Path, more: dict[str, list[str]], says: str) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6)
    for ask in (place, simulate):
        with pytest.raises(HedgerowError) as caught:
            ask(model, house(), unit=f.UNIT, **more)  # type: ignore[operator]
        assert says in str(caught.value)


def test_a_bought_device_has_its_model_s_links_and_an_upgraded_one_keeps_its_own() -> None:
    fleet = bought(house(), "e2=edge")
    assert {x.name for x in fleet.links if "e2" in x.name} == {"phone→e2", "e2→phone"}
    assert upgraded(house(), "box=edge").device("box").factor == 1.0
    assert upgraded(house(), "box=edge").device("box").failure is None
    assert [label for label, _ in changes(house(), ["e2=edge"], ["box=edge"])] == [
        "with e2 like edge",
        "box made of edge",
    ]


@pytest.mark.parametrize("name", ["mtec", "ibdash", "round-robin", "lookahead"])
def test_every_policy_explains_itself_with_each_term(tmp_path: Path, name: str) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6)
    plan = place(model, house(), requests=3, unit=f.UNIT, policy=name)
    said = plan.explain("request-2").to_json()
    (job,) = said["requests"][0]["jobs"]
    named = {c["device"] for c in job["candidates"]} | {d["device"] for d in job["not_eligible"]}
    assert named == {"phone", "edge", "box"}
    text = as_text(explanation_tables(said), width=200)
    if name != "round-robin":
        assert "failure" in text
    chosen = [c for c in job["candidates"] if c["chosen"]]
    assert chosen and all(c["total_ms"] is not None or c["score"] is not None for c in chosen)


# --- found by reading -------------------------------------------------------------------------------------------------
def test_who_is_like_a_swapped_device_keeps_its_speed(tmp_path: Path) -> None:
    """Phone is four times slower than the old box; a new box makes no phone faster. Nor may two be like each other."""
    made = f.fleet(
        [f.device("phone", like="box", factor=4.0), f.device("box", factor=1.0), f.device("edge", factor=0.5)],
        [f.link("phone", "box"), f.link("phone", "edge")],
    )
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0)
    ask = {"unit": f.UNIT, "requests": 1, "policy": "local-only"}
    before = place(model, made, **ask).to_json()["expected"]["latency_mean_ms"]  # type: ignore[arg-type]
    for swap in (["box=edge"], ["box=edge", "box=phone"], ["box=phone"]):
        after = place(model, made, swap=swap, **ask).to_json()["expected"]["latency_mean_ms"]  # type: ignore[arg-type]
        assert after == pytest.approx(before), swap
    turned = upgraded(made, "box=phone")
    assert turned.device("box").like == "box as it was" and turned.names == made.names


def test_a_swapped_device_has_the_rates_of_its_new_hardware() -> None:
    from hedgerow.weighing import probe

    fleet = house()
    probed = fleet.device("edge").model_copy(update={"probed": probe(), "fingerprint": probe().fingerprint})
    fleet = replace(fleet, devices=tuple(probed if d.name == "edge" else d for d in fleet.devices))
    assert upgraded(fleet, "box=edge").device("box").probed == probed.probed


def test_without_a_device_the_trace_s_requests_stay(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0)
    told = trace_of([{"t": 0.1 * i, "ev": "arrive", "request": f"r{i}", "home": "phone"} for i in range(6)])
    outcome = simulate(
        model, house(), unit=f.UNIT, seeds=1, world=CALM, against=(), without=["edge"], trace=told, requests=50
    )
    jobs = [sum(n for d in row["devices"] for n in d["jobs"].values()) for row in outcome.data["rows"]]
    assert jobs == [6, 6]


def test_an_unplugged_device_may_lend_its_hardware(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0)
    plan = place(model, house(), unit=f.UNIT, requests=2, without=["edge"], swap=["box=edge"], more=["e2=edge"])
    assert plan.known.fleet.names == ("phone", "box", "e2") and plan.known.fleet.device("box").factor == 1.0
