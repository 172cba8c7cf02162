"""``weigh --probe``: what predictions need to know of this device, in a dozen seconds, with random weights.

Measured are (1) reading memory at 1 … all threads over eight times the last cache, (2) for each format a model of one
layer, width 1024: a decode step at depth 0 and 512, and a prefill of 128 tokens, (3) 8 and 64 thin layers for what a
layer costs beside its bytes. The constants of :class:`hedgerow.cost.Rates` are then fitted to these times.

A one-layer file would lie in the cache, where a real model does not: so several copies of it take turns, together
larger than the cache. Needs the extras llama (to run) and build (to write the files).
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from hedgerow.cost import Device, Geometry, Rates, fitting
from hedgerow.cost.fitting import Sample
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import random_gguf
from hedgerow.runtimes.llama import Llama, Options, binding, open_gguf, quantise
from hedgerow.weighing import device

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
_STEPS, _FILLS = 24, 3  # timed calls; the median counts
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
        for count in steps:
            if count in counts:
                found.append(_rates(files, count, read[count], when, tell))
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


def _rates(files: dict[str, Path], threads: int, read: float, when: str, tell: Tell) -> Rates:
    times: list[Sample] = []
    runtime: dict[str, str] = {}
    repacked: set[str] = set()
    for name, file in files.items():
        sizes = WIDE if name in FORMATS else THIN.model_copy(update={"layers": int(name.removeprefix("thin-"))})
        with copies(file, threads, wide=name in FORMATS) as models:
            weights, told = models[0].contents.weights, models[0].describe()
            again = told.pop("repacked")
            repacked |= set() if again.startswith(("nothing", "off")) else set(again.split(", "))
            runtime = told
            steps = [_decode(models, depth) for depth in (0, DEPTH)]
            times += [
                Sample("decode", sizes, weights, d, t, label=name) for d, t in zip((0, DEPTH), steps, strict=True)
            ]
            prompts = (PROMPT, LONG) if name in ("f16", "thin-8") else (PROMPT,)
            for prompt in prompts:
                times.append(Sample("prefill", sizes, weights, prompt, _prefill(models[0], prompt), label=name))
        tell(f"{name}, {threads} thread{'s' if threads > 1 else ''}: {steps[0] * 1e3:.3g} ms a step")
    fitted = fitting.fit(
        times,
        threads=threads,
        runtime=runtime,
        bandwidth=read,
        repacked=tuple(sorted(repacked)),
        when=when,
        held_out=False,
    )
    return without_bounds(fitted)


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


def _decode(models: Sequence[Llama], depth: int) -> float:
    """Seconds of one step after ``depth`` tokens, the models in turn: the median."""
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
    return median(taken)


def _prefill(model: Llama, prompt: int) -> float:
    """Seconds of ``prompt`` tokens in one call, logits of the last only: the median after a warm-up."""
    ids = [(7 * i) % model.vocabulary for i in range(prompt)]
    taken = []
    for _ in range(1 + _FILLS):
        model.clear()
        start = time.perf_counter()
        model.feed([ids])
        taken.append(time.perf_counter() - start)
    return median(taken[1:])
