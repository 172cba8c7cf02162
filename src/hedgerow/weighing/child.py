"""The measuring process: ``python -m hedgerow.weighing.child``, an ``Order`` on stdin, JSON lines on stdout.

One process per (Pack, form, threads), so that import, load and peak memory are those of a fresh process. Each finished
cell is one line at once, so whoever stops it half-way keeps what was measured. Whatever a library prints goes to
stderr: the real stdout is put aside before anything is imported.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from hedgerow.cost import Memory
from hedgerow.errors import HedgerowError
from hedgerow.kinds.base import Engine, Held, Kind, Phase
from hedgerow.schema import check
from hedgerow.weighing import device
from hedgerow.weighing.timing import (
    PLANS,
    Budget,
    Clock,
    Grid,
    Order,
    Samples,
    cells,
    predict_seconds,
    row_key,
    time_phase,
)

_LEAST_SECONDS = 2.0  # for the calls themselves, however long loading took


def main() -> None:
    """Read the order, measure, and write one line per event: loaded, row, skipped, error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answer:
        os.dup2(2, 1)

        def send(event: dict[str, Any]) -> None:
            answer.write(json.dumps(event, allow_nan=False) + "\n")
            answer.flush()

        try:
            order = check(Order, json.loads(sys.stdin.readline()), "order")
            for event in measure(order):
                send(event)
            os._exit(0)  # all is sent; a runtime's clean-up can take seconds that nobody waits for
        except HedgerowError as e:
            send({"event": "error", "message": str(e)})
            sys.exit(1)
        except MemoryError:
            send({"event": "error", "message": "it ran out of memory"})
            sys.exit(1)
        except BrokenPipeError:  # nobody is listening any more
            os._exit(1)


def measure(order: Order) -> Iterator[dict[str, Any]]:
    """Load, then time every cell of the grid; yields the events."""
    from hedgerow import kinds
    from hedgerow.runtimes import module_of

    started = time.monotonic()
    import_module(module_of(order.variant))
    imported = time.monotonic()
    baseline, _ = device.process_memory()
    before = device.resident()
    load, stall = device.load_average(), Stall()
    kind, engine = kinds.loaded(order.pack, order.variant, order.threads, order.settings)
    ready = time.monotonic()
    peak = device.process_memory()[1]
    ms = round((ready - order.spawned) * 1e3, 3)
    common = {
        "runtime": engine.runtime,
        "unit": kind.unit.name,
        "weights_bytes": engine.weights_bytes,
        "baseline_bytes": baseline,
        "load": load,
    }
    yield {
        **{"event": "row", "phase": "load", "units": 1, "repeats": 1, "p50_ms": ms, "p95_ms": ms, "mean_ms": ms},
        **{"min_ms": ms, "peak_bytes": peak, "noisy": stall.noisy(load), **common},
        "note": f"start of the process to ready, files in the page cache: interpreter "
        f"{(started - order.spawned) * 1e3:.0f} ms, runtime {(imported - started) * 1e3:.0f} ms, "
        f"Pack {(ready - imported) * 1e3:.0f} ms",
    }
    if not order.load_only:
        left = max(_LEAST_SECONDS, order.seconds - (ready - order.spawned))
        same = Unchanged([Path(order.pack)])
        for event in sweep(
            engine, kind, order.grid, left, peak, load, done=frozenset(order.done), same=same, before=before
        ):
            yield event if event["event"] != "row" else {**common, **event}


