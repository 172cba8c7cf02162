"""Help, usage errors, completion, exit codes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_said import Run

from hedgerow import __version__
from hedgerow.cli.root import SHELLS

VERBS = ["systems", "build", "use", "show", "weigh", "compare", "catalogue", "place", "data", "export"]
HEDGEROW = [sys.executable, "-m", "hedgerow.cli"]


def test_help_names_every_verb_in_order(run: Run) -> None:
    said = run("--help")
    listed = [line.strip("│ ").split(" ")[0] for line in said.out.split(" Commands ")[1].splitlines()]
    assert said.code == 0 and [word for word in listed if word in VERBS] == VERBS
    assert run("--version").out == f"hedgerow {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run: Run, verb: str) -> None:
    said = run(verb, "--help")
    assert said.code == 0 and "--json" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shw",), ("'shw'", "did you mean 'show'", "hedgerow --help")),
        (("show", "--jsn"), ("'--jsn'", "did you mean '--json'", "hedgerow show --help")),
        (("show",), ("PACK", "hedgerow show --help")),
        (("use", "x", "y", "--threads", "two"), ("two", "--threads")),
        (("use", "x", "y", "--threads", "0"), ("0", "--threads")),
        (("--show-completion", "bsh"), ("bsh", "did you mean 'bash'")),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    run(*arguments).failed(*words, code=2)


def test_help_is_quick() -> None:
    """0.3 CPU-seconds in the issue; twice that here, since CI's processor is not known."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = 3
    for _ in range(runs):
        subprocess.run([*HEDGEROW, "--help"], check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / runs
    assert spent < 0.6


def complete(line: str, folder: Path) -> list[str]:
    """What bash would offer for the last word of ``line``."""
    words = line.split(" ")
    state = {"_HEDGEROW_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        HEDGEROW, env={**os.environ, **state}, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_completion_of_verbs_systems_presets_and_packs(tmp_path: Path) -> None:
    for name in ("packs/one", "packs/two", "packs/none"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("packs/one", "packs/two"):
        (tmp_path / name / "pack.toml").write_text("")
    assert complete("hedgerow ", tmp_path) == VERBS
    assert complete("hedgerow co", tmp_path) == ["compare"]
    assert complete("hedgerow build i", tmp_path) == ["isic"]
    assert set(complete("hedgerow systems ", tmp_path)) >= {"isic", "mtec", "dfdg"}
    assert {"tiny", "real"} <= set(complete("hedgerow build isic --preset ", tmp_path))
    assert complete("hedgerow build isic --preset t", tmp_path) == ["tiny"]
    assert complete("hedgerow show packs/", tmp_path) == ["packs/one", "packs/two"]
    assert complete("hedgerow weigh packs/one packs/t", tmp_path) == ["packs/two"]
    assert "--need" in complete("hedgerow place packs/one --", tmp_path)
    assert complete("hedgerow data mini", tmp_path) == ["minilm"]


def test_a_real_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / "hedgerow"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hedgerow.cli "$@"\n')
    program.chmod(0o755)
    bash = """
        eval "$(hedgerow --show-completion bash)"
        COMP_WORDS=(hedgerow comp) COMP_CWORD=1
        _hedgerow_completion hedgerow
        echo "${COMPREPLY[@]}"
    """
    where = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, timeout=60, check=False, env=where)
    assert (done.stdout, done.stderr) == ("compare\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_every_shell(run: Run, shell: str) -> None:
    assert "_HEDGEROW_COMPLETE" in run("--show-completion", shell).out


def test_a_fault_of_the_machine_is_one_line(run: Run, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: object) -> None:
        raise OSError(5, "Input/output error", "some/file")

    monkeypatch.setattr("hedgerow.cli.describe.describe", broken)
    run("show", pack).failed("some/file: Input/output error")
    monkeypatch.setattr("hedgerow.cli.describe.describe", lambda path: [][1])
    with pytest.raises(IndexError):  # a fault of ours keeps its traceback
        run("show", pack)


def test_nobody_reads_on() -> None:
    """``hedgerow systems | head -1`` ends quietly."""
    command = f"{sys.executable} -m hedgerow.cli systems --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout[:1] == "[" and done.stderr == ""


def test_a_terminal_that_knows_no_unicode(tmp_path: Path) -> None:
    where = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*HEDGEROW, "systems"], env=where, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "isic" in done.stdout
