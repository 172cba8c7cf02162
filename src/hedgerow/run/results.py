"""Finished cells of experiments: one JSON each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.run.folder import plain
from hedgerow.run.machine import environment
from hedgerow.schema import Record, check


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
