"""``weigh``: every form of a Pack in a fresh process of its own; every finished row goes into the evidence at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow import runtimes
from hedgerow.cost import Cost
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import Model
from hedgerow.pack import Pack
from hedgerow.schema import check
from hedgerow.task import Task
from hedgerow.weighing import device, energy
from hedgerow.weighing.process import events
from hedgerow.weighing.rounds import OF_ROUND, Gathered
from hedgerow.weighing.subjects import Subject, subject_of
from hedgerow.weighing.timing import PLANS, Grid, row_key

# Seconds for each Pack, which several weighed together share: three on the quick grid end within 45 s.
PACK_SECONDS = {"quick": 14.0, "full": 600.0}
# Fresh processes for each form: in the full grid the forms and models take turns, so that a drift of the machine (heat,
# other work) falls on all of them alike.
ROUNDS = {"quick": 1, "full": 5}
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


Weighable = Model | Pack | str | Path


def weigh(
    what: Weighable | Sequence[Weighable],
    variants: Sequence[str] | None = None,
    grid: Grid = "quick",
    threads: int = 1,
    task: Task | None = None,
    split: str = "test",
    progress: Progress | None = None,
    *,
    settings: Mapping[str, str | int | bool] | None = None,
    resume: bool = False,
    plug: Path | None = None,
) -> list[Cost]:
    """Measure what the forms of one or several Packs cost here; the rows are appended to their evidence and returned.

    ``what`` may also be a GGUF file or a folder in the layout of Hugging Face; their evidence is kept in the user's
    cache under the file's digest. ``variants``: the forms to weigh; None weighs every form that this installation can
    run. ``task``: also score each form on that Task's ``split`` (without one, nothing is scored: weigh never guesses a
    Task). ``settings`` of loading where the kind has such (cache_k, cache_v, ubatch, context, repack, flash).
    ``resume``: rows that the evidence holds for this device, build and file are not measured again. ``plug``: a smart
    plug's log, whose energy is joined by time. Interrupted, it keeps what was measured.

    Raises HedgerowError for an unknown grid or form, for a form that would not fit into the memory that is available
    (with both numbers, before loading), and, after the other forms are done, for a form that failed.
    """
    if grid not in PLANS:
        raise HedgerowError(f"no grid is called '{grid}'{did_you_mean(grid, PLANS)}")
    if threads < 1:
        raise HedgerowError(f"threads must be 1 or more, not {threads}")
    if plug is not None:
        energy.read_plug(plug)  # says now what is wrong with it, not after minutes
    items = list(what) if isinstance(what, Sequence) and not isinstance(what, str) else [what]
    subjects = [subject_of(item) for item in items]
    jobs = [
        _Job(each, form, grid, threads, dict(settings or {}), resume, plug, number, progress)
        for number, (each, form) in enumerate((s, form) for s in subjects for form in _forms(s, variants, progress))
    ]
    rows: list[Cost] = []
    failed: dict[_Job, str] = {}
    began = time.monotonic()
    turns = [job for _ in range(ROUNDS[grid]) for job in jobs]
    try:
        for turn, job in enumerate(turns):
            if job in failed:
                continue
            # what quick forms leave is there for slow ones
            seconds = (PACK_SECONDS[grid] * len(subjects) - (time.monotonic() - began)) / (len(turns) - turn)
            try:
                job.tell("starts in a fresh process", of=len(jobs))
                for cost in job.measure(seconds):
                    rows.append(cost)
            except HedgerowError as e:
                job.tell(str(e), problem=True)
                failed[job] = str(e)
    finally:
        for job in jobs:  # whatever stopped us, what was measured is kept
            rows += job.close()
    if task is not None:
        _score(jobs, failed, task, split)
    failures = list(failed.values())
    if failures:
        raise HedgerowError(failures[0] + (f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""))
    return rows


def _score(jobs: Sequence[_Job], failed: dict[_Job, str], task: Task, split: str) -> None:
    from hedgerow.weighing.scores import score

    answers: dict[str, dict[str, Any]] = {}
    for job in jobs:
        pack = job.subject.pack
        if job in failed:
            continue
        if pack is None:
            job.tell(f"not scored on {task.name}: a bare file keeps no scores; make it a Pack first", problem=True)
            continue
        job.tell(f"answers the {split} split of {task.name}")
        try:
            known = answers.setdefault(pack.digest, {})
            score(pack, task, split=split, variant=job.form, threads=job.threads, known=known)
        except HedgerowError as e:
            job.tell(str(e), problem=True)
            failed[job] = str(e)


def _forms(what: Subject, wanted: Sequence[str] | None, progress: Progress | None) -> list[str]:
    """Forms to weigh: those asked for (each must exist and run here), or all that run here."""
    have = what.forms()
    if wanted is not None:
        for form in wanted:
            if form not in have:
                raise HedgerowError(f"{what.path} has no form '{form}'{did_you_mean(form, have)}")
            missing = runtimes.runnable(form)
            if missing:
                raise HedgerowError(f"{what.path}: {missing}")
        return list(wanted)
    here = [form for form in have if runtimes.runnable(form) is None]
    if not here:
        raise HedgerowError(f"{what.path}: none of its forms runs here ({runtimes.runnable(have[0])})")
    for form in have:
        if form not in here and progress is not None:
            reason = str(runtimes.runnable(form))
            progress(Step(what.name, form, 0, len(here), f"left out: {reason}", problem=True))
    return here


def refuse_if_too_large(what: Subject | Pack, form: str, available: int | None = None) -> None:
    """HedgerowError when the form's bytes do not fit into memory: better one line now than a killed process later."""
    one = what if isinstance(what, Subject) else subject_of(what)
    known = [c["peak_bytes"] for c in one.costs if c["variant"] == form and c["phase"] == "load" and c["peak_bytes"]]
    needed = max(round(one.disk_bytes(form) * _HEADROOM), *known[-1:], 0)
    free = device.available_bytes() if available is None else available
    if needed > free:
        raise HedgerowError(
            f"{one.path} as '{form}' needs about {needed / 1e6:,.0f} MB of memory and {free / 1e6:,.0f} MB are "
            "available; it was not loaded"
        )


