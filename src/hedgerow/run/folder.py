"""The folder of one run, with its config and its events."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.run.machine import environment
from hedgerow.run.seeding import Seeds
from hedgerow.schema import Record


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


def forget_if_empty(run: Run) -> None:
    """Remove the folder of a run that failed before it left anything but its own config and events."""
    kept = {"config.json", "events.jsonl"}
    events = files.read_jsonl(run.folder / "events.jsonl")
    begun = sum(row.get("event") in ("started", "resumed") for row in events)
    if begun == 1 and {p.name for p in run.folder.iterdir()} <= kept:
        shutil.rmtree(run.folder)


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
