"""Stores to test against: a SQLite file always, a private PostgreSQL server for tests marked ``service``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    with server.running() as found:
        yield found


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each sort."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'records.sqlite'}"
        return
    found: server.Server = request.getfixturevalue("postgres")
    yield found.fresh()
