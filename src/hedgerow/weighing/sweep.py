"""Random shapes in several formats, measured in turns: ``python -m hedgerow.weighing.sweep [--out results/slm/local]``.

The rows are what predictions are held out on (``hedgerow.weighing.experiment local``). Six shapes of about equal size
(slm.md §7 B) that differ in what the formulas speak of: grouped heads or not, deep or wide, vocabulary, tied or not.
Every (shape, format, threads) is a cell with a file of its own; a round measures each cell once in a fresh process, and
rounds follow each other, so that a drift of the machine falls on all. Called again, it goes on after the last round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.cost import Cost, Geometry
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import loaded
from hedgerow.kinds.base import Held
from hedgerow.runtimes import random_gguf
from hedgerow.schema import check
from hedgerow.weighing import device
from hedgerow.weighing.child import Stall, times
from hedgerow.weighing.process import environment
from hedgerow.weighing.rounds import Gathered
from hedgerow.weighing.timing import Plan, time_phase


def _shape(
    layers: int, width: int, heads: int, kv: int, ffn: int, vocabulary: int = 49152, tied: bool = True
) -> Geometry:
    return Geometry(
        layers=layers, width=width, heads=heads, kv_heads=kv, head=64, ffn=ffn, gated=True, vocabulary=vocabulary,
        tied=tied, positions=8192,
    )  # fmt: skip


SHAPES = {
    "smol": _shape(30, 576, 9, 3, 1536),
    "mha": _shape(30, 576, 9, 9, 1152),
    "deep": _shape(64, 384, 6, 2, 1216),
    "wide": _shape(8, 1024, 16, 4, 2752),
    "vocabulary": _shape(16, 512, 8, 2, 1536, 151936),
    "untied": _shape(18, 576, 9, 3, 1536, tied=False),
}
FORMATS = ("f16", "q8_0", "q4_0")
SIZES = ({"prompt": 128, "new": 24}, {"prompt": 128, "new": 24, "depth": 512}, {"prompt": 512, "new": 24})
PLAN = Plan(cell_seconds=4.0, least=3, most=24, warm_ups=3)


def cell(name: str, form: str, threads: int, folder: Path) -> list[dict[str, Any]]:
    """Events of one round of one cell, measured in this process; the file is made if it is not there."""
    path = folder / f"{name}-{form}.gguf"
    if not path.is_file():
        random_gguf.write(path, SHAPES[name], form)
    load = device.load_average()
    _, engine = loaded(path, f"gguf-{form}", threads, {"context": 1024})
    found = []
    for size in SIZES:
        for phase in engine.phases([" ".join(map(str, range(64)))], size):
            if phase.name == "ttft":
                continue
            stall, held = Stall(), phase.held or Held()
            samples = time_phase(phase, PLAN, PLAN.cell_seconds, time.perf_counter)
            found.append(
                {
                    "phase": phase.name,
                    "size": size,
                    "batch": 1,
                    "units": phase.units,
                    "unit": "token",
                    **times(samples),
                    "runtime": engine.runtime,
                    "options": dict(held.options),
                    "memory": {k: m.model_dump() for k, m in held.memory().items()},
                    "geometry": held.geometry.model_dump(mode="json") if held.geometry else None,
                    "weights": held.weights.model_dump(mode="json") if held.weights else None,
                    "weights_bytes": engine.weights_bytes,
                    "disk_bytes": path.stat().st_size,
                    "noisy": samples.unsteady or stall.noisy(load),
                    "load": load,
                }
            )
    return found


def run(
    out: Path,
    names: Sequence[str],
    forms: Sequence[str],
    threads: Sequence[int],
    rounds: int,
    tell: Callable[[str], object] = print,
    ask: Callable[[str, str, int, Path], list[dict[str, Any]]] | None = None,
) -> list[Path]:
    """Measure what is missing; the files of all cells, each whole after each round.

    ``ask`` measures one cell; None: in a fresh process.
    """
    for name in names:
        if name not in SHAPES:
            raise HedgerowError(f"no shape is called '{name}'{did_you_mean(name, SHAPES)}")
    folder = files.cache_dir() / "random"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [(name, form, count) for name in names for form in forms for count in threads]
    paths = [out / f"{name}-{form}-t{count}.json" for name, form, count in cells]
    for number in range(rounds):
        for (name, form, count), path in zip(cells, paths, strict=True):
            known = files.read_json(path)["rounds"] if path.is_file() else []
            if len(known) > number:
                continue
            tell(f"round {number + 1} of {rounds}: {name} {form}, {count} thread{'s' if count > 1 else ''}")
            known.append((ask or _fresh)(name, form, count, folder))
            files.write_json(
                path, {"shape": name, "format": form, "rounds": known, "items": rows(name, form, count, known)}
            )
    return paths


def rows(name: str, form: str, threads: int, rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Cost rows of all rounds of one cell together."""
    gathered = Gathered()
    for events in rounds:
        for event in events:
            gathered.add(dict(event))
    fixed = {
        "pack": files.digest([SHAPES[name].model_dump(mode="json"), form]),
        "variant": f"gguf-{form}",
        "device": device.measured_device().model_dump(mode="json", exclude={"rates"}),
        "threads": threads,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found = []
    for row in gathered.rows():
        row["note"] = f"random weights of the shape '{name}', {row.get('note') or '1 round'}"
        cost = check(Cost, {**row, **fixed}, "a measured row").model_dump(mode="json")
        cost["samples_ms"] = []  # they stand in the rounds
        found.append(cost)
    return found


def _fresh(name: str, form: str, threads: int, folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "hedgerow.weighing.sweep", "--cell", name, form, str(threads), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(threads), check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise HedgerowError(f"{name} in {form} could not be measured: {last[:300]}")
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m hedgerow.weighing.sweep", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/slm/local"))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cell", nargs=4, metavar=("SHAPE", "FORMAT", "THREADS", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    try:
        if given.cell:
            name, form, count, folder = given.cell
            print(json.dumps(cell(name, form, int(count), Path(folder))))
            return 0
        cells = len(given.shapes) * len(given.formats) * len(given.threads)
        minutes = cells * given.rounds * 25 / 60
        print(f"{cells} cells, {given.rounds} rounds: about {minutes:.0f} minutes on a quiet machine")
        run(given.out, given.shapes, given.formats, given.threads, given.rounds)
    except HedgerowError as e:
        print(f"sweep: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
