"""``place`` and ``weigh``: what they print, what they refuse, and what a plan rests on."""

from __future__ import annotations

from pathlib import Path

import cli_echo
import pytest
from cli_said import Run

from hedgerow.cost import Device
from hedgerow.files import read_json
from hedgerow.pack import open_pack
from hedgerow.schema import check
from hedgerow.weighing import probe

FLEET = """
home = ["phone"]
[[devices]]
name = "phone"
tier = "phone"
memory = "4GB"
cores = 1
like = "this"
factor = 4.0
source = "assumed: slower"
[[devices]]
name = "box"
tier = "edge"
memory = "8GB"
cores = 2
like = "this"
factor = 1.0
source = "assumed: the same"
failure = { mean_up_s = 1, mean_down_s = 1, source = "assumed: dies all the time" }
[[links]]
from = "phone"
to = "box"
mbps = 100
rtt_ms = 2
source = "assumed: a cable"
"""


def rival(path: Path, name: str, p50: float, accuracy: float) -> Path:
    """A weighed and scored Pack."""
    pack = open_pack(cli_echo.save(path, name=name))
    fixed = {"variant": "numpy", "device": probe().model_dump(mode="json"), "runtime": {"numpy": "1"}, "threads": 1}
    times = {"p50_ms": p50, "p95_ms": 1.2 * p50, "mean_ms": p50, "peak_bytes": 10**7, "disk_bytes": 10**6, "when": "1"}
    for phase in ("load", "run"):
        row = {**fixed, **times, "unit": "text", "phase": phase, "size": {"words": 4} if phase == "run" else {}}
        pack.add_evidence("costs.jsonl", row)
    task = {"name": "isic/rows", "options": {}, "digest": "0" * 64, "split": "test", "n": 10}
    metrics = {"accuracy": {"value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02, "n": 10}}
    pack.add_evidence("scores.jsonl", {"variant": "numpy", "task": task, "metrics": metrics, "when": "1"})
    return path


@pytest.fixture
def rivals(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "fleet.toml").write_text(FLEET)
    return rival(tmp_path / "small", "small", 10.0, 0.5), rival(tmp_path / "large", "large", 200.0, 0.7)


def test_different_devices_get_different_models(run: Run, rivals: tuple[Path, Path]) -> None:
    said = run(
        "place", *rivals, "--fleet", "fleet.toml", "--limit", "p95<=400ms", "--requests", "20", "--explain", "all"
    )
    assert said.code == 0 and said.err == ""
    assert "assumed" in said.out and "Assumed, not measured" in said.out and "request" in said.out
    plan = run("place", *rivals, "--fleet", "fleet.toml", "--limit", "p95<=400ms", "--requests", "20", "--json").json
    chosen = {(p["device"], p["name"]) for p in plan["placements"]}
    assert ("box", "large") in chosen and ("phone", "large") not in chosen
    assert len(plan["placements"]) == 20 and "explanation" not in plan


def test_an_outcome_beside_other_policies(run: Run, rivals: tuple[Path, Path]) -> None:
    command = ("place", *rivals, "--fleet", "fleet.toml", "--requests", "10", "--simulate", "3", "--without", "box")
    said = run(*command)
    assert said.code == 0 and "local-only" in said.out and "random" in said.out
    whole = run(*command, "--json").json
    outcome = whole["outcome"]
    besides = set(outcome["assumptions"]) - set(whole["assumptions"])
    assert besides and "phone: speed = this × 4 slower (assumed: slower)" in outcome["assumptions"]
    for line in outcome["assumptions"]:  # the tables say each once, JSON says all of them in both places
        assert said.out.count(line) == 1, line
    assert outcome["seeds"] == [0, 3] and any("without box" in row["label"] for row in outcome["rows"])


def test_a_limit_that_the_load_breaks_is_said_to_concern_an_idle_device(run: Run, rivals: tuple[Path, Path]) -> None:
    command = ("place", *rivals, "--fleet", "fleet.toml", "--limit", "p95<=400ms", "--requests", "50")
    said = run(*command, "--simulate", "2").out
    idle = [x for x in said.splitlines() if x.startswith("p95<=400ms concerns one request on an idle device")]
    assert len(idle) == 2 and "as planned, p95 is" in idle[0] and "simulated, p95 is" in idle[1], said
    assert "concerns one request" not in run(*command, "--every", "5000").out, "nobody waits, so the limit holds"


def test_an_application_keeps_a_limit_job_by_job(run: Run, rivals: tuple[Path, Path], tmp_path: Path) -> None:
    plain = 'seconds = 0.2\nmemory = "1MB"\nsource = "assumed: a while"\n'
    (tmp_path / "app.toml").write_text(
        f'[[jobs]]\nname = "a"\n{plain}[[jobs]]\nname = "b"\ndeps = ["a"]\npacks = ["small", "large"]\n'
    )
    said = run("place", "app.toml", "--fleet", "fleet.toml", "--need", "accuracy>=0.4", "--limit", "p95<=1s")
    assert "mean accuracy" in said.out and "concerns one request" not in said.out, said


def test_the_example_household_takes_every_swap(run: Run, rivals: tuple[Path, Path]) -> None:
    """Also of a device that another is like: ``edge`` is like the laptop that becomes an edge."""
    fleet = Path(__file__).parents[2] / "examples" / "fleet.toml"
    for swap in ("laptop=edge", "laptop=cloud", "edge=laptop"):
        assert run("place", *rivals, "--fleet", fleet, "--swap", swap, "--json").code == 0, swap


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--need", "accuracy>=0.9"), ("accuracy", "0.9")),
        (("--need", "acuracy>=0.1"), ("acuracy", "did you mean 'accuracy'")),
        (("--need", "accuracy>0.1 or so"), ("accuracy",)),
        (("--limit", "p95<=2 parsecs"), ("parsecs",)),
        (("--limit", "p95<=1ms"), ("p95",)),
        (("--policy", "random-ish"), ("random-ish", "did you mean 'random'")),
        (("--without", "boxx"), ("boxx", "did you mean 'box'")),
        (("--without", "phone"), ("no home",)),
        (("--explain", "request-999"), ("request-999",)),
        (("--fleet", "nowhere.toml"), ("nowhere.toml", "missing")),
        (("--fleet", "circle.toml"), ("circle.toml", "circle")),
        (("--fleet", "stranger.toml"), ("stranger.toml", "unknown device 'bx'")),
        (("--fleet", "broken.toml"), ("broken.toml", "TOML")),
    ],
)
def test_what_cannot_be_placed_is_one_line(
    run: Run, rivals: tuple[Path, Path], tmp_path: Path, change: tuple[str, ...], words: tuple[str, ...]
) -> None:
    box = FLEET.replace('like = "this"\nfactor = 1.0', 'like = "phone"\nfactor = 1.0')
    (tmp_path / "circle.toml").write_text(box.replace('like = "this"\nfactor = 4.0', 'like = "box"\nfactor = 4.0'))
    (tmp_path / "stranger.toml").write_text(FLEET.replace('to = "box"', 'to = "bx"'))
    (tmp_path / "broken.toml").write_text("home = [")
    run("place", *rivals, "--fleet", "fleet.toml", *change).failed(*words)


