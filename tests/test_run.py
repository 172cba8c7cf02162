"""Seeds, environment, run folders, results, progress."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.run import (
    cell,
    environment,
    interrupts,
    load_results,
    open_run,
    plain,
    progress,
    result_path,
    save_result,
    seeds,
    set_threads,
)


def test_sub_seeds_are_these_numbers_in_every_process() -> None:
    """Fixed: published results say 'seed 0', and must mean the same next year."""
    s = seeds(0)
    assert [s.data, s.init, s.order, s.noise] == [171566453, 353686001, 1218160299, 1193932987]
    code = "from hedgerow.run import seeds; s = seeds(0); print(s.data, s.named('member/3'))"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": h}, capture_output=True, text=True
        ).stdout
        for h in ("1", "2")
    }
    assert told == {f"{s.data} {s.named('member/3')}\n"}


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_sub_seeds_differ_by_name_and_by_seed(a: int, b: int) -> None:
    names = ["data", "init", "order", "noise", "member/0"]
    numbers = [seeds(a).named(name) for name in names]
    assert len(set(numbers)) == len(names) and all(0 <= n < 2**31 for n in numbers)
    assert a == b or numbers != [seeds(b).named(name) for name in names]
    assert seeds(a).generator("data").random() == np.random.default_rng(seeds(a).data).random()


def test_environment_has_no_path_and_no_host() -> None:
    import socket

    text = json.dumps(environment())
    assert socket.gethostname() not in text and str(Path.cwd()) not in text and not re.search(r'"/', text)
    where = environment()
    assert where["libraries"]["numpy"] == np.__version__ and where["cores"] >= 1 and where["python"].startswith("3.")


def test_commit_is_of_the_package_not_of_the_folder_one_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment()["commit"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path)
    assert environment()["commit"] == here
    monkeypatch.setenv("PATH", "")
    assert environment()["commit"] is None  # no git: not an error


def test_set_threads_reaches_loaded_and_later_libraries() -> None:
    code = (
        "import numpy, torch, os; from hedgerow.run import set_threads, environment; set_threads(1);"
        "print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'], environment()['threads'])"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "2"}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "1 1 1\n"
    with pytest.raises(HedgerowError, match="at least 1"):
        set_threads(0)


def test_the_same_config_finds_the_same_folder(tmp_path: Path) -> None:
    first = open_run(tmp_path, "toy", {"b": 1, "a": (1, 2)}, seed=4)
    first.event("note", loss=np.float32(0.5), rows=np.arange(2))
    again = open_run(tmp_path, "toy", {"a": [1, 2], "b": 1}, seed=4)
    assert again.folder == first.folder and re.fullmatch(r"toy-[0-9a-f]{12}", first.folder.name)
    assert open_run(tmp_path, "toy", {"b": 1, "a": (1, 2)}, seed=5).folder != first.folder
    rows = files.read_jsonl(first.folder / "events.jsonl")
    assert [row["event"] for row in rows] == ["started", "note", "resumed"]
    assert rows[1]["loss"] == 0.5 and rows[1]["rows"] == [0, 1]
    assert files.read_json(first.folder / "config.json") == {
        "system": "toy",
        "seed": 4,
        "config": {"a": [1, 2], "b": 1},
    }


def test_plain_gives_what_json_can_hold() -> None:
    value = {"a": np.float64(1.5), 2: {"z", "y"}, "b": (np.int64(1), [np.array([[1.0]])], None, True, "x")}
    assert plain(value) == {"a": 1.5, "2": ["y", "z"], "b": [1, [[[1.0]]], None, True, "x"]}
    assert json.loads(json.dumps(plain(value))) == plain(value)


# ---- results -------------------------------------------------------------------------------------------------------

CONFIG = {"model": "linear", "split": "grouped"}


def test_a_result_is_found_again(tmp_path: Path) -> None:
    items = [{"id": "a", "hit": np.bool_(True)}, {"id": "b", "hit": False}]
    path = save_result(tmp_path, "toy", "peers", CONFIG, 3, {"accuracy": np.float64(0.5)}, items, time.time() - 2)
    assert path == tmp_path / "toy" / "peers" / f"{files.digest(CONFIG)[:12]}-s3.json"
    (found,) = load_results(tmp_path)
    assert found.metrics == {"accuracy": 0.5} and found.items == [{"id": "a", "hit": True}, {"id": "b", "hit": False}]
    assert (found.system, found.experiment, found.seed, found.config) == ("toy", "peers", 3, CONFIG)
    assert 2 <= found.seconds < 10 and found.environment["python"] and found.commit == found.environment["commit"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    lines = path.read_text().splitlines()
    assert '{"hit":true,"id":"a"},' in lines  # one item a line


def test_columns_of_items_stand_one_a_line(tmp_path: Path) -> None:
    path = save_result(
        tmp_path, "toy", "peers", CONFIG, 0, {}, {"id": ["a", "b"], "hit": np.array([1, 0])}, time.time()
    )
    assert '"hit": [1,0]' in path.read_text().splitlines()
    assert load_results(tmp_path)[0].items == {"id": ["a", "b"], "hit": [1, 0]}


def test_results_are_chosen_by_system_and_experiment(tmp_path: Path) -> None:
    for system, experiment in [("a", "x"), ("a", "y"), ("b", "x")]:
        save_result(tmp_path, system, experiment, CONFIG, 0, {}, None, time.time())
    assert [(r.system, r.experiment) for r in load_results(tmp_path)] == [("a", "x"), ("a", "y"), ("b", "x")]
    assert len(load_results(tmp_path, "a")) == 2 and len(load_results(tmp_path, "a", "y")) == 1
    assert load_results(tmp_path / "nothing") == []


def test_a_result_that_was_changed_or_holds_no_number_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="no number that JSON can hold"):
        save_result(tmp_path, "toy", "peers", CONFIG, 0, {"accuracy": float("nan")}, None, time.time())
    assert not result_path(tmp_path, "toy", "peers", CONFIG, 0).exists()
    path = save_result(tmp_path, "toy", "peers", CONFIG, 0, {}, None, time.time())
    path.write_text(path.read_text().replace("grouped", "rows"))
    with pytest.raises(HedgerowError, match="does not have the digest that it states"):
        load_results(tmp_path)
    path.write_text("{}")
    with pytest.raises(HedgerowError, match="is missing"):
        load_results(tmp_path)


def test_a_finished_cell_is_not_computed_again_and_a_stopped_one_leaves_nothing(tmp_path: Path) -> None:
    def stopped() -> tuple[dict[str, float], None]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cell(tmp_path, "toy", "peers", CONFIG, 1, stopped)
    assert load_results(tmp_path) == []
    first = cell(tmp_path, "toy", "peers", CONFIG, 1, lambda: ({"accuracy": 0.25}, [1]))
    assert cell(tmp_path, "toy", "peers", CONFIG, 1, lambda: pytest.fail("computed again")) == first
    assert first.metrics == {"accuracy": 0.25}


# ---- Ctrl-C and progress -------------------------------------------------------------------------------------------


def test_the_first_ctrl_c_is_noted_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupts() as pressed:
        assert not pressed()
        os.kill(os.getpid(), signal.SIGINT)
        assert pressed()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt), interrupts(noted=False):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


BARS = """
import time
from hedgerow.run import progress
with progress("cells", 2) as outer:
    for _ in range(2):
        with progress("fit", 4) as tick:
            for i in range(4):
                time.sleep(0.25)
                tick(1, loss=1 / (i + 1), phase="a")
        outer()
