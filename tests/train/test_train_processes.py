"""Two processes under torchrun equal one, also where batches and token counts are uneven."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAIR = Path(__file__).parent / "train_pair.py"
pytestmark = pytest.mark.service


def launch(root: Path, processes: int, *more: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), str(PAIR), str(root), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def outcomes(root: Path, processes: int, *more: str) -> list[dict[str, Any]]:
    root.mkdir(exist_ok=True)
    done = launch(root, processes, *more)
    assert done.returncode == 0, done.stderr
    return [json.loads((root / f"{rank}.json").read_text()) for rank in range(processes)]


def test_two_processes_equal_one_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    (one,) = outcomes(tmp_path / "one", 1)
    first, second = outcomes(tmp_path / "two", 2)
    assert (one["processes"], first["processes"], second["processes"]) == (1, 2, 2)
    assert first["weights"] == second["weights"] and first["history"] == second["history"]
    for name, values in one["weights"].items():
        np.testing.assert_allclose(first["weights"][name], values, rtol=1e-10, atol=1e-12, err_msg=name)
    assert one["weights"]["head/unused"] == [1.0, 1.0]  # no gradient anywhere: not even weight decay moves it
    assert first["best"] == one["best"]
    for ours, theirs in zip(first["history"], one["history"], strict=True):
        assert ours.pop("phase", "") == theirs.pop("phase", "")
        assert ours == pytest.approx(theirs, rel=1e-9)  # what is logged is the loss of the whole batch

    (tmp_path / "crashed").mkdir()
    assert launch(tmp_path / "crashed", 2, "--crash", "6").returncode != 0
    saved = [path.name for path in (tmp_path / "crashed").glob("runs/*/checkpoints/train/*")]
    assert saved and saved != ["checkpoint-00000009"]
    resumed, _ = outcomes(tmp_path / "crashed", 2)
    assert resumed == second

    elsewhere = launch(tmp_path / "crashed", 1)
    assert "processes was 2, now it is 1" in elsewhere.stderr and elsewhere.returncode == 1


def test_an_in_batch_objective_is_refused_in_two_processes(tmp_path: Path) -> None:
    refused = launch(tmp_path, 2, "--in-batch")
    assert refused.returncode != 0
    # Both processes say it into one pipe, where a line may follow another's without its end.
    assert (
        "phase 'fit': its objective depends on which examples share a batch, so 2 processes would train something else "
        "than one; run it in one process"
    ) in refused.stderr
    assert not list(tmp_path.glob("runs/*/checkpoints"))
