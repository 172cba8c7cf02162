"""A private PostgreSQL server from the system's packages: own folder, own socket, gone at the end.

The server refuses to run as root, so there its programs run as the user ``postgres`` that the package made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest


def _program(name: str) -> str:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    return path


def _as_server(command: list[str]) -> list[str]:
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command] if not os.getuid() else command
    )


@dataclass
class Server:
    """A running server; ``fresh`` makes an empty database in it."""

    socket: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket}"

    def fresh(self) -> str:
        import psycopg

        name = f"t{next(self._numbers)}"
        with psycopg.connect(dbname="postgres", user="postgres", host=str(self.socket), autocommit=True) as c:
            c.execute(f"CREATE DATABASE {name}")
        return self.url(name)


@contextmanager
def running() -> Iterator[Server]:
    initdb, postgres = _program("initdb"), _program("postgres")
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-pg-"))  # short: a socket's path has at most 107 characters
    try:
        if not os.getuid():
            shutil.chown(folder, "postgres", "postgres")
        data = folder / "data"
        made = [initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(_as_server(made), check=True, capture_output=True, cwd="/")
        options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with open(folder / "log", "wb") as log:
            server = subprocess.Popen(
                _as_server([postgres, "-D", str(data), *options]), stdout=log, stderr=log, cwd="/"
            )
        try:
            _wait(folder, server)
            yield Server(folder)
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    for _ in range(300):
        if server.poll() is not None:
            pytest.fail(f"the PostgreSQL server ended: {(folder / 'log').read_text()[-500:]}")
        try:
            psycopg.connect(dbname="postgres", user="postgres", host=str(folder)).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail("the PostgreSQL server did not answer within 30 s")