print("done")
"""


def in_terminal(code: str, **env: str) -> str:
    """What a program shows on a terminal of 150 columns, stdout and stderr together."""
    master, slave = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "COLUMNS": "150", "LINES": "24", "TERM": "xterm", **env},
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert child.wait(timeout=60) == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_bars_show_count_rate_and_values_and_may_be_nested() -> None:
    shown = in_terminal(BARS)
    for what in ("cells", "fit", "3/4", "2/2", "/s", "left", "loss 0.", "phase a", "done"):
        assert what in shown, what


def test_titles_and_values_of_bars_are_no_markup() -> None:
    code = BARS.replace("0.25", "0.06").replace('"fit", 4', '"vectors of [/models]", 4').replace('"a"', '"[red]a"')
    shown = in_terminal(code)
    assert "vectors of [/models]" in shown and "phase [red]a" in shown and "done" in shown


def test_bars_are_silent_when_nobody_watches() -> None:
    fast = BARS.replace("0.25", "0")
    piped = subprocess.run([sys.executable, "-c", fast], capture_output=True, text=True, check=True)
    assert (piped.stdout, piped.stderr) == ("done\n", "")
    assert in_terminal(fast, HEDGEROW_QUIET="1").split() == ["done"]
    quiet = fast.replace('"fit", 4', '"fit", 4, quiet=True').replace('"cells", 2', '"cells", 2, quiet=True')
    assert in_terminal(quiet).split() == ["done"]


def test_a_tick_without_a_terminal_does_nothing() -> None:
    with progress("x", 3) as tick:
        tick()
        tick(2, loss=1.0)
