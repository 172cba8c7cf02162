"""Our way through llama.cpp against its own bench loop, on the same file, build and threads, in alternating pairs.

    python benchmarks/llama_path.py [FILE.gguf …] [--prompt 128] [--new 64] [--pairs 9] [--threads 1] [--out FILE.json]

*Ours* is ``runtimes.llama.Llama.feed`` and ``.step``, which ``weigh``, ``use`` and the suite call. *Theirs* is the
loop of llama-bench (tools/llama-bench: ``test_prompt``, ``test_gen``), statement by statement, on the binding itself:
random tokens, cache cleared, batches of 2048, logits of the last token only, one synchronisation after the prompt and
after each step. llama-bench's own binary is not in any wheel; built against the same libraries it can be named with
``--binary`` and is then run in the pairs too.

Both keep their own context of the same loaded file. Each pair times ours and theirs, the order changing from pair to
pair; the ratio (their time / our time, 1.0 = as fast) is the median over pairs, with a 95 % bootstrap interval.
*Weighing* is what ``weigh`` adds: seconds of its loop over seconds of the calls that it times, less 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from hedgerow import files, run
from hedgerow.data.fetch import obtain
from hedgerow.runtimes.llama import MOST, Llama, Options, open_gguf
from hedgerow.weighing import device
from hedgerow.weighing.timing import PLANS, time_phase

Call = Callable[[], float]  # seconds


# --- the two sides ---------------------------------------------------------------------------------------------------
def ours(model: Llama, prompt: int, new: int) -> tuple[Call, Call]:
    """Seconds of a prefill, and of ``new`` steps."""
    ids = np.random.default_rng(0).integers(0, model.vocabulary, prompt).tolist()

    def fill() -> float:
        model.clear()
        start = time.perf_counter()
        model.feed([ids])
        return time.perf_counter() - start

    def steps() -> float:
        model.clear()
        start = time.perf_counter()
        for at in range(new):
            model.step([ids[at % prompt]], at)
        return time.perf_counter() - start

    return fill, steps


def theirs(path: Path, options: Options, prompt: int, new: int) -> tuple[Call, Call]:
    """llama-bench's loops on cyllama's raw calls."""
    from cyllama.llama import llama_cpp as lib

    params = lib.LlamaModelParams()
    params.n_gpu_layers = 0
    model = lib.LlamaModel(str(path), params)
    context_params = lib.LlamaContextParams()
    context_params.n_ctx, context_params.n_batch, context_params.n_ubatch = options.context, MOST, options.ubatch
    context_params.n_threads = context_params.n_threads_batch = options.threads
    context_params.no_perf = True
    context = lib.LlamaContext(model, context_params)
    words = model.get_vocab().n_vocab
    random = np.random.default_rng(1)
    batch = lib.LlamaBatch(n_tokens=MOST, embd=0, n_seq_max=1)

    def fill() -> float:
        context.kv_cache_clear(False)
        start = time.perf_counter()
        tokens = random.integers(0, words, prompt).tolist()
        for begin in range(0, prompt, MOST):
            part = tokens[begin : begin + MOST]
            batch.clear()
            for i, token in enumerate(part):
                batch.add(token, begin + i, [0], begin + i == prompt - 1)
            context.decode(batch)
        context.synchronize()
        return time.perf_counter() - start

    def steps() -> float:
        context.kv_cache_clear(False)
        tokens = random.integers(0, words, new).tolist()
        start = time.perf_counter()
        for at, token in enumerate(tokens):
            batch.clear()
            batch.add(token, at, [0], True)
            context.decode(batch)
            context.synchronize()
        return time.perf_counter() - start

    return fill, steps


def binary(program: Path, path: Path, options: Options, prompt: int, new: int) -> tuple[Call, Call]:
    """The same from llama-bench itself: one repetition a call, its own warm-up before it."""

    def call(p: int, n: int) -> float:
        command = [str(program), "-m", str(path), "-p", str(p), "-n", str(n), "-r", "1", "-o", "json"]
        command += ["-t", str(options.threads), "-ub", str(options.ubatch), "-ngl", "0"]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return float(told[0]["avg_ns"]) / 1e9

    return lambda: call(prompt, 0), lambda: call(0, new)


# --- in pairs --------------------------------------------------------------------------------------------------------
def pairs(one: Call, other: Call, count: int) -> dict[str, Any]:
    """Alternating pairs after a warm-up of each; ratio = time of the other / time of the first."""
    one(), other()
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(count):
        for name, call in [("ours", one), ("theirs", other)][:: 1 if number % 2 else -1]:
            times[name].append(call())
    ratios = np.asarray(times["theirs"]) / np.asarray(times["ours"])
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "pairs": count,
        "ours_s": [round(t, 6) for t in times["ours"]],
        "theirs_s": [round(t, 6) for t in times["theirs"]],
    }


def overhead(path: Path, threads: int) -> dict[str, float]:
    """What weigh's own loop adds to the calls that it times, for prefill and decode at the usual size."""
    from hedgerow import kinds

    kind, engine = kinds.loaded(path, "gguf", threads)
    size = kind.unit.usual
    found = {}
    for phase in engine.phases([kind.unit.make(size, 0)], size):
        called = [0.0]

        def timed(inner: Callable[[], object] = phase.run, total: list[float] = called) -> None:
            start = time.perf_counter()
            inner()
            total[0] += time.perf_counter() - start

        prepared = [0.0]

        def ready(inner: Callable[[], object] = phase.prepare, total: list[float] = prepared) -> None:
            start = time.perf_counter()
            inner()
            total[0] += time.perf_counter() - start

        start = time.perf_counter()
        time_phase(type(phase)(phase.name, phase.units, timed, ready), PLANS["quick"], 3.0, time.perf_counter)
        whole = time.perf_counter() - start
        found[phase.name] = whole / (called[0] + prepared[0]) - 1
    return found


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--binary", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/llama_path.json"))
    asked = parser.parse_args()
    began = time.time()
    options = Options(context=max(asked.prompt, asked.new) + 64, threads=asked.threads)
    items = []
    for path in asked.models or [obtain("smollm2")]:
        model = open_gguf(path, options)
        rivals = {"bench loop": theirs(path, options, asked.prompt, asked.new)}
        if asked.binary:
            rivals["llama-bench"] = binary(asked.binary, path, options, asked.prompt, asked.new)
        for name, (fill, steps) in rivals.items():
            mine = ours(model, asked.prompt, asked.new)
            item = {"file": path.name, "sha256": files.sha256(path), "against": name, "runtime": model.describe()}
            item |= {"prefill": pairs(mine[0], fill, asked.pairs), "decode": pairs(mine[1], steps, asked.pairs)}
            item["weighing_adds"] = overhead(path, asked.threads)
            items.append(item)
            for phase in ("prefill", "decode"):
                r = item[phase]
                print(f"{path.name} {phase} against {name}: {r['ratio']:.3f} [{r['low']:.3f}, {r['high']:.3f}]")
            print("weighing adds", {k: f"{100 * v:.2f} %" for k, v in item["weighing_adds"].items()})
        model.close()
    record = {
        "benchmark": "llama_path",
        "config": {k: v for k, v in vars(asked).items() if k in ("prompt", "new", "pairs", "threads")},
        "load": device.load_average(),
        "device": device.probe().model_dump(mode="json"),
        "seconds": round(time.time() - began, 1),
        "median_ratio": {p: median(i[p]["ratio"] for i in items) for p in ("prefill", "decode")},
        "environment": run.environment(),
        "items": items,
    }
    files.write_json(asked.out, record)
    print(f"kept in {asked.out}")


if __name__ == "__main__":
    main()