def sweep(
    engine: Engine,
    kind: Kind,
    grid: Grid,
    seconds: float,
    load_peak: int | None,
    load: float | None,
    clock: Clock = time.perf_counter,
    *,
    done: frozenset[str] = frozenset(),
    same: Callable[[], str] = lambda: "",
    before: Memory | None = None,
) -> Iterator[dict[str, Any]]:
    """A row for every phase of every cell that fits into ``seconds``; a cell that does not is reported as skipped.

    ``done``: keys of rows to leave out. ``same()`` tells what changed under the measurement, '' if nothing: then the
    row is refused. ``before``: what was resident before loading.
    """
    todo, plan = cells(kind.unit, grid), PLANS[grid]
    budget = Budget(seconds, len(todo), plan, clock)
    taken: list[tuple[float, float]] = []
    for number, cell in enumerate(todo):
        expected = predict_seconds(taken, cell.work)
        essential = cell.batch == 1 and cell.size == kind.unit.usual  # what every comparison reads is never left out
        if budget.refuses(expected) and number and not essential:
            why = f"one call would take about {expected:.2g} s; not measured in this grid"
            yield {"event": "skipped", "size": cell.size, "batch": cell.batch, "why": why}
            budget.done()
            continue
        share = budget.share([predict_seconds(taken, later.work) for later in todo[number + 1 :]])
        inputs = [kind.unit.make(cell.size, seed) for seed in range(cell.batch)]
        reset_peak()
        phases = engine.phases(inputs, cell.size)
        slowest = 0.0
        for phase in phases:
            held = phase.held or Held()
            if row_key(phase.name, cell.size, cell.batch, held.options, engine.runtime) in done:
                continue
            began = time.time()
            calls, stall, meter = Counted(phase.run), Stall(), device.EnergyMeter()
            timed = Phase(phase.name, phase.units, calls, phase.prepare)
            samples = time_phase(timed, plan, share / len(phases), clock)
            joules = meter.joules()
            peak = max(device.process_memory()[1] or 0, load_peak or 0) or None
            flops = engine.flops(phase.name, cell.size, cell.batch)  # after the peak was read: counting needs memory
            slowest += samples.quantile(0.5) / 1e3
            if changed := same():
                why = f"{phase.name} was measured and is refused: {changed}"
                yield {"event": "skipped", "size": cell.size, "batch": cell.batch, "why": why}
                continue
            yield {
                **{"event": "row", "phase": phase.name, "size": cell.size, "batch": cell.batch, "units": phase.units},
                **times(samples),
                "peak_bytes": peak,
                "flops": flops.count if flops else None,
                "flops_cover": flops.cover if flops else "",
                "energy_j": round(joules / calls.count, 6) if joules is not None else None,
                "noisy": samples.unsteady or stall.noisy(load),
                **_holds(held, before),
                **{"began": began, "ended": time.time(), "calls": calls.count},
            }
        if slowest:  # nothing was timed where all rows were there already
            taken.append((cell.work, slowest))
        budget.done()


def _holds(held: Held, before: Memory | None) -> dict[str, Any]:
    """The columns of a row that say what is loaded."""
    memory = {name: m.model_dump() for name, m in held.memory().items()}
    now = device.resident()
    if memory and before is not None and now is not None:
        grown = {k: v - (getattr(before, k) or 0) for k, v in now.model_dump().items() if v is not None}
        memory["resident"] = Memory(**{k: max(0, v) for k, v in grown.items()}).model_dump()
    return {
        "options": dict(held.options),
        "memory": memory,
        "geometry": held.geometry.model_dump(mode="json") if held.geometry else None,
        "weights": held.weights.model_dump(mode="json") if held.weights else None,
        "file_sha256": held.file_sha256,
    }


def times(samples: Samples) -> dict[str, Any]:
    """The columns of a row that come from its samples."""
    return {
        "repeats": len(samples.ms),
        "p50_ms": round(samples.quantile(0.5), 4),
        "p95_ms": round(samples.quantile(0.95), 4),
        "mean_ms": round(samples.mean, 4),
        "min_ms": round(min(samples.ms), 4),
        "samples_ms": [round(ms, 4) for ms in samples.ms],
    }


_WEIGHTS = (".safetensors", ".gguf", ".onnx", ".data", ".npy")  # of a Pack; its evidence may grow meanwhile


class Unchanged:
    """Whether files, governor and the limit of the clock are what they were when this was made.

    Of a folder, the files with weights count.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        inside = [f for p in paths if p.is_dir() for end in _WEIGHTS for f in sorted(p.rglob(f"*{end}"))]
        self._paths = [*(p for p in paths if p.is_file()), *inside]
        self._first = self._state()

    def _state(self) -> dict[str, Any]:
        stats = {p: (s.st_size, s.st_mtime_ns, s.st_ino) for p in self._paths if p.is_file() and (s := p.stat())}
        return {"the file": stats, **device.governor()}

    def __call__(self) -> str:
        """'the file changed', 'governor changed from …', or ''."""
        now = self._state()
        for name, value in self._first.items():
            if now.get(name) != value:
                how = "" if name == "the file" else f" from {value} to {now.get(name)}"
                return f"{name} changed{how} meanwhile"
        return ""


class Counted:
    """A phase's call that counts how often it ran, so that energy is divided by all calls, warm-up included."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.count = 0
        self._run = run

    def __call__(self) -> object:
        """Run once."""
        self.count += 1
        return self._run()


class Stall:
    """The share of time in which some task on this machine waited for a CPU, since this object was made."""

    def __init__(self) -> None:
        self._stalled = device.cpu_stall_us()
        self._clock = time.monotonic()

    def noisy(self, load: float | None) -> bool:
        """Whether more than a quarter of the time was contended, or more tasks than cores were running before."""
        now = device.cpu_stall_us()
        elapsed = time.monotonic() - self._clock
        if now is not None and self._stalled is not None:
            return (now - self._stalled) / 1e6 > 0.25 * elapsed
        return load is not None and load > (os.cpu_count() or 1)


def reset_peak() -> None:
    """Set ``VmHWM`` to what is resident now, where the kernel offers it; elsewhere peaks only grow."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


if __name__ == "__main__":
    main()
