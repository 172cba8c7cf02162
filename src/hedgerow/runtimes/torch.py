"""torch as an engine: threads are always set, never left to its default of all cores."""

from __future__ import annotations

from hedgerow.runtimes.cpu import described


def set_threads(count: int) -> None:
    """Run operators on ``count`` threads from here on in this process (two threads on a busy pair of cores crawl)."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def describe(precision: str = "float32") -> dict[str, str]:
    """Library, version, kernel level, precision and CPU features."""
    import torch

    level = torch.backends.cpu.get_cpu_capability()
    return described("torch", torch.__version__, kernels=level, precision=precision)
