"""``systems``, ``build``, ``export`` and scoring: the registry seen from the command line, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_said import Run

import hedgerow
from hedgerow import systems
from hedgerow.errors import HedgerowError
from hedgerow.pack import Scored, open_pack

ECHO = [sys.executable, str(Path(__file__).with_name("cli_echo.py"))]
TEN = {"isic", "gp_gpt", "skintern", "rpp", "ttt_unet", "dhd", "dfdg", "fedmd_cg", "slm", "mtec"}

pytestmark = pytest.mark.usefixtures("recipe")


def test_the_ten_systems(run: Run) -> None:
    said = run("systems")
    assert said.code == 0 and all(any(line.strip().startswith(n) for line in said.out.splitlines()) for n in TEN)
    assert said.out.count("not yet") == 7
    listed = run("systems", "--json").json
    assert {s["name"] for s in listed} == TEN and listed[0]["name"] == "isic"
    assert all(s["what"] and s["data"] and s["paper"] for s in listed)
    assert listed[0]["presets"][0] == {"name": "tiny", "about": "three steps", "minutes": 1}
    assert [s["name"] for s in listed if s["presets"]] == ["isic"], "a system without code must not offer presets"


def test_one_system(run: Run) -> None:
    said = run("systems", "isic")
    assert "thirty steps" in said.out and "how many steps to take" in said.out
    assert run("systems", "dfdg", "--json").json["settings"] == []
    run("systems", "isik").failed("'isik'", "did you mean 'isic'")


def test_a_build(run: Run, tmp_path: Path) -> None:
    said = run("build", "isic", "--set", "steps=4", "--seed", "7")
    assert said.code == 0 and "built in 4 steps" in said.out and "hedgerow use packs/isic" in said.err
    info = open_pack(tmp_path / "packs/isic").info
    assert (info.preset, info.seed, info.config["steps"]) == ("tiny", 7, 4)
    said = run("build", "isic", "--preset", "real", "-o", "elsewhere/p", "--json")
    assert said.json["path"] == "elsewhere/p" and said.json["digest"] == open_pack(tmp_path / "elsewhere/p").digest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("isik",), ("'isik'", "did you mean 'isic'")),
        (("dfdg",), ("dfdg", "not yet", "isic")),
        (("mtec",), ("mtec", "nothing to build")),
        (("isic", "--preset", "reel"), ("'reel'", "did you mean 'real'")),
        (("isic", "--set", "stepps=3"), ("stepps", "did you mean 'steps'")),
        (("isic", "--set", "steps=0"), ("steps", "greater")),
        (("isic", "--set", "steps=many"), ("steps", "integer")),
        (("isic", "--set", "steps"), ("steps", "key=value")),
        (("isic", "-o", "taken"), ("taken", "no Pack")),
        (("isic", "--from", "nowhere"), ("nowhere", "no such folder")),
        (("isic", "-o", ".."), ("'..'", "no name")),
        (("isic", "-o", "."), ("'.'", "no name")),
    ],
)
def test_what_cannot_be_built_is_one_line(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/letter.txt").write_text("mine")
    run("build", *arguments).failed(*words)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "hedgerow-cache") == ["taken"], "nothing is left"


def test_a_recipe_that_fails_late_leaves_no_pack_and_the_old_one_as_it_was(run: Run, tmp_path: Path) -> None:
    run("build", "isic", "--set", "fails=true", "-o", "new").failed("the scoring failed")
    assert not (tmp_path / "new").exists()
    run("build", "isic", "-o", "old")
    before = open_pack(tmp_path / "old").digest
    run("build", "isic", "--set", "steps=5", "--set", "fails=true", "-o", "old").failed("the scoring failed")
    assert open_pack(tmp_path / "old").digest == before
    assert run("build", "isic", "--set", "steps=5", "-o", "old").code == 0
    assert open_pack(tmp_path / "old").digest != before


def test_a_build_that_fails_before_it_has_anything_leaves_no_run(run: Run, tmp_path: Path) -> None:
    run("build", "isic", "-o", "base")
    before = sorted(tmp_path.glob("runs/*"))
    run("build", "isic", "--from", "base", "-o", "more").failed("give the coded examples")
    assert sorted(tmp_path.glob("runs/*")) == before
    run("build", "isic", "--set", "steps=5", "--set", "fails=true", "-o", "new").failed("the scoring failed")
    assert len(list(tmp_path.glob("runs/*"))) == len(before) + 1, "its steps are there to go on with"


def test_a_build_says_which_pack_it_replaced(run: Run, tmp_path: Path) -> None:
    assert "replaced" not in run("build", "isic", "-o", "p").err
    old = open_pack(tmp_path / "p")
    assert "replaced" not in run("build", "isic", "-o", "p").err, "the same Pack again"
    said = run("build", "isic", "--set", "steps=5", "-o", "p", "--json")
    assert f"p held the Pack {old.info.name} ({old.digest[:12]}), which this one replaced" in said.err
    assert said.json["digest"] != old.digest


def test_rows_that_a_build_leaves_out_are_named(run: Run, tmp_path: Path) -> None:
    run("build", "isic")
    said = run("build", "isic", "--from", "packs/isic", "--set", "examples=bad.csv", "-o", "packs/more", "--json")
    assert said.code == 3 and "line 3: left out: it has no code" in said.err
    assert said.json["path"] == "packs/more" and open_pack(tmp_path / "packs/more").digest == said.json["digest"]


def test_a_pack_built_again_keeps_its_evidence(run: Run, tmp_path: Path) -> None:
    run("build", "isic")
    pack = open_pack(tmp_path / "packs/isic")
    pack.add_evidence("costs.jsonl", {"variant": "echo", "p50_ms": 1.0})
    with open(tmp_path / "packs/isic/costs.jsonl", "a") as f:
        f.write('{"cut off')
    run("build", "isic")
    again = open_pack(tmp_path / "packs/isic")
    assert again.digest == pack.digest
    assert [row["p50_ms"] for row in again.costs] == [1.0]


def test_a_pack_is_extended_and_not_overwritten(run: Run, pack: Path, tmp_path: Path) -> None:
    run("build", "isic")
    said = run("build", "isic", "--from", "packs/isic", "--set", "examples=my.csv", "-o", "packs/more")
    assert said.code == 0
    more = open_pack(tmp_path / "packs/more")
    assert more.info.parents[0].digest == open_pack(tmp_path / "packs/isic").digest
    assert (more.info.config["steps"], more.info.config["examples"]) == (3, "my.csv")
    run("build", "isic", "--from", "packs/isic").failed("Pack to start from", "-o")
    run("build", "isic", "--from", pack, "-o", "x").failed("not by isic")


def test_a_thin_pack_keeps_its_trunk_in_the_cache(run: Run, tmp_path: Path) -> None:
    run("build", "isic", "--set", "trunk=true", "-o", "full")
    run("build", "isic", "--set", "trunk=true", "-o", "thin", "--thin")
    full, thin = run("show", "full", "--json").json, run("show", "thin", "--json").json
    assert (full["thin"], thin["thin"]) == (False, True) and full["digest"] == thin["digest"]
    assert open_pack(tmp_path / "thin").trunk().info.name == "trunk" == open_pack(tmp_path / "full").trunk().info.name


def test_a_stranger_without_the_large_installation(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = systems.find_spec
    monkeypatch.setattr(systems, "find_spec", lambda name: None if name == "torch" else found(name))
    run("build", "isic").failed("pip install 'hedgerow[build]'")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "HEDGEROW_CACHE": str(folder / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*ECHO, *arguments], cwd=folder, env=environment, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def wait_for(folder: Path, pattern: str) -> Path:
    for _ in range(600):
        if found := list(folder.glob(pattern)):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no {pattern} in {folder}")


@pytest.mark.parametrize(
    ("stop", "code", "word"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_stopped_build_says_so_leaves_no_half_pack_and_resumes(
    run: Run, tmp_path: Path, stop: signal.Signals, code: int, word: str
) -> None:
    command = ("build", "isic", "--set", "steps=4", "--set", "sleep=0.3", "-o", "packs/p")
    process = start(tmp_path, *command)
    wait_for(tmp_path, "runs/isic-*/done.jsonl")
    process.send_signal(stop)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, "")
    assert len(err.splitlines()) == 1 and word in err and "same command goes on" in err
    assert not (tmp_path / "packs").exists() or list((tmp_path / "packs").iterdir()) == []
    before = len(wait_for(tmp_path, "runs/isic-*/done.jsonl").read_text().splitlines())
    assert 1 <= before < 4
    said = run(*command)
    assert said.code == 0 and "built in 4 steps" in said.out  # were it not resumed, it would be more


def test_fresh_forgets(run: Run, tmp_path: Path) -> None:
    run("build", "isic", "--set", "steps=2")
    events = wait_for(tmp_path, "runs/isic-*/events.jsonl")
    run("build", "isic", "--set", "steps=2")
    assert "resumed" in events.read_text()
    run("build", "isic", "--set", "steps=2", "--fresh")
    assert "resumed" not in events.read_text()


def test_ctrl_c_during_a_batch_leaves_no_output(tmp_path: Path) -> None:
    import cli_echo

    cli_echo.save(tmp_path / "p")
    (tmp_path / "in.csv").write_text("text\n" + "rice\n" * 1000)
    process = start(tmp_path, "use", "p", "--in", "in.csv", "--out", "o/out.csv", "--set", "sleep=0.001")
    wait_for(tmp_path, "o/.out.csv.*")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "") and len(err.splitlines()) == 1
    assert list((tmp_path / "o").iterdir()) == []


PIP = """
import sys, pathlib, time
folder = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
(folder / "half.whl").write_bytes(b"x" * 1000)
time.sleep(60)
"""


def test_ctrl_c_during_a_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pip that writes half a package and then hangs."""
    (tmp_path / "stand-in/pip").mkdir(parents=True)
    (tmp_path / "stand-in/pip/__init__.py").write_text("")
    (tmp_path / "stand-in/pip/__main__.py").write_text(PIP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stand-in"))
    process = start(tmp_path, "data", "minilm")
    wait_for(tmp_path, "cache/data/**/half.whl")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert len(err.splitlines()) == 1 and "stopped by Ctrl-C" in err
    assert [p.name for p in (tmp_path / "cache/data").iterdir() if not p.name.startswith(".lock-")] == []


def test_score_of_my_own_rows(run: Run, tmp_path: Path) -> None:
    run("build", "isic")
    (tmp_path / "my.csv").write_text("text,code\nrice x,RICE\noats y,RICE\n")
    said = run("use", "packs/isic", "--in", "my.csv", "--score")
    assert said.code == 0 and "0.500 [0.250, 1.000]" in said.out
    line = run("use", "packs/isic", "--in", "my.csv", "--score", "--json").json
    assert line["metrics"]["accuracy"]["value"] == 0.5
    assert run("show", "packs/isic", "--json").json["scores"][0]["metric"] == "accuracy"


def test_evidence_keeps_the_name_of_my_file_and_not_where_it_lies(run: Run, tmp_path: Path) -> None:
    run("build", "isic")
    mine = tmp_path / "private customers" / "my.csv"
    mine.parent.mkdir()
    mine.write_text("text,code\nrice x,RICE\n")
    assert run("use", "packs/isic", "--in", mine, "--score").code == 0
    kept = (tmp_path / "packs/isic/scores.jsonl").read_text()
    assert "private" not in kept and str(tmp_path) not in kept
    line = open_pack(tmp_path / "packs/isic").scores[-1]
    assert line["task"]["options"] == {"file": "my.csv"} and len(line["task"]["digest"]) == 64


def test_rows_that_are_not_scored_are_named(run: Run, tmp_path: Path) -> None:
    run("build", "isic")
    (tmp_path / "my.csv").write_text("text,code\nrice x,RICE\noats y,\noats,y,z\n")
    said = run("use", "packs/isic", "--in", "my.csv", "--score", "--json")
    assert said.code == 3 and said.json["task"]["n"] == 2
    assert "line 3: not scored: no code" in said.err and len(said.err.splitlines()) == 2


def test_nobody_knows_how_to_score_it(run: Run, pack: Path, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("text,code\nrice,RICE\n")
    run("use", pack, "--in", "my.csv", "--score").failed("names no system")


def test_export_of_a_form_that_the_kind_lacks(run: Run, pack: Path) -> None:
    run("export", pack, "--to", "onnx-int8").failed("an echo has no form 'onnx-int8'")


# --- the registry from Python ----------------------------------------------------------------------------------------
def test_build_is_public(tmp_path: Path) -> None:
    built = hedgerow.build("isic", "tiny", ["steps=2"], tmp_path / "p", runs=tmp_path / "runs")
    assert built.info.config["steps"] == 2


def test_a_task_is_found_again_or_refused(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("text,code\nrice,RICE\n")
    own = systems.own_task("isic", tmp_path / "my.csv")
    scored = Scored(name=own.name, options=dict(own.options), digest=own.digest)
    assert systems.resolve_task(scored).digest == own.digest
    (tmp_path / "my.csv").write_text("text,code\nrice,OATS\n")
    with pytest.raises(HedgerowError, match="data has changed"):
        systems.resolve_task(scored)
    with pytest.raises(HedgerowError, match="no system is called 'isik'"):
        systems.resolve_task(scored.model_copy(update={"name": "isik/own"}))
