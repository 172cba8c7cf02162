"""Hostile programs are contained, and nothing of them is left running; without bubblewrap nothing is run at all."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import psutil
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.weighing import sandbox
from hedgerow.weighing.sandbox import Limits, Outcome, run

SHORT = Limits(seconds=3.0)


def contained(program: str, limits: Limits = SHORT) -> Outcome:
    """Run it and check that no process of it is left; its processes carry a word of their own in their names."""
    mark = f"m{secrets.token_hex(6)}"
    named = f"import ctypes\nctypes.CDLL(None).prctl(15, b'{mark}', 0, 0, 0)\n{program}"
    outcome = run(named, limits)
    names = [p.info["name"] for p in psutil.process_iter(["name"])]
    assert mark not in names
    return outcome


@pytest.mark.service
def test_a_right_program_passes_and_a_wrong_one_fails() -> None:
    assert run("def f(x): return x + 1\nassert f(1) == 2") == Outcome(True, "passed", "")
    wrong = run("def f(x): return x\nassert f(1) == 2")
    assert not wrong.passed and wrong.how == "failed" and "AssertionError" in wrong.said
    assert run("def f(:").how == "failed"


@pytest.mark.service
@pytest.mark.parametrize("early", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_ending_well_before_the_tests_is_no_pass(early: str) -> None:
    assert not run(f"{early}\nassert False").passed


@pytest.mark.service
def test_an_endless_loop_ends_at_its_limit() -> None:
    assert contained("while True: pass", Limits(seconds=1.0)).how == "time"
    assert contained("import time\ntime.sleep(1000)", Limits(seconds=0.5)).how == "time"


@pytest.mark.service
def test_a_fork_bomb_is_stopped_and_leaves_nothing() -> None:
    outcome = contained("import os\nwhile True: os.fork()")
    assert not outcome.passed
    assert outcome.how == "processes" or "temporarily unavailable" in outcome.said


@pytest.mark.service
def test_a_process_that_hides_from_its_group_dies_too() -> None:
    hidden = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
    contained(hidden)


@pytest.mark.service
@pytest.mark.parametrize(
    "program",
    [
        "f = open('x', 'wb')\nwhile True: f.write(bytes(10**6))",
        "for i in range(10**6): open(str(i), 'wb').write(bytes(10**6))",
        "print('x' * 10**8)",
        "x = bytearray(2 * 10**9)",
        "x = []\nwhile True: x.append(bytearray(10**7))",
    ],
)
def test_a_filler_of_disk_or_memory_is_stopped(program: str) -> None:
    assert not contained(program).passed


@pytest.mark.service
@pytest.mark.parametrize("place", ["/x", "/usr/x", "/dev/x", "/proc/x", "/program.py"])
def test_nothing_outside_its_folder_can_be_written(place: str) -> None:
    assert not contained(f"open({place!r}, 'w').write('x')").passed
    assert contained("open('x', 'w').write('x')").passed


@pytest.mark.service
def test_it_sees_no_file_of_the_user_and_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden")
    monkeypatch.setenv("HEDGEROW_SECRET", "hidden")
    for place in ("/etc/passwd", "/etc/hosts", str(secret), str(Path.home()), str(Path.cwd())):
        seen = contained(f"import os\nassert not os.path.exists({place!r})")
        assert seen.passed, f"{place}: {seen.said}"
    assert contained("import os\nassert 'HEDGEROW_SECRET' not in os.environ").passed
    assert contained("import os\nassert len([p for p in os.listdir('/proc') if p.isdigit()]) <= 3").passed


@pytest.mark.service
def test_it_has_no_network_and_no_privilege() -> None:
    alone = "import socket\nassert [name for _, name in socket.if_nameindex()] == ['lo']"
    assert contained(alone).passed
    assert "unreachable" in contained("import socket\nsocket.create_connection(('192.0.2.1', 80), 1)").said
    assert contained("import os\nassert os.getuid() != 0").passed
    more = "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.unshare(0x10000000) == -1"
    assert contained(more).passed, "further namespaces must be refused"


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox._tried.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    try:
        assert "apt-get install bubblewrap" in str(sandbox.refused())
        with pytest.raises(HedgerowError, match="coding is refused"):
            run("print(1)")
    finally:
        sandbox._tried.cache_clear()


def test_where_namespaces_cannot_be_made_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox._tried.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/bwrap")
    monkeypatch.setattr(sandbox, "_command", lambda *given: ["/bin/sh", "-c", "echo no namespaces; exit 1"])
    try:
        assert sandbox.refused() == "coding is refused: bubblewrap cannot make its namespaces here (no namespaces)"
    finally:
        sandbox._tried.cache_clear()
