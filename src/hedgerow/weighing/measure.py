"""``weigh``: every form of a Pack in a fresh process of its own; every finished row goes into the evidence at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_never

from hedgerow import kinds, runtimes
from hedgerow.cost import Cost
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import Model
from hedgerow.pack import Pack, open_pack
from hedgerow.schema import check
from hedgerow.task import Task
from hedgerow.weighing import device
from hedgerow.weighing.process import events
from hedgerow.weighing.timing import PLANS, Grid

# Seconds for each Pack, which several weighed together share: three on the quick grid end within 45 s.
PACK_SECONDS = {"quick": 14.0, "full": 600.0}
_LOADS = {"quick": 1, "full": 5}  # fresh processes whose loading is timed
_HEADROOM = 1.1  # a form is refused when its bytes times this are more than what is available


@dataclass(frozen=True)
class Step:
    """What a progress bar needs: Pack, form, how many forms of how many are done, and a line to show."""

    pack: str
    variant: str
    done: int
    total: int
    text: str
    problem: bool = False  # a form or cell that was left out, with the reason in ``text``


Progress = Callable[[Step], None]


def weigh(
    what: Model | Pack | str | Path | Sequence[Model | Pack | str | Path],
    variants: Sequence[str] | None = None,
    grid: Grid = "quick",
    threads: int = 1,
    task: Task | None = None,
    split: str = "test",
    progress: Progress | None = None,
) -> list[Cost]:
    """Measure what the forms of one or several Packs cost here; the rows are appended to their evidence and returned.

    ``variants``: the forms to weigh; None weighs every form that this installation can run. ``task``: also score each
    form on that Task's ``split`` (without one, nothing is scored: weigh never guesses a Task). Interrupted, it keeps
    the rows that were finished.

    Raises HedgerowError for an unknown grid or form, for a form that would not fit into the memory that is available
    (with both numbers, before loading), and, after the other forms are done, for a form that failed.
    """
    if grid not in PLANS:
        raise HedgerowError(f"no grid is called '{grid}'{did_you_mean(grid, PLANS)}")
    if threads < 1:
        raise HedgerowError(f"threads must be 1 or more, not {threads}")
    items = list(what) if isinstance(what, Sequence) and not isinstance(what, str) else [what]
    packs = [_pack(item) for item in items]
    jobs = [(pack, form) for pack in packs for form in _forms(pack, variants, progress)]
    rows: list[Cost] = []
    answers: dict[str, dict[str, Any]] = {pack.digest: {} for pack in packs}
    failures: list[str] = []
    began = time.monotonic()
    for number, (pack, form) in enumerate(jobs):

        def tell(text: str, problem: bool = False, at: tuple[Pack, str, int] = (pack, form, number)) -> None:
            if progress is not None:
                progress(Step(at[0].info.name, at[1], at[2], len(jobs), text, problem))

        # what quick forms leave is there for slow ones
        seconds = (PACK_SECONDS[grid] * len(packs) - (time.monotonic() - began)) / (len(jobs) - number)
        try:
            tell("starts in a fresh process")
            for cost in _weigh_form(pack, form, grid, threads, seconds, tell):
                rows.append(cost)
            if task is not None:
                from hedgerow.weighing.scores import score

                tell(f"answers the {split} split of {task.name}")
                score(pack, task, split=split, variant=form, threads=threads, known=answers[pack.digest])
        except HedgerowError as e:
            tell(str(e), problem=True)
            failures.append(str(e))
    if failures:
        raise HedgerowError(failures[0] + (f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""))
    return rows


def _pack(what: Model | Pack | str | Path) -> Pack:
    match what:
        case Model():
            return what.pack
        case Pack():
            return what
        case str() | Path():
            return open_pack(what)  # verified: the child may then trust the files, and finds them in the page cache
        case _:
            assert_never(what)


def _forms(pack: Pack, wanted: Sequence[str] | None, progress: Progress | None) -> list[str]:
    """Forms to weigh: those asked for (each must exist and run here), or all that run here."""
    have = kinds.kind(pack.info.kind).variants(pack)
    if wanted is not None:
        for form in wanted:
            if form not in have:
                raise HedgerowError(f"{pack.path} has no form '{form}'{did_you_mean(form, have)}")
            missing = runtimes.runnable(form)
            if missing:
                raise HedgerowError(f"{pack.path}: {missing}")
        return list(wanted)
    here = [form for form in have if runtimes.runnable(form) is None]
    if not here:
        raise HedgerowError(f"{pack.path}: none of its forms runs here ({runtimes.runnable(have[0])})")
    for form in have:
        if form not in here and progress is not None:
            reason = str(runtimes.runnable(form))
            progress(Step(pack.info.name, form, 0, len(here), f"left out: {reason}", problem=True))
    return here


def refuse_if_too_large(pack: Pack, form: str, available: int | None = None) -> None:
    """HedgerowError when the form's bytes do not fit into memory: better one line now than a killed process later."""
    needed = kinds.kind(pack.info.kind).disk_bytes(pack, form)
    known = [c["peak_bytes"] for c in pack.costs if c["variant"] == form and c["phase"] == "load" and c["peak_bytes"]]
    needed = max(round(needed * _HEADROOM), *known[-1:], 0)
    free = device.available_bytes() if available is None else available
    if needed > free:
        raise HedgerowError(
            f"{pack.path} as '{form}' needs about {needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB are "
            "available; it was not loaded"
        )