class _Job:
    """One form of one model on one number of threads: measured in one or several fresh processes."""

    def __init__(
        self,
        subject: Subject,
        form: str,
        grid: Grid,
        threads: int,
        settings: dict[str, str | int | bool],
        resume: bool,
        plug: Path | None,
        number: int,
        progress: Progress | None,
    ) -> None:
        self.subject, self.form, self.threads = subject, form, threads
        self._grid, self._settings, self._resume, self._plug = grid, settings, resume, plug
        self._number, self._progress, self._of = number, progress, 1
        # a plug's log is behind what is measured: its energy can only be joined at the end
        self._gathered = Gathered() if ROUNDS[grid] > 1 or plug is not None else None

    def tell(self, text: str, problem: bool = False, of: int | None = None) -> None:
        """A line for the progress bar."""
        self._of = of or self._of
        if self._progress is not None:
            self._progress(Step(self.subject.name, self.form, self._number, self._of, text, problem))

    def measure(self, seconds: float) -> Iterator[Cost]:
        """One fresh process. Rows are in the evidence before they are yielded; in several rounds, at the end."""
        refuse_if_too_large(self.subject, self.form)
        order: dict[str, Any] = {"pack": str(self.subject.path), "variant": self.form, "threads": self.threads}
        order |= {"grid": self._grid, "seconds": seconds}
        if self._settings:
            order["settings"] = self._settings
        if self._resume:
            order["done"] = self._done()
        for event in events(order):
            what = event.pop("event")
            if what == "skipped":
                self.tell(f"{_size(event['size'])}, batch {event['batch']}: {event['why']}", problem=True)
            elif self._gathered is not None:
                self._gathered.add(event)
                self.tell(_said(event))
            else:
                cost = self._keep(event)
                self.tell(_said(event))
                yield cost

    def close(self) -> list[Cost]:
        """Rows of all rounds together, kept."""
        if self._gathered is None:
            return []
        found, self._gathered = self._gathered.rows(self._with_energy()), None
        return [self._keep(event) for event in found]

    def _with_energy(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Adds the plug's joules to an event of a phase; a log that cannot be read costs no row."""
        try:
            log = energy.read_plug(self._plug) if self._plug is not None else None
        except HedgerowError as e:
            self.tell(f"no energy: {e}", problem=True)
            log = None

        def joined(event: dict[str, Any]) -> dict[str, Any]:
            if log is None or "began" not in event or event.get("energy_j") is not None:
                return event
            span = event["began"], event["ended"]
            found = energy.of_call(log, *span, event["calls"], event["mean_ms"])
            if found is None:
                self.tell(f"no energy: {self._plug} does not reach over {_said(event)}", problem=True)
            return {**event, "energy_j": found}

        return joined

    def _keep(self, event: dict[str, Any]) -> Cost:
        event = {name: value for name, value in event.items() if name not in OF_ROUND}
        fixed = {
            "pack": self.subject.digest,
            "variant": self.form,
            "device": device.measured_device(),
            "threads": self.threads,
            "disk_bytes": self.subject.disk_bytes(self.form),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self.subject.pack is None:
            fixed["file_sha256"] = self.subject.digest
        cost = check(Cost, {**event, **fixed}, "a measured row")
        self.subject.keep(cost.model_dump(mode="json"))
        return cost

    def _done(self) -> list[str]:
        here, old = device.measured_device().fingerprint, []
        for line in self.subject.costs:
            cost = check(Cost, line, f"{self.subject.path}/costs.jsonl")
            if (
                cost.source == "measured"
                and cost.variant == self.form
                and cost.threads == self.threads
                and cost.device.fingerprint == here
            ):
                old.append(row_key(cost.phase, cost.size, cost.batch, cost.options, cost.runtime))
        return old


def _said(event: Mapping[str, Any]) -> str:
    at = "" if event["phase"] == "load" else f" {_size(event['size'])}, batch {event.get('batch', 1)}"
    return f"{event['phase']}{at}: {event['p50_ms']:.4g} ms"


def _size(size: Mapping[str, int]) -> str:
    return " ".join(f"{value} {name}" for name, value in size.items())
