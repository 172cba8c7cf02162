"""numpy as an engine: which build it is, and how many threads its matrix products use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from hedgerow.runtimes.cpu import described


def describe() -> dict[str, str]:
    """Library, version, BLAS and CPU features."""
    config = np.show_config(mode="dicts")  # type: ignore[call-overload]
    blas = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    build = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    return described("numpy", np.__version__, blas=build)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Matrix products inside the block use ``count`` threads.

    Needs threadpoolctl; without it the number is whatever OPENBLAS_NUM_THREADS said when the process began.
    """
    if find_spec("threadpoolctl") is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=count, user_api="blas"):
        yield