def _weigh_form(
    pack: Pack, form: str, grid: Grid, threads: int, seconds: float, tell: Callable[..., None]
) -> Iterator[Cost]:
    """Rows of one form; each is in the evidence before it is yielded."""
    refuse_if_too_large(pack, form)
    here = device.measured_device()
    fixed = {"pack": pack.digest, "variant": form, "device": here, "threads": threads}
    disk = kinds.kind(pack.info.kind).disk_bytes(pack, form)

    def keep(row: dict[str, Any]) -> Cost:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        cost = check(Cost, {**row, **fixed, "disk_bytes": disk, "when": when}, "a measured row")
        pack.add_evidence("costs.jsonl", cost.model_dump(mode="json"))
        return cost

    order = {"pack": str(pack.path), "variant": form, "threads": threads, "grid": grid, "seconds": seconds}
    loads: list[dict[str, Any]] = []
    for _ in range(_LOADS[grid] - 1):
        loads.extend(e for e in events({**order, "load_only": True}) if e.pop("event") == "row")
    for event in events(order):
        what = event.pop("event")
        if what == "row":
            if event["phase"] == "load":
                event = _together([*loads, event])
            cost = keep(event)
            at = "" if cost.phase == "load" else f" {_size(cost.size)}, batch {cost.batch}"
            tell(f"{cost.phase}{at}: {cost.p50_ms:.4g} ms")
            yield cost
        elif what == "skipped":
            tell(f"{_size(event['size'])}, batch {event['batch']}: {event['why']}", problem=True)


def _together(loads: list[dict[str, Any]]) -> dict[str, Any]:
    """One load row of several fresh processes."""
    from hedgerow.weighing.timing import Samples

    samples = Samples(tuple(load["p50_ms"] for load in loads))
    times = {"p50_ms": samples.quantile(0.5), "p95_ms": samples.quantile(0.95), "mean_ms": samples.mean}
    peaks = [load["peak_bytes"] for load in loads if load["peak_bytes"] is not None]
    noisy = samples.unsteady or any(load["noisy"] for load in loads)
    peak = max(peaks, default=None)
    return {
        **loads[-1],
        **times,
        "min_ms": min(samples.ms),
        "repeats": len(loads),
        "peak_bytes": peak,
        "noisy": noisy,
    }


def _size(size: dict[str, int]) -> str:
    return " ".join(f"{value} {name}" for name, value in size.items())
