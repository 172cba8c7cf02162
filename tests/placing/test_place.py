"""place and simulate as people call them: plan, reasons, outcome, and what is printed of them."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import fabricated as f
import pytest

import hedgerow as hr
from hedgerow.errors import HedgerowError
from hedgerow.placing import Fleet, World, place, simulate
from hedgerow.placing.show import as_text, explanation_tables, outcome_tables, plan_tables

EXAMPLE = Path(__file__).parents[2] / "examples" / "fleet.toml"
ASK: dict[str, Any] = {"need": ["accuracy>=0.55"], "limit": ["p95<=200ms"], "unit": f.UNIT}


def test_on_the_example_fleet_different_devices_get_different_models(tmp_path: Path) -> None:
    said = place(f.trio(tmp_path), EXAMPLE, requests=200, every_ms=2, **ASK).to_json()
    forms = {}
    for device in said["menus"][0]["devices"]:
        chosen = device["options"][device["chosen"]]
        forms[device["device"]] = chosen["name"]
        assert chosen["source"] == "assumed"
    assert set(forms.values()) == {"linear", "encoder", "lm"}
    assert forms["phone1"] == "linear" and forms["phone2"] == "encoder"


def test_a_plan_is_whole_and_is_plain_json(tmp_path: Path) -> None:
    plan = place(f.trio(tmp_path), EXAMPLE, requests=40, every_ms=2, **ASK)
    said = json.loads(json.dumps(plan.to_json("all"), allow_nan=False))
    assert [p["request"] for p in sorted(said["placements"], key=lambda p: int(p["request"].split("-")[1]))] == [
        f"request-{i + 1}" for i in range(40)
    ]
    assert sum(s["jobs"] for s in said["shares"]) == 40
    assert {s["device"] for s in said["shares"]} == set(Fleet.open(EXAMPLE).names)
    for p in said["placements"]:
        assert p["start_s"] < p["end_s"] <= p["answer_s"]
        assert p["assumed"]
    expected = said["expected"]
    assert expected["unfinished"] == 0 and expected["energy_j"] is None
    assert expected["latency_p50_ms"] <= expected["latency_p95_ms"]
    assert len(said["explanation"]["requests"]) == 40


def test_the_reasons_add_up_and_name_every_device(tmp_path: Path) -> None:
    plan = place(f.trio(tmp_path), EXAMPLE, requests=40, every_ms=2, **ASK)
    (request,) = plan.explain("request-17").to_json()["requests"]
    (job,) = request["jobs"]
    named = {c["device"] for c in job["candidates"]} | {d["device"] for d in job["not_eligible"]}
    assert named == set(Fleet.open(EXAMPLE).names)
    able = [c for c in job["candidates"] if not c["refused"]]
    for c in able:
        assert sum(c["terms_ms"].values()) == pytest.approx(c["total_ms"])
    best = min(able, key=lambda c: c["total_ms"])
    assert best["chosen"] and sum(c["chosen"] for c in job["candidates"]) == 1
    placed = next(p for p in plan.to_json()["placements"] if p["request"] == "request-17")
    assert placed["device"] == best["device"]
    refused = {c["device"]: c["refused"] for c in job["candidates"] if c["refused"]}
    assert refused == {"phone2": "its owner lets phone2 serve only its own requests"}
    text = str(plan.explain("request-17"))
    assert "request-17" in text and "earliest believed finish" in text and "→" in text
    assert "phone2" in text and "serve only its own" in text


def test_an_unknown_request_is_named(tmp_path: Path) -> None:
    plan = place(f.trio(tmp_path), EXAMPLE, requests=5, **ASK)
    with pytest.raises(HedgerowError, match=r"no request 'reqest-3' \(did you mean 'request-3'\?\)"):
        plan.explain("reqest-3")


def test_what_is_read_is_drawn_from_the_json_and_marks_what_is_assumed(tmp_path: Path) -> None:
    plan = place(f.trio(tmp_path), EXAMPLE, requests=20, **ASK)
    said = json.loads(json.dumps(plan.to_json("request-1")))
    text = as_text(plan_tables(said), width=200)
    assert str(plan) == as_text(plan_tables(said))
    rows = [
        x for x in text.splitlines() if re.match(r"\s*(phone1|phone2|laptop|edge|cloud) +(phone|laptop|edge|cloud) ", x)
    ]
    assert len(rows) == 5 and all(x.rstrip().endswith("assumed") for x in rows)
    assert "lm/torch: p95 is 363ms, 163ms over" in text
    assert "linear/numpy: 0.560" in text  # the next cheaper
    assert "Assumed, not measured:" in text
    for line in said["assumptions"]:
        assert line in text.replace("\n", " ") or line[:60] in text
    assert "accuracy>=0.55, p95<=200ms" in text
    assert "request-1" in as_text(explanation_tables(said["explanation"]))


def test_a_workload_an_app_and_folders_are_all_understood(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    fleet = Fleet.open(EXAMPLE)
    by_object = place(f.workload(packs, 10), fleet, **ASK)
    by_folder = place([str(p.path) for p in packs], EXAMPLE, requests=10, **ASK)
    assert by_object.to_json() == by_folder.to_json()
    one = place(packs[0], fleet, requests=2, unit=f.UNIT)
    assert {p["name"] for p in one.to_json()["placements"]} == {"linear"}
    (tmp_path / "app.toml").write_text(
        'name = "ask, then sort"\n[[jobs]]\nname = "ask"\npacks = ["linear", "encoder"]\n[[jobs]]\nname = "sort"\n'
        'deps = ["ask"]\nseconds = 0.01\nmemory = "5MB"\nsource = "assumed: a guess"\nbytes_out = "1kB"\n'
    )
    plan = place(tmp_path / "app.toml", EXAMPLE, need="accuracy>=0.55", requests=4)
    said = plan.to_json()
    assert sorted({p["job"] for p in said["placements"]}) == ["ask", "sort"]
    assert len(said["placements"]) == 8
    assert "job 'sort': 0.01 s (assumed: a guess)" in said["assumptions"]
    assert [len(r["jobs"]) for r in plan.explain().to_json()["requests"]] == [2] * 4
    outcome = simulate(tmp_path / "app.toml", EXAMPLE, requests=4, seeds=2, against=())
    assert outcome.data["rows"][0]["metrics"]["unfinished"]["value"] == 0


def test_there_is_no_partial_plan(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    with pytest.raises(HedgerowError, match=r"no device may run 'run': accuracy>=0.9 excludes 15 of 15"):
        place(packs, EXAMPLE, need=["accuracy>=0.9"], unit=f.UNIT)
    with pytest.raises(HedgerowError) as caught:
        place(packs, EXAMPLE, need=["accuracy>=0.6"], policy="local-only", requests=4, unit=f.UNIT)
    said = str(caught.value)
    assert (
        "policy local-only leaves 2 of 4 requests without an answer; request-1 from phone1: phone1: nothing may" in said
    )
    assert "linear/numpy: accuracy is 0.56, 0.04 short" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"policy": "earlyest-finish"}, "no policy is called 'earlyest-finish' (did you mean 'earliest-finish'?)"),
        ({"need": ["acuracy>=0.5"]}, "did you mean 'accuracy'?"),
        ({"limit": ["p95<=200"]}, "has no unit"),
        ({"without": ["labtop"]}, "the fleet has no device 'labtop' (did you mean 'laptop'?)"),
        ({"requets": 5}, "there is no argument 'requets' (did you mean 'requests'?)"),
        ({"requests": 0}, "at least one request"),
        ({"without": ["phone1", "phone2"]}, "no home is left"),
    ],
)
def test_bad_questions_are_one_line(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    for ask in (place, simulate):
        with pytest.raises(HedgerowError) as caught:
            ask(f.trio(tmp_path / ask.__name__), EXAMPLE, **{"unit": f.UNIT, **more})
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_pack_is_one_line() -> None:
    with pytest.raises(HedgerowError, match="there is no Pack to place"):
        place([], EXAMPLE)


# --- simulate --------------------------------------------------------------------------------------------------------
def test_an_outcome_compares_and_repeats_itself(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    ask = {
        **ASK,
        "requests": 60,
        "every_ms": 100,
        "seeds": 4,
        "without": ["laptop", "edge"],
        "world": World(notice_s=0.3),
    }
    one, two = (simulate(packs, EXAMPLE, **ask) for _ in range(2))
    said = json.loads(json.dumps(one.to_json(), allow_nan=False))
    assert one.digest == two.digest
    labels = ["earliest-finish", "local-only", "random", "earliest-finish without laptop, edge"]
    assert [r["label"] for r in said["rows"]] == labels
    assert [d["label"] for d in said["differences"]] == labels[1:]
    assert set(said["measured"]["decision_ms"]) == set(labels)
    assert "measured" not in one.data
    for row in said["rows"]:
        mean = row["metrics"]["latency_mean_ms"]
        assert mean["low"] <= mean["value"] <= mean["high"] and mean["n"] == 4
        assert row["metrics"]["energy_j"] is None
        assert len(row["per_seed"]["latency_mean_ms"]) == 4
    for d, row in zip(said["differences"], said["rows"][1:], strict=True):
        pairs = zip(row["per_seed"]["latency_mean_ms"], said["rows"][0]["per_seed"]["latency_mean_ms"], strict=True)
        gaps = [a - b for a, b in pairs]
        assert d["metrics"]["latency_mean_ms"]["value"] == pytest.approx(sum(gaps) / 4)
    text = as_text(outcome_tables(said), width=220)
    for word in ("unfinished", "in time", "Difference to earliest-finish", "a death is noticed after 0.3 s", "random"):
        assert word in text
    assert str(one) == as_text(outcome_tables(said))


def test_unplugging_changes_what_it_should(tmp_path: Path) -> None:
    """A home that nothing fits, two helpers: without the fast one all waits for the slow one."""
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=0.0, p95=100.0)
    fleet = f.fleet(
        [f.device("a", rules={"max_memory": "1MB"}), f.device("fast"), f.device("slow", factor=3.0)],
        [f.link("a", "fast", mbps=1e6), f.link("a", "slow", mbps=1e6)],
    )
    calm = World(failures=False, jitter=False, doubt=0.0)
    outcome = simulate(model, fleet, requests=8, seeds=2, unit=f.UNIT, world=calm, against=(), without=["fast"])
    spans = [r["metrics"]["makespan_s"]["value"] for r in outcome.data["rows"]]
    assert spans == pytest.approx([0.6, 2.4], abs=1e-4)  # six on fast beside two on slow; then eight on slow
    leaving = simulate(model, fleet, requests=8, seeds=1, unit=f.UNIT, world=calm, against=(), without={"fast": 0.25})
    row = leaving.data["rows"][1]
    assert row["label"] == "earliest-finish, fast leaves at 0.25 s"
    # two done, four lost at .25 and noticed at 1.25: they follow on slow, free since .6
    assert row["metrics"]["makespan_s"]["value"] == pytest.approx(1.25 + 4 * 0.3, abs=1e-4)
    assert row["metrics"]["lost"]["value"] == 4
    assert row["metrics"]["wasted_s"]["value"] == pytest.approx(0.05, abs=1e-4)


def test_assumed_speeds_are_doubted_and_measured_ones_are_not(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, p95=100.0)
    world = World(failures=False, doubt=0.5)
    spread = {}
    for name, device in {"assumed": f.device("a"), "measured": f.device("a", fingerprint=f.THIS.fingerprint)}.items():
        outcome = simulate(model, f.fleet([device]), requests=1, seeds=8, unit=f.UNIT, world=world, against=())
        spread[name] = set(outcome.data["rows"][0]["per_seed"]["latency_mean_ms"])
    assert len(spread["assumed"]) == 8
    assert list(spread["measured"]) == pytest.approx([200.0])


def test_jitter_has_the_measured_spread(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, p95=180.0, load_ms=0.0)
    fleet = f.fleet([f.device("a", fingerprint=f.THIS.fingerprint)])
    outcome = simulate(model, fleet, requests=4000, every_ms=10_000, seeds=1, unit=f.UNIT, against=())
    metrics = outcome.data["rows"][0]["metrics"]
    assert metrics["latency_p50_ms"]["value"] == pytest.approx(100, rel=0.03)
    assert metrics["latency_p95_ms"]["value"] == pytest.approx(180, rel=0.05)


def test_every_measure_has_its_closed_form(tmp_path: Path) -> None:
    """A home that nothing fits, one paid helper: two requests of 4 x 100 ms, one after the other, limit in between."""
    model = f.pack(tmp_path, "m", 100.0, 0.6, load_ms=50.0, p95=100.0)
    fleet = f.fleet(
        [f.device("a", rules={"max_memory": "1MB"}), f.device("b", price_per_s=2.0)],
        [f.link("a", "b", mbps=0.008, rtt_ms=0, price_per_gb=1e6)],
    )
    calm = World(failures=False, jitter=False, doubt=0.0)
    ask = {"batch": 4, "requests": 2, "unit": f.UNIT, "limit": ["p95<=3200ms"], "world": calm, "against": ()}
    (row,) = simulate(model, fleet, seeds=1, **ask).data["rows"]
    metrics = {k: v["value"] if v else None for k, v in row["metrics"].items()}
    # 4 x 72 bytes at 1 kB/s = .288 s there, .05 to load, .4 to run, 4 x 600 bytes = 2.4 s back; the second answer
    # waits for the first on the way back
    assert metrics["latency_mean_ms"] == pytest.approx(1e3 * (3.138 + 5.538) / 2)
    assert metrics["latency_p50_ms"] == pytest.approx(1e3 * (3.138 + 5.538) / 2)
    assert metrics["latency_p95_ms"] == pytest.approx(1e3 * (3.138 + 0.95 * 2.4))
    assert metrics["makespan_s"] == pytest.approx(5.538)
    assert metrics["in_time"] == 0.5
    assert metrics["value"] == pytest.approx(0.6)
    assert metrics["busy_s"] == pytest.approx(0.85) and metrics["wasted_s"] == 0
    assert metrics["bytes_moved"] == 2 * 4 * 672
    assert metrics["cost"] == pytest.approx(2.0 * 0.85 + 2 * 4 * 672 * 1e-3)
    assert (metrics["loads"], metrics["evictions"], metrics["lost"], metrics["unfinished"]) == (1, 0, 0, 0)
    used = {d["device"]: d["utilisation"] for d in row["devices"]}
    assert used == {"a": 0.0, "b": pytest.approx(0.85 / 5.538)}


def test_slots_are_what_threads_cores_and_the_owner_leave(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 100.0, 0.6, threads=2, load_ms=0.0, p95=100.0)
    calm = World(failures=False, jitter=False, doubt=0.0)
    spans = []
    for more in ({"cores": 8}, {"cores": 9, "rules": {"max_cores": 4}}, {"cores": 8, "rules": {"max_tasks": 1}}):
        fleet = f.fleet([f.device("a", **more)])
        outcome = simulate(model, fleet, requests=8, seeds=1, unit=f.UNIT, world=calm, against=())
        spans.append(outcome.data["rows"][0]["metrics"]["makespan_s"]["value"])
        assert place(model, fleet, requests=8, unit=f.UNIT).to_json()["expected"]["makespan_s"] == pytest.approx(
            spans[-1]
        )
    assert spans == pytest.approx([0.2, 0.4, 0.8])


def test_a_device_that_leaves_must_exist(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    for more in ({"without": {"labtop": 3.0}}, {"world": World(leave={"labtop": 3.0})}):
        with pytest.raises(HedgerowError, match=r"no device 'labtop' \(did you mean 'laptop'\?\)"):
            simulate(packs, EXAMPLE, seeds=1, unit=f.UNIT, **more)  # type: ignore[arg-type]
    with pytest.raises(HedgerowError, match="at least one seed"):
        simulate(packs, EXAMPLE, seeds=0, unit=f.UNIT)


def test_the_timeline_holds_every_stay_and_every_death(tmp_path: Path) -> None:
    fleet = f.fleet(
        [
            f.device("a", factor=3.0),
            f.device("b", cores=2, failure={"mean_up_s": 2, "mean_down_s": 1, "source": "assumed: test"}),
        ],
        [f.link("a", "b")],
    )
    model = f.pack(tmp_path, "m", 400.0, 0.6)
    outcome = simulate(model, fleet, requests=30, every_ms=150, seeds=1, unit=f.UNIT, against=())
    drawn = outcome.data["timelines"]["earliest-finish"]
    row = outcome.data["rows"][0]
    for device in row["devices"]:
        bars = [b for b in drawn["bars"] if b["device"] == device["device"]]
        assert sum(b["end"] - b["start"] for b in bars) == pytest.approx(device["busy_s"])
        for lane in {b["lane"] for b in bars}:
            mine = sorted((b["start"], b["end"]) for b in bars if b["lane"] == lane)
            assert all(a[1] <= b[0] + 1e-9 for a, b in itertools.pairwise(mine))
    assert {b["what"] for b in drawn["bars"]} == {"load", "run"}
    assert drawn["downs"] and any(b["lost"] for b in drawn["bars"])
    assert all(d["start"] < d["end"] for d in drawn["downs"])


def test_the_outcome_is_the_same_in_another_process_and_for_another_hash_seed(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import fabricated as f; from hedgerow.placing import simulate\n"
        "o = simulate(sys.argv[3:], sys.argv[2], need=['accuracy>=0.55'], unit=f.UNIT, requests=30, seeds=2)\n"
        "print(o.digest)"
    )
    said = set()
    for hash_seed in ("1", "2"):
        command = [
            sys.executable,
            "-c",
            script,
            str(Path(__file__).parent),
            str(EXAMPLE),
            *(str(p.path) for p in packs),
        ]
        done = subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1


def test_the_public_names_are_the_room_s() -> None:
    assert hr.place is place and hr.simulate is simulate and hr.Fleet is Fleet


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, hedgerow.placing, hedgerow.placing.show, hedgerow.placing.policies as p\n"
        "[p.policy(n) for n in p.POLICIES]\n"
        "print([m for m in ('torch', 'scipy', 'sklearn', 'onnxruntime', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_may_be_called_anything(tmp_path: Path) -> None:
    """Names out of a fleet file are texts, not the markup of whatever draws the table."""
    fleet = f.fleet([f.device("[red]box[/nope] :car:")])
    text = str(place([f.pack(tmp_path, "m", 1.0, 0.5)], fleet, requests=1, unit=f.UNIT))
    assert "[red]box[/nope]" in text and ":car:" in text
