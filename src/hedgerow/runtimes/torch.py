"""torch as an engine: threads are always set, never left to its default of all cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hedgerow.errors import HedgerowError
from hedgerow.runtimes.cpu import described


def set_threads(count: int) -> None:
    """Run operators on ``count`` threads from here on in this process (two threads on a busy pair of cores crawl)."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


@contextmanager
def running(where: str, threads: int) -> Iterator[Any]:
    """torch, without gradients and on ``threads`` threads.

    Whatever a net raises inside the block comes out as one line that names the Pack: its parts were checked one by
    one, but only running it tells that two of them do not fit.
    """
    import torch

    set_threads(threads)
    try:
        with torch.inference_mode():
            yield torch
    except HedgerowError:
        raise
    except Exception as e:
        first = (str(e).strip().splitlines() or [type(e).__name__])[0][:200]
        raise HedgerowError(f"{where}: the net cannot be run: {first}") from e


def describe(precision: str = "float32") -> dict[str, str]:
    """Library, version, kernel level, precision and CPU features."""
    import torch

    level = torch.backends.cpu.get_cpu_capability()
    return described("torch", torch.__version__, kernels=level, precision=precision)
