"""What surrounds one run: named seeds, threads, the environment, its folder, its results, its progress bar."""

from __future__ import annotations

from hedgerow.run.bars import Tick, progress
from hedgerow.run.folder import Run, forget_if_empty, now, open_run, plain
from hedgerow.run.machine import LIBRARIES, environment, set_threads
from hedgerow.run.results import Result, cell, load_results, result_path, save_result
from hedgerow.run.seeding import Seeds, seeds
from hedgerow.run.signals import interrupts

__all__ = [
    "LIBRARIES",
    "Result",
    "Run",
    "Seeds",
    "Tick",
    "cell",
    "environment",
    "forget_if_empty",
    "interrupts",
    "load_results",
    "now",
    "open_run",
    "plain",
    "progress",
    "result_path",
    "save_result",
    "seeds",
    "set_threads",
]