def test_a_pack_that_nobody_weighed(run: Run, rivals: tuple[Path, Path], pack: Path) -> None:
    said = run("place", pack, "--fleet", "fleet.toml")
    said.failed("weigh")


def test_the_profile_of_this_machine(run: Run, tmp_path: Path) -> None:
    assert run("weigh", "--profile", "device.json").code == 0
    device = check(Device, read_json(tmp_path / "device.json"), "device.json")
    assert device.fingerprint == probe().fingerprint
    run("weigh").failed("--profile", code=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--grid", "quik"), ("quik", "did you mean 'quick'")),
        (("--form", "nmpy"), ("nmpy", "did you mean 'numpy'")),
    ],
)
def test_what_cannot_be_weighed_is_one_line(
    run: Run, pack: Path, change: tuple[str, ...], words: tuple[str, ...]
) -> None:
    run("weigh", pack, *change).failed(*words)


def test_a_policy_a_bought_and_an_upgraded_device_are_options(run: Run, rivals: tuple[Path, ...]) -> None:
    command = ("place", *rivals, "--fleet", "fleet.toml", "--requests", "6", "--policy", "mtec")
    change = ("--with", "box2=box", "--swap", "phone=box", "--simulate", "2")
    said = run(*command, *change, "--explain", "request-1", "--json").json
    assert said["policy"] == "mtec"
    assert [r["label"] for r in said["outcome"]["rows"]][-2:] == ["mtec with box2 like box", "mtec phone made of box"]
    assert {"box2"} <= {d["name"] for d in said["fleet"]["devices"]}
    text = run(*command, "--explain", "request-1").out
    for word in ("reconstruction", "failure", "score"):
        assert word in text
    run(*command, "--with", "box=box").failed("--with box=box", "give the new one another name")
    run(*command[:-1], "mtek").failed("did you mean 'mtec'?")


WORKFLOW = """{"name": "w", "schemaVersion": "1.5", "workflow": {
 "specification": {"tasks": [{"id": "a"}, {"id": "b", "parents": ["a"]}], "files": []},
 "execution": {"tasks": [{"id": "a", "runtimeInSeconds": 0.1}, {"id": "b", "runtimeInSeconds": 0.2}]}}}"""


def test_a_workflow_on_a_fleet_with_recorded_failures(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "w.json").write_text(WORKFLOW)
    (tmp_path / "nodes").write_text("node_id event_type event_start_time event_stop_time\n1 1 0 9\n2 0 1 5\n")
    command = ("place", "w.json", "--fleet", "fleet.toml", "--requests", "2")
    assert len(run(*command, "--json").json["placements"]) == 4
    told = run(*command, "--simulate", "1", "--trace", "fta=nodes", "--json").json["outcome"]
    assert told["requests"] == 2
    run(*command, "--trace", "fta=nodes").failed("--simulate", code=2)
    run(*command, "--simulate", "1", "--trace", "fta=gone").failed("gone", "cannot be read")
