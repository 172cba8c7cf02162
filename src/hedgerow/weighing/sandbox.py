"""Programs that a model wrote run here and nowhere else: in a bubblewrap sandbox, or not at all.

A program gets a Python interpreter, the system's libraries (read-only), a small folder in memory, and nothing more: no
network, no files of the user, no ``/etc``, no environment, no other process, no privileges, no further namespaces. It
is limited in time, memory, processes, file and folder size, and whatever it started dies with it. Started by root, it
is handed to an unprivileged user first, because the limit on processes does not bind root.

What this does not hide: the processor, its clock and its caches. A program that looks for the secret word of its own
check in memory could pass without solving anything; such an answer is wrong, not dangerous.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from hedgerow.errors import HedgerowError

if TYPE_CHECKING:
    import psutil

_NOBODY = 65534
_SAID = 2000  # characters of what a program said that are kept
_TURN = 0.02  # seconds between two looks at a running program


@dataclass(frozen=True)
class Limits:
    """What one program may use."""

    seconds: float = 10.0  # from start to end, and of processor time
    memory: int = 512 * 2**20  # bytes of address space of one process, and of all processes together in memory
    processes: int = 8  # the sandbox's own two among them
    file_bytes: int = 8 * 2**20
    folder_bytes: int = 32 * 2**20


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    passed: bool  # it ran to its last line
    how: str  # passed, failed, time, memory, processes
    said: str  # the end of what it printed


# First inside of the sandbox: the limits, then the program in a fresh interpreter that knows nothing of them.
_LIMITER = """
import os, resource, sys
cpu, memory, processes, size = map(int, sys.argv[1:5])
for what, value in (
    (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_AS, memory), (resource.RLIMIT_NPROC, processes),
    (resource.RLIMIT_FSIZE, size), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64),
):
    resource.setrlimit(what, (value, value))
os.execv(sys.executable, [sys.executable, "-I", "-S", "-B", "/program.py"])
"""


def refused() -> str | None:
    """Why no program can be run here, in one line; None when the sandbox works (it was tried)."""
    return _tried()[1]


def run(program: str, limits: Limits = Limits()) -> Outcome:
    """Run a Python program to its end or to a limit. Raises HedgerowError where there is no sandbox."""
    python, why = _tried()
    if why is not None:
        raise HedgerowError(why)
    return _run(python, program, limits)


@cache
def _tried() -> tuple[str, str | None]:
    """(interpreter, None) once a first program has run in the sandbox, else ('', the reason)."""
    if sys.platform != "linux":
        return "", "coding is refused: its sandbox, bubblewrap, exists on Linux only"
    if shutil.which("bwrap") is None:
        return "", "coding is refused: bubblewrap is not installed (apt-get install bubblewrap)"
    said = ""
    for python in _interpreters():
        outcome = _run(python, "print('here')", Limits(seconds=20.0))
        if outcome.passed:
            return python, None
        said = said or outcome.said
    lines = said.strip().splitlines() or ["it said nothing"]
    return "", f"coding is refused: bubblewrap cannot make its namespaces here ({lines[0][:160]})"


def _interpreters() -> list[str]:
    """This interpreter, then the system's: one in a home folder cannot be read by an unprivileged user."""
    own = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [str(p) for p in dict.fromkeys((own.resolve(), Path("/usr/bin/python3").resolve())) if p.is_file()]


def _run(python: str, program: str, limits: Limits) -> Outcome:
    word = secrets.token_hex(16)
    whole = f"{program}\n\nprint()\nprint({word!r}, flush=True)\n".encode()
    as_nobody = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryFile() as said, _file_of(whole) as source, _pipe() as (answers, tells):
        child = subprocess.Popen(
            _command(python, source, tells, limits),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            pass_fds=(source, tells),
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
            **as_nobody,  # type: ignore[call-overload]
        )
        first: psutil.Process | None = None
        try:
            os.close(tells)
            first = _first_inside(answers)
            how = _watched(child, limits)
        finally:
            _end(child, first)
        text = _last(said)
    passed = how == "ended" and child.returncode == 0 and text.rstrip().endswith(word)
    text = text.replace(word, "").strip()
    if how == "ended":
        how = "passed" if passed else "memory" if "MemoryError" in text else "failed"
    return Outcome(passed, how, text[-_SAID:])


def _command(python: str, source: int, tells: int, limits: Limits) -> list[str]:
    home = Path(python).parent.parent
    words = [
        "bwrap",
        "--info-fd",
        str(tells),
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--new-session",
        "--die-with-parent",
    ]
    words += ["--cap-drop", "ALL", "--clearenv", "--setenv", "LC_ALL", "C.UTF-8", "--hostname", "sandbox"]
    words += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        place = Path("/", name)
        if place.is_symlink():
            words += ["--symlink", f"usr/{name}", str(place)]
        elif place.is_dir():
            words += ["--ro-bind", str(place), str(place)]
    if not home.is_relative_to("/usr"):
        words += ["--ro-bind", str(home), "/python"]
        python = f"/python/bin/{Path(python).name}"
    words += ["--proc", "/proc", "--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom"]
    words += ["--size", str(limits.folder_bytes), "--tmpfs", "/tmp", "--ro-bind-data", str(source), "/program.py"]
    words += ["--remount-ro", "/", "--chdir", "/tmp", "--"]
    given = (int(limits.seconds) + 1, limits.memory, limits.processes, limits.file_bytes)
    return [*words, python, "-I", "-S", "-B", "-c", _LIMITER, *map(str, given)]


@contextlib.contextmanager
def _file_of(data: bytes) -> Iterator[int]:
    """A readable descriptor with ``data`` behind it; a file, since a pipe holds only so much."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """(read, write); the writing end is the caller's to close."""
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)


def _first_inside(answers: int) -> psutil.Process | None:
    """The sandbox's first process, which bubblewrap tells about: with it all others of the sandbox end."""
    import psutil

    found = re.search(rb'"child-pid"\s*:\s*(\d+)', os.read(answers, 4096))
    try:
        return psutil.Process(int(found[1])) if found else None
    except psutil.Error:
        return None


def _watched(child: subprocess.Popen[bytes], limits: Limits) -> str:
    """'ended', or the limit that was reached; processes and memory are those of everything below ``child``."""
    began = time.monotonic()
    while True:
        try:
            child.wait(timeout=_TURN)
            return "ended"
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() - began > limits.seconds:
            return "time"
        count, held = _below(child.pid)
        if count > limits.processes + 1:
            return "processes"
        if held > limits.memory:
            return "memory"


def _below(pid: int) -> tuple[int, int]:
    """(processes, bytes in memory) of all that a process has started."""
    import psutil

    count = held = 0
    try:
        found: Sequence[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return 0, 0
    for process in found:
        with contextlib.suppress(psutil.Error):
            held += process.memory_info().rss
            count += 1
    return count, held


def _end(child: subprocess.Popen[bytes], first: psutil.Process | None) -> None:
    """Kill all that is left and see it gone: what the program started may outlive bubblewrap by a moment."""
    import psutil

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if first is None:
        return
    with contextlib.suppress(psutil.Error):
        first.kill()
    until = time.monotonic() + 10
    with contextlib.suppress(psutil.NoSuchProcess):
        while first.status() != psutil.STATUS_ZOMBIE:  # ended, and waiting for somebody to ask how
            if time.monotonic() > until:
                raise HedgerowError(f"a program of the sandbox does not end (process {first.pid}); no other is started")
            time.sleep(0.002)


def _last(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - 4 * _SAID))
    return said.read().decode("utf-8", "replace")
