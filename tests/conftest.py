"""What every test gets: a cache of its own, one thread, and in CI no way to be skipped quietly.

``HEDGEROW_CACHE`` is a fresh folder in each test. A test (or a module's fixture) that reads fetched data asks for
``data_cache``: then the folder's ``data`` is the user's real one, so that packages are downloaded once per machine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.files import cache_dir

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a shell: children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

_REAL = cache_dir()


def _link_data(cache: Path) -> None:
    (_REAL / "data").mkdir(parents=True, exist_ok=True)
    (cache / "data").symlink_to(_REAL / "data", target_is_directory=True)


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the whole session whose ``data`` is the user's real one; ``HEDGEROW_CACHE`` names it.

    Session and module fixtures that read fetched data ask for this. Its other parts (trunks, evidence) are temporary.
    """
    cache = tmp_path_factory.mktemp("session-cache")
    _link_data(cache)
    before = os.environ.get("HEDGEROW_CACHE")
    os.environ["HEDGEROW_CACHE"] = str(cache)
    yield cache
    if before is None:
        os.environ.pop("HEDGEROW_CACHE", None)
    else:
        os.environ["HEDGEROW_CACHE"] = before


@pytest.fixture(autouse=True)
def own_cache(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of one test: the session's when it asks for ``data_cache``, otherwise a fresh empty folder."""
    if "data_cache" in request.fixturenames:
        cache: Path = request.getfixturevalue("data_cache")
    else:
        cache = tmp_path / "hedgerow-cache"
    monkeypatch.setenv("HEDGEROW_CACHE", str(cache))
    return cache


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """With ``HEDGEROW_NO_SKIP`` (CI, ``make test-services``) a skipped test fails the run."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("HEDGEROW_NO_SKIP") or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} skipped: nothing may be skipped here", red=True)
