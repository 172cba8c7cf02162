"""``show``, ``compare``, ``data``, and Packs and disks that are not as they should be."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cli_echo
import pytest
import tomli_w
from cli_said import Run

from hedgerow.data import fetch
from hedgerow.files import write_text
from hedgerow.pack import Parent, VariantInfo, add_variant, open_pack

ECHO = [sys.executable, str(Path(__file__).with_name("cli_echo.py"))]
DEVICE = {"name": "here", "machine": "x86_64", "cpu": "a cpu", "cores": 2, "memory_bytes": 1, "fingerprint": "abc"}


def add_cost(at: Path, p50: float, **more: object) -> None:
    row = {
        "variant": "numpy", "device": DEVICE, "runtime": {"numpy": "1"}, "threads": 1, "unit": "text", "phase": "run",
        "size": {"words": 4}, "p50_ms": p50, "p95_ms": 2 * p50, "mean_ms": p50, "peak_bytes": 2_000_000, "when": "1",
    }  # fmt: skip
    open_pack(at).add_evidence("costs.jsonl", {**row, **more})


def add_score(pack: Path, value: float, task: str = "0" * 64) -> None:
    where = {"name": "isic/rows", "options": {}, "digest": task, "split": "test", "n": 10}
    metrics = {"accuracy": {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 10}}
    open_pack(pack).add_evidence("scores.jsonl", {"variant": "numpy", "task": where, "metrics": metrics, "when": "1"})


def test_show_says_that_a_score_was_earned_by_a_twin(run: Run, tmp_path: Path) -> None:
    pack = cli_echo.save(tmp_path / "p")
    add_score(pack, 0.571)
    opened = open_pack(pack)
    opened.add_evidence("scores.jsonl", {**opened.scores[0], "note": "scored on its twin"})
    assert run("show", pack).out.count("Scores: scored on its twin.") == 1
    assert run("show", pack, "--json").json["scores"][0]["note"] == "scored on its twin"


def test_show_says_all_that_is_known(run: Run, tmp_path: Path) -> None:
    parents = (Parent(role="base", name="older", digest="a" * 64, licence="MIT"),)
    pack = cli_echo.save(tmp_path / "p", system="isic", preset="tiny", seed=3, parents=parents)
    add_cost(pack, 12.345)
    add_score(pack, 0.571)
    said = run("show", pack)
    for words in ("isic tiny", "seed 3", "Not to be shared", "books (closed)", "older", "aaaaaaaaaaaa", "12.3 ms",
                  "2 MB", "0.571 [0.521, 0.621]", "MIT"):  # fmt: skip
        assert words in said.out, words
    what = run("show", pack, "--json").json
    assert what["digest"] == open_pack(pack).digest and what["shareable"] is False
    assert what["costs"][0]["p50_ms"] == 12.345 and what["scores"][0]["value"] == 0.571


def test_show_names_what_is_missing(run: Run, pack: Path) -> None:
    said = run("show", pack)
    assert "No scores yet" in said.out and "Not weighed yet" in said.out


def test_show_counts_lines_about_an_older_export(run: Run, pack: Path) -> None:
    for settings in ("8", "4"):
        opened = open_pack(pack)
        info = VariantInfo(runtime="onnx", of=opened.digest, quantisation=settings)
        add_variant(opened, "onnx", info, lambda folder: write_text(folder / "model.onnx", "graph"))
        if settings == "8":
            open_pack(pack).add_evidence("scores.jsonl", {"variant": "onnx", "metrics": {}})
    assert "Left out: 1 line of evidence about an older export of onnx; `hedgerow weigh`" in run("show", pack).out
    assert run("show", pack, "--json").json["outdated"] == {"onnx": 1}


def test_evidence_of_other_weights_is_not_shown(run: Run, pack: Path) -> None:
    add_cost(pack, 1.0, pack="f" * 64)
    assert run("show", pack, "--json").json["costs"] == []


VERBS = [("show",), ("use", "rice"), ("weigh",), ("compare",), ("export", "--to", "onnx")]


def break_it(pack: Path, how: str) -> None:
    file = pack / "echo.json"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif how == "flipped":
        data = bytearray(file.read_bytes())
        data[0] ^= 1
        file.write_bytes(data)
    elif how == "missing":
        file.unlink()
    elif how == "extra":
        (pack / "more.json").write_text("{}")
    else:
        head = tomllib.loads((pack / "pack.toml").read_text())
        (pack / "pack.toml").write_text(tomli_w.dumps({**head, "format": 99}))


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", ("echo.json", "bytes")),
        ("flipped", ("echo.json", "changed")),
        ("missing", ("echo.json", "missing")),
        ("extra", ("more.json", "manifest")),
        ("newer", ("format 99", "update hedgerow")),
    ],
)
def test_a_damaged_pack_is_one_line_in_every_verb(
    run: Run, pack: Path, verb: tuple[str, ...], how: str, words: tuple[str, ...]
) -> None:
    break_it(pack, how)
    run(verb[0], pack, *verb[1:]).failed(*words)


def test_no_pack_at_all(run: Run, tmp_path: Path) -> None:
    run("show", "nowhere").failed("nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    run("show", "empty").failed("empty", "pack.toml")


def test_a_pack_of_a_kind_that_is_not_known(run: Run, tmp_path: Path) -> None:
    run("show", cli_echo.save(tmp_path / "p", kind="ecko")).failed("'ecko'", "did you mean 'echo'")


@pytest.mark.parametrize("command", ["use", "build"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, command: str) -> None:
    """The process may write files of 4 KiB at most, as if the disk ended there."""
    cli_echo.save(tmp_path / "p")
    (tmp_path / "in.csv").write_text("text\n" + "growing of rice\n" * 1000)
    arguments = {
        "use": ["use", "p", "--in", "in.csv", "--out", "o/out.csv"],
        "build": ["build", "isic", "-o", "o/pack", "--set", "examples=" + "x" * 5000],
    }[command]
    done = subprocess.run(
        [*ECHO, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "cannot save" in done.stderr, done.stderr
    assert not (tmp_path / "o").exists() or list((tmp_path / "o").iterdir()) == []


def test_compare_in_a_table_and_as_json(run: Run, tmp_path: Path) -> None:
    fast, good = cli_echo.save(tmp_path / "fast", name="fast"), cli_echo.save(tmp_path / "good", name="good", seed=1)
    for pack, p50, accuracy in ((fast, 1.0, 0.4), (good, 9.0, 0.6)):
        add_cost(pack, p50)
        add_score(pack, accuracy)
    said = run("compare", fast, good)
    assert said.code == 0 and "0.400 [0.350, 0.450]" in said.out and "9 ms" in said.out
    found = run("compare", fast, good, "--json").json
    assert [p["name"] for p in found["groups"][0]["points"]] == ["fast", "good"]
    run("compare", fast, good, "--y", "accurasy").failed("accurasy", "did you mean 'accuracy'")


def test_a_comparison_of_nothing_is_one_line_and_a_fault(run: Run, tmp_path: Path) -> None:
    pack = cli_echo.save(tmp_path / "fast", name="fast")
    add_cost(pack, 1.0)
    add_score(pack, 0.4)
    for asked in (("--device", "nope"), ("--threads", "9")):
        said = run("compare", pack, *asked)
        assert said.code == 1 and "not weighed on device" in said.err and len(said.err.splitlines()) == 1, said
        assert run("compare", pack, *asked, "--json").code == 1


def test_data_lists_what_there_is(run: Run) -> None:
    said = run("data")
    assert said.code == 0 and "minilm" in said.out and "to fetch" in said.out
    listed = run("data", "--json").json
    assert {row["name"] for row in listed} == set(fetch.sources()) and all(row["licence"] for row in listed)


def test_data_of_a_source(run: Run, data_cache: Path) -> None:
    name = min(fetch.listing(), key=lambda row: row["download"])["name"]
    said = run("data", name, "--json")
    assert said.code == 0 and Path(said.json["path"]).exists()


def test_data_that_is_not_here_and_may_not_be_fetched(run: Run) -> None:
    run("data", "minilm", "--offline").failed("minilm", "offline")
    run("data", "minilmm").failed("minilmm", "did you mean 'minilm'")
    assert run("data", "--prune", "--json").json == {"removed": [], "bytes": 0, "kept": []}


def test_a_read_only_pack_is_used_and_shown(run: Run, pack: Path) -> None:
    for path in [*pack.rglob("*"), pack]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert run("use", pack, "rice").code == 0 and run("show", pack).code == 0
    finally:
        pack.chmod(0o755)


def test_a_copied_pack_is_complete(run: Run, pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "copy")
    shutil.rmtree(pack)
    assert run("use", "copy", "rice").out == "RICE (1.00)\n"
