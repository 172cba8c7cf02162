"""``weigh --probe``: what predictions need to know of this device, with random weights.

Measured are (1) reading memory at 1 … all threads over eight times the last cache, (2) for each format a model of one
layer, width 1024: a decode step at depth 0 (for two of them also at 512), and a prefill of 128 tokens, (3) 8 and 64
thin layers for what a layer costs beside its bytes. The constants of :class:`hedgerow.cost.Rates` are then fitted to
these times.

A one-layer file would lie in the cache, where a real model does not: so several copies of it take turns, together
larger than the cache. Needs the extras llama (to run) and build (to write the files).

Everything is timed in several rounds, and the best round counts; what was unsteady all the same is marked noisy.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from hedgerow.cost import Device, Geometry, Rates, Weights, fitting
from hedgerow.cost.fitting import Phase, Sample
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import random_gguf
from hedgerow.runtimes.llama import Llama, Options, binding, open_gguf, quantise
from hedgerow.weighing import device
from hedgerow.weighing.timing import Samples

FORMATS = ("f16", "q8_0", "q6_k", "q5_0", "q4_0", "q4_1", "q4_k_s")
WIDE = Geometry(
    layers=1,
    width=1024,
    heads=16,
    kv_heads=16,
    head=64,
    ffn=4096,
    gated=True,
    vocabulary=256,
    tied=True,
    positions=2048,
)
THIN = WIDE.model_copy(update={"width": 128, "heads": 2, "kv_heads": 2, "ffn": 256, "vocabulary": 4096})
DEPTH, PROMPT, LONG = 512, 128, 512
_ROUNDS = 3  # every model is timed so often, far apart: a busy moment then spoils one round, not a rate
_STEPS, _FILLS = 10, 1  # timed calls of a round
_MOST_COPIES = 8
Tell = Callable[[str], object]


def probe(threads: Sequence[int] | None = None, tell: Tell = lambda text: None) -> Device:
    """This device with ``rates`` for each number of ``threads`` (None: one, and all cores).

    Between them, and where llama.cpp is measured for fewer, a plain read bandwidth stands alone. Raises HedgerowError
    when an extra is missing.
    """
    if find_spec("gguf") is None:
        raise HedgerowError("probing writes small random models, which needs gguf: pip install 'hedgerow[build]'")
    binding()  # says what to install when there is no llama.cpp
    here = device.probe()
    counts = sorted(set(threads or (1, here.cores)))
    steps = sorted({*counts, *(1 << i for i in range(here.cores.bit_length()) if 1 << i < here.cores)})
    read = {count: bandwidth(count) for count in steps}
    for count, rate in read.items():
        tell(f"reads {rate / 1e9:.1f} GB/s with {count} thread{'s' if count > 1 else ''}")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    found = []
    with tempfile.TemporaryDirectory(prefix="hedgerow-probe-") as folder:
        files = written(Path(folder))
        tell(f"{len(files)} small models of random weights written")
        taken = {count: _Taken() for count in counts}
        for turn in range(_ROUNDS):
            for name, file in files.items():
                for count in counts:
                    _round(taken[count], name, file, count)
            tell(f"round {turn + 1} of {_ROUNDS} timed")
        bad = noisy(taken)
        for count in steps:
            if count in counts:
                found.append(_rates(taken[count], bad[count], count, read[count], when, tell))
            else:
                runtime = {**found[0].runtime} if found else {}
                found.append(Rates(threads=count, runtime=runtime, bandwidth=read[count], when=when, source="probed"))
    return here.model_copy(update={"rates": tuple(found)})


def bandwidth(threads: int, size: int | None = None, repeats: int = 4) -> float:
    """Bytes a second of reading ``size`` bytes (None: eight times the last cache) on ``threads`` threads; the best."""
    from hedgerow.runtimes.numpy import threads as limited

    size = min(size or 8 * last_cache(), max(1 << 24, device.available_bytes() // 4))
    block = np.ones(size // 4, dtype=np.float32)
    parts = np.array_split(block, threads)
    best = float("inf")
    with limited(1), ThreadPoolExecutor(threads) as pool:  # each part is one product of its own thread
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(lambda part: np.dot(part, part), parts))
            best = min(best, time.perf_counter() - start)
    return block.nbytes / best


def last_cache(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Bytes of the largest cache of the first core; 32 MiB where the system does not tell."""
    sizes = []
    for file in root.glob("index*/size"):
        if (m := re.fullmatch(r"(\d+)([KMG]?)\s*", file.read_text(encoding="ascii"))) is not None:
            sizes.append(int(m[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[m[2]])
    return max(sizes, default=32 << 20)


def written(folder: Path) -> dict[str, Path]:
    """The random models: one of a wide layer for each format, and thin ones of 8 and 64 layers."""
    made = {}
    wide = random_gguf.write(folder / "f16.gguf", WIDE)
    for name in FORMATS:
        target = folder / f"{name}.gguf"
        if name != "f16":
            quantise(wide, target, name, threads=1)
        made[name] = target
    for layers in (8, 64):
        sizes = THIN.model_copy(update={"layers": layers})
        made[f"thin-{layers}"] = random_gguf.write(folder / f"thin-{layers}.gguf", sizes)
    return made


@dataclass
class _Taken:
    """Seconds of every timed call with one number of threads, by round: model, phase and tokens -> rounds -> calls."""

    seconds: dict[tuple[str, Phase, int], list[list[float]]] = field(default_factory=dict)
    models: dict[str, tuple[Geometry, Weights]] = field(default_factory=dict)
    runtime: dict[str, str] = field(default_factory=dict)
    repacked: set[str] = field(default_factory=set)

    def best(self) -> dict[tuple[str, Phase, int], float]:
        """The least median of a round: what other programs took in the other rounds does not count."""
        return {key: min(median(calls) for calls in rounds) for key, rounds in self.seconds.items()}


def _round(taken: _Taken, name: str, file: Path, threads: int) -> None:
    """Time one model once more."""
    wide = name in FORMATS
    sizes = WIDE if wide else THIN.model_copy(update={"layers": int(name.removeprefix("thin-"))})
    with copies(file, threads, wide=wide) as models:
        told = models[0].describe()
        again = told.pop("repacked")
        taken.repacked |= set() if again.startswith(("nothing", "off")) else set(again.split(", "))
        taken.runtime = told
        taken.models[name] = sizes, models[0].contents.weights
        # what attention costs does not depend on the format of the weights, so two formats tell it
        for depth in (0, DEPTH) if not wide or name in ("f16", "q8_0") else (0,):
            taken.seconds.setdefault((name, "decode", depth), []).append(_decode(models, depth))
        for prompt in (PROMPT, LONG) if name in ("f16", "thin-8") else (PROMPT,):
            taken.seconds.setdefault((name, "prefill", prompt), []).append(_prefill(models[0], prompt))


def noisy(taken: Mapping[int, _Taken]) -> dict[int, set[tuple[str, Phase]]]:
    """Threads -> (model, phase) whose times are not to be trusted.

    Either p95 of all calls is more than 1.5 times their p50, or a wide model takes more than 1.2 times as long as with
    fewer threads: the work divides, so something else had the cores.
    """
    found: dict[int, set[tuple[str, Phase]]] = {}
    best = {count: each.best() for count, each in taken.items()}
    for count, each in taken.items():
        found[count] = set()
        for key, rounds in each.seconds.items():
            fewer = [best[c][key] for c in taken if c < count and key in best[c]]
            slower = key[0] in FORMATS and bool(fewer) and best[count][key] > 1.2 * min(fewer)
            if slower or Samples(tuple(1e3 * call for calls in rounds for call in calls)).unsteady:
                found[count].add(key[:2])
    return found


def _rates(taken: _Taken, bad: set[tuple[str, Phase]], threads: int, read: float, when: str, tell: Tell) -> Rates:
    best = taken.best()
    times = [
        Sample(phase, *taken.models[name], tokens, seconds, label=name)
        for (name, phase, tokens), seconds in best.items()
    ]
    for name in taken.models:
        words = " and ".join(phase for phase in ("decode", "prefill") if (name, phase) in bad)
        tell(
            f"{name}, {threads} thread{'s' if threads > 1 else ''}: {best[name, 'decode', 0] * 1e3:.3g} ms a step"
            + (f" (noisy: {words})" if words else "")
        )
    fitted = fitting.fit(
        times,
        threads=threads,
        runtime=taken.runtime,
        bandwidth=read,
        repacked=tuple(sorted(taken.repacked)),
        when=when,
        held_out=False,
    )
    marked = {
        f"rate of {s.phase} of {s.format}" if s.label in FORMATS else f"cost of a layer in {s.phase}"
        for s in times
        if (s.label, s.phase) in bad
    }
    return without_bounds(fitted).model_copy(update={"noisy": tuple(sorted(marked))})


def without_bounds(rates: Rates) -> Rates:
    """Without rates at the fit's upper bound: those formats were too small a part to be told apart."""
    update = {
        "decode": {name: rate for name, rate in rates.decode.items() if rate < 1e12},
        "prefill": {name: rate for name, rate in rates.prefill.items() if rate < 1e15},
        "head": rates.head if rates.head is not None and rates.head < 1e15 else None,
        "source": "probed",
    }
    return rates.model_copy(update=update)


@contextmanager
def copies(file: Path, threads: int, wide: bool) -> Iterator[list[Llama]]:
    """The model opened as often as it takes to be larger than the last cache, each from a file of its own."""
    size = file.stat().st_size
    room = device.available_bytes() // 4 // max(1, 3 * size)
    count = min(_MOST_COPIES, 1 + 2 * last_cache() // size, max(1, room)) if wide else 1
    options = Options(context=2 * max(DEPTH, LONG), threads=threads, ubatch=512)
    opened: list[Llama] = []
    extra = [file.with_name(f"{file.stem}-copy{i}.gguf") for i in range(1, count)]
    try:
        for path in [file, *extra]:
            if path != file:
                shutil.copyfile(file, path)
            opened.append(open_gguf(path, options))
        yield opened
    finally:
        for model in opened:
            model.close()
        for path in extra:
            path.unlink(missing_ok=True)


def _decode(models: Sequence[Llama], depth: int) -> list[float]:
    """Seconds of each of several steps after ``depth`` tokens, the models in turn."""
    for model in models:
        model.clear()
        if depth:
            model.feed([[i % model.vocabulary for i in range(depth)]], 0, "none")
        model.step([1], depth)  # warm-up
        model.rewind(depth) if depth else model.clear()
    taken = []
    for turn in range(_STEPS):
        model = models[turn % len(models)]
        start = time.perf_counter()
        model.step([turn % model.vocabulary], depth)
        taken.append(time.perf_counter() - start)
        model.rewind(depth) if depth else model.clear()
    return taken


def _prefill(model: Llama, prompt: int) -> list[float]:
    """Seconds of ``prompt`` tokens in one call, logits of the last only: several calls after a warm-up."""
    ids = [(7 * i) % model.vocabulary for i in range(prompt)]
    taken = []
    for _ in range(1 + _FILLS):
        model.clear()
        start = time.perf_counter()
        model.feed([ids])
        taken.append(time.perf_counter() - start)
    return taken[1:]
