"""The grid behind the tables: ``python -m hedgerow.systems.isic.experiment PART [--seeds 5]``, PART one of PLAN.

Every finished cell is one JSON in results/isic/<experiment>/ and is not computed again; a cell that is not there was
not run, and the tables say so. Outcomes per item are kept as strings of 0 and 1, in the order of the split's test
texts; which group each stands for is written once a split, in results/isic/splits/, and its scheme and section in
results/isic/facts/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hedgerow import run
from hedgerow.config import change
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.systems.isic import errors, facts, finetune, lm, models, stress, whole
from hedgerow.systems.isic.grid import Grid
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold
from hedgerow.systems.isic.peers import ECOINVENT, Known, both, cheap, fine, peer_names
from hedgerow.systems.isic.splits import HELD_OUT

CODED = ("texts", *(f"system:{s}" for s in HELD_OUT), "family", "transfer")
LANGUAGES = tuple(f"language:{x}" for x in ("fr", "es", "pt", "nl", "ro", "sl", "ru"))
FINE = ("grouped", *(f"system:{s}" for s in HELD_OUT), "transfer")
SPOKEN = (
    "zeroshot", "tfidf", "minilm-nn", "minilm-head", "fuse-nn", "fuse-head", "e5-nn", "e5-head", "smollm2-head",
    "lm-head",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How much of a part is asked for by default, and about what one seed of it takes."""

    seeds: int
    minutes: float  # a seed, on one core
    splits: tuple[str, ...] = ()


PLAN = {
    "cheap": Plan(5, 11, ECOINVENT + CODED),
    "languages": Plan(5, 7, LANGUAGES),
    "encoder": Plan(3, 60, FINE),
    "both": Plan(1, 12, tuple(f"system:{s}" for s in HELD_OUT)),
    "lm": Plan(3, 15),
    "errors": Plan(3, 2, ("grouped", "texts")),
    "stress": Plan(3, 2),
    "facts": Plan(1, 2),
    "preset": Plan(1, 60),
}


def run_cheap(grid: Grid, splits: Sequence[str], seeds: Sequence[int]) -> None:
    """The cheap peers on every split; a split whose cells are all there is not even read."""
    for seed in seeds:
        for split in splits:
            names = peer_names(split)
            if all(grid.has("peers", {"split": split, "model": n}, seed) for n in names):
                continue
            task, fold = grid.task(split, seed)
            for name, fit in cheap(fold, seed).items():
                grid.score("peers", {"split": split, "model": name}, seed, task, fold, fit)


def run_languages(grid: Grid, splits: Sequence[str], seeds: Sequence[int]) -> None:
    """English in train, another language in test. Train is the same for all of them, so its parts are fitted once."""
    for seed in seeds:
        known: Known = {}
        for split in splits:
            task, fold = grid.task(split, seed)
            peers = cheap(fold, seed, known)
            for name in SPOKEN:
                grid.score("peers", {"split": split, "model": name}, seed, task, fold, peers[name])


def run_fine(grid: Grid, splits: Sequence[str], seeds: Sequence[int], config: finetune.FineTune) -> None:
    """The fine-tuned encoder, or the mean of several (``soup``)."""
    last = "encoder+dev" if config.soup == 1 else "soup+dev"
    for seed in seeds:
        for split in splits:
            if grid.has("peers", {"split": split, "model": last}, seed, config):
                continue
            task, fold = grid.task(split, seed)
            kept = run.open_run(Path("runs"), "isic-encoder", {"split": split, **config.model_dump()}, seed, quiet=True)
            began = time.process_time()
            for name, model, own in fine(fold, grid.trunks["minilm"], config, kept):
                beside = {"finetune": config.model_dump(), "finetune_cpu_seconds": time.process_time() - began}
                made = replace(model, tuned={**model.tuned, **beside})
                grid.score("peers", {"split": split, "model": name}, seed, task, own, partial(lambda m: m, made))


