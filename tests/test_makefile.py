"""The two commands of the README, with a stand-in for Python that notes what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAND_IN = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp {me} "$3/bin/python"; for p in pip ruff mypy; do cp {me} "$3/bin/$p"; done;;
  "-c "*) exec {python} "$@";;
esac
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A program that says it is Python, makes environments that hold nothing but itself, and keeps a log."""
    program = tmp_path / "python3"
    program.write_text(STAND_IN.format(log=tmp_path / "log", me=program, python=sys.executable))
    program.chmod(0o755)
    return program


def make(python: Path, *targets: str, code: int = 0) -> list[str]:
    """What the stand-in was asked when ``make`` was run from another folder."""
    log = python.parent / "log"
    log.unlink(missing_ok=True)
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), *targets, f"PYTHON={python}", f"VENV={python.parent / 'venv'}"],
        cwd=python.parent, capture_output=True, text=True, timeout=60, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(("target", "runs"), [("tour", "hedgerow.report.tour"), ("test", "pytest")])
def test_each_makes_the_environment_and_then_goes_on(python: Path, target: str, runs: str) -> None:
    asked = make(python, target)
    assert any(a.startswith("-m venv ") for a in asked)
    install = [a for a in asked if "pip install" in a]
    assert len(install) == 1 and "-c constraints.txt" in install[0]
    assert ".[build,llama,eval,records,bounds,dev]" in install[0]
    assert runs in asked[-1]
    again = make(python, target)
    assert not any("venv" in a or "install" in a for a in again) and runs in again[-1]


def test_a_failed_installation_is_tried_again(python: Path) -> None:
    good = python.read_text()
    python.write_text(good.replace('case "$*"', 'case "$*" in *"pip install"*) exit 1;; esac\ncase "$*"'))
    make(python, "install", code=2)
    python.write_text(good)
    (python.parent / "venv/bin/python").write_text(good)
    assert any("pip install" in a for a in make(python, "install"))
    assert make(python, "install") == []


def test_an_old_python_is_refused(python: Path) -> None:
    python.write_text("#!/bin/sh\nexit 1\n")
    make(python, "install", code=2)
    assert not (python.parent / "venv").exists()


def test_tests_run_as_promised(python: Path) -> None:
    asked = " ".join(make(python, "test"))
    assert "check ." in asked and "format --check ." in asked and "not service" in asked
    assert "-m service" in make(python, "test-services")[-1]
