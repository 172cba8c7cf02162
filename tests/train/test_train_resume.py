"""A run that is killed or stopped, and called again in a new process, ends with the same bits as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOY = Path(__file__).parent / "train_toy.py"


def command(root: Path, *more: str) -> list[str]:
    return [sys.executable, str(TOY), str(root), str(root / "out.safetensors"), *more]


def finish(root: Path, *more: str) -> tuple[bytes, str]:
    """Final weights and history of a run that goes to its end."""
    root.mkdir(exist_ok=True)
    subprocess.run(command(root, *more), check=True, capture_output=True, timeout=100)
    return (root / "out.safetensors").read_bytes(), (root / "history.json").read_text()


def stop_at(root: Path, call: int, number: int) -> subprocess.CompletedProcess[str]:
    """Start a run, wait until it stands inside the ``call``-th micro-batch, and send it a signal there."""
    root.mkdir(exist_ok=True)
    (root / "paused").unlink(missing_ok=True)
    child = subprocess.Popen(command(root, "--pause", str(call)), stderr=subprocess.PIPE, text=True)
    for _ in range(1000):
        if (root / "paused").exists():
            break
        assert child.poll() is None, child.stderr.read()  # type: ignore[union-attr]
        time.sleep(0.05)
    os.kill(child.pid, number)
    time.sleep(0.1)
    (root / "paused").unlink()
    _, err = child.communicate(timeout=60)
    return subprocess.CompletedProcess([], child.returncode, stderr=err)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    return finish(tmp_path_factory.mktemp("straight"))


def checkpoints(root: Path) -> list[str]:
    return [path.name for path in root.glob("runs/*/checkpoints/train/*")]


def test_killed_twice_in_mid_accumulation_and_resumed_equals_straight(
    tmp_path: Path, straight: tuple[bytes, str]
) -> None:
    first = stop_at(tmp_path, 23, signal.SIGKILL)  # 'fit' takes 3 micro-batches a step: the 23rd is the 2nd of a step
    assert first.returncode == -signal.SIGKILL
    assert checkpoints(tmp_path) == ["checkpoint-00000010"]  # 7 steps of 'fit' and 3 of 'attack'
    folder = next(tmp_path.glob("runs/*/checkpoints/train"))
    (folder / ".checkpoint-00000011.half").mkdir()  # what a save that was killed leaves behind
    second = stop_at(tmp_path, 14, signal.SIGKILL)
    assert second.returncode == -signal.SIGKILL
    assert not (tmp_path / "out.safetensors").exists()
    weights, history = finish(tmp_path, "--save-seconds", "1000")
    assert history == straight[1]
    assert weights == straight[0]
    assert [path.name for path in folder.iterdir()] == ["checkpoint-00000042"]


def test_ctrl_c_saves_says_one_line_and_the_same_command_goes_on_and_a_finished_one_rests(
    tmp_path: Path, straight: tuple[bytes, str]
) -> None:
    stopped = stop_at(tmp_path, 8, signal.SIGINT)
    assert stopped.returncode == 130
    assert stopped.stderr.strip().splitlines() == [
        "train: stopped after step 4 of 42, and saved; the same command goes on from there"
    ]
    assert checkpoints(tmp_path) == ["checkpoint-00000004"]
    weights, history = finish(tmp_path)
    assert (weights, history) == straight
    again = finish(tmp_path, "--pause", "1")  # would wait for ever if it took a step
    assert again == straight and checkpoints(tmp_path) == ["checkpoint-00000042"]
