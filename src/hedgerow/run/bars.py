"""Progress bars on stderr."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Tick(Protocol):
    """Move a progress bar by ``steps``; named values appear beside it."""

    def __call__(self, steps: float = 1, **values: Any) -> None:
        """Move on."""
        ...


_bars: list[Progress] = []  # the one live display of this process: bars that start inside another join it


@contextmanager
def progress(title: str, total: float | None = None, quiet: bool = False) -> Iterator[Tick]:
    """A bar on stderr with rate, time left and named values: ``with progress("fit", 100) as tick: tick(1, loss=0.3)``.

    Silent where stderr is not a terminal, with ``quiet``, and with ``HEDGEROW_QUIET`` in the environment (which
    reaches child processes too). ``total=None`` shows activity without an end. Bars may be nested.
    """
    seen = bool(_bars) or sys.stderr.isatty()  # a running display stands in for stderr and says that it is no terminal
    if quiet or os.environ.get("HEDGEROW_QUIET") or not seen:
        yield lambda steps=1, **values: None
        return
    bar = _bars[0] if _bars else _new_bar()
    opened = not _bars
    if opened:
        _bars.append(bar)
        bar.start()
    task = bar.add_task(title, total=total, values="", rate="")
    try:
        yield _ticker(bar, task, total or float("inf"))
    finally:
        if opened:
            _bars.clear()
            bar.stop()
        else:
            bar.remove_task(task)


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),  # titles and values may hold a person's own names
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", style="dim", markup=False),
        console=Console(stderr=True),
        refresh_per_second=5,
    )


def _ticker(bar: Progress, task: TaskID, total: float) -> Tick:
    shown = moved = 0.0

    def tick(steps: float = 1, **values: Any) -> None:
        nonlocal shown, moved
        bar.advance(task, steps)
        moved += steps
        if moved < total and time.monotonic() - shown < 0.2:  # texts are made five times a second, and at the end
            return
        shown = time.monotonic()
        speed = bar.tasks[bar.task_ids.index(task)].speed
        rate = "" if not speed else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
        text = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        bar.update(task, rate=rate, values=text)

    return tick