def run_both(grid: Grid, splits: Sequence[str], seeds: Sequence[int], config: finetune.FineTune) -> None:
    """The mixture of two trunks on the schemes that are held out; the fine-tuned encoder is the one of `encoder`."""
    for seed in seeds:
        for split in splits:
            cell = {"split": split, "model": "encoder+e5"}
            if not grid.has("peers", cell, seed, config):
                task, fold = grid.task(split, seed)
                kept = run.open_run(Path("runs"), "isic-encoder", {"split": split, **config.model_dump()}, seed, True)
                model, own = both(fold, grid.trunks["minilm"], config, kept)
                made = replace(model, tuned={**model.tuned, "finetune": config.model_dump()})
                grid.score("peers", cell, seed, task, own, partial(lambda m: m, made))


def run_lm(grid: Grid, seeds: Sequence[int], limit: int) -> None:
    """LoRA and re-ranking on `grouped`."""
    for seed in seeds:
        lora, rerank = ({"split": "grouped", "model": name} for name in ("lora", "rerank"))
        if grid.has("peers", lora, seed) and grid.has("peers", rerank, seed):
            continue
        task, fold = grid.task("grouped", seed)
        s, pack = run.seeds(seed), grid.trunks["smollm2"]

        def adapted(fold: Fold = fold, s: run.Seeds = s, pack: Pack = pack) -> Model:
            return models.single(lm.lora(pack, fold, lm.Lora(), s), fold)

        def reranked(fold: Fold = fold, s: run.Seeds = s, pack: Pack = pack, seed: int = seed) -> Model:
            base = cheap(fold, seed)["mix+coded"]()
            part = lm.reranker(pack, fold, base, lm.Lora(epochs=1), s, limit=limit)
            made = models.single(part, fold)
            return replace(made, tuned={**made.tuned, "beta": part.beta, "gamma": part.gamma, "texts": limit})

        grid.score("peers", lora, seed, task, fold, adapted)
        grid.score("peers", rerank, seed, task, fold, reranked)


def main(words: Sequence[str] | None = None) -> None:
    """Run one part of the grid."""
    parser = argparse.ArgumentParser(description="the experiments behind the tables of isic")
    parser.add_argument("part", choices=tuple(PLAN))
    parser.add_argument("--seeds", type=int, default=0, help="how many; 0 takes the plan's number")
    parser.add_argument("--splits", nargs="*", help="some of the part's splits")
    parser.add_argument("--root", type=Path, default=Path("results"))
    parser.add_argument("--set", nargs="*", default=[], help="of the fine-tuning, such as epochs=2")
    parser.add_argument(
        "--pack", type=Path, help="of stress: a built Pack that is asked, too; of preset: where it goes"
    )
    parser.add_argument("--preset", default="real", help="of preset: which one is built and timed")
    given = parser.parse_args(words)
    run.set_threads(1)
    plan = PLAN[given.part]
    seeds, splits = range(given.seeds or plan.seeds), given.splits or plan.splits
    print(f"about {plan.minutes * len(seeds) / 60:.1f} hours on one core if nothing is there yet", flush=True)
    try:
        if given.part == "preset":
            print(whole.build_preset(given.root, given.preset, given.pack or Path("packs") / given.preset), flush=True)
            return
        _run(given.part, given.root, splits, seeds, change(finetune.FineTune(), given.set))
        if given.part == "stress" and given.pack is not None:
            print(stress.ask_pack(given.root, given.pack), flush=True)
    except HedgerowError as e:
        raise SystemExit(str(e)) from e


def _run(part: str, root: Path, splits: Sequence[str], seeds: Sequence[int], config: finetune.FineTune) -> None:
    if part == "facts":  # needs no trunk
        for path in facts.fill(root):
            print(path, flush=True)
        return
    grid = Grid(root)
    if part == "encoder":
        run_fine(grid, splits, seeds, config)
    elif part == "both":
        run_both(grid, splits, seeds, config)
    elif part == "lm":
        run_lm(grid, seeds, limit=1000)
    elif part == "errors":
        errors.run_errors(grid, splits, seeds)
    elif part == "stress":
        stress.run_peers(grid, seeds)
    elif part == "languages":
        run_languages(grid, splits, seeds)
    else:
        run_cheap(grid, splits, seeds)


if __name__ == "__main__":
    main()
