"""The grid behind the tables: ``python -m hedgerow.systems.isic.experiment cheap|encoder|lm [--seeds 5]``.

Every finished cell is one JSON in results/isic/<experiment>/ and is not computed again; a cell that is not there was
not run, and the tables say so. Outcomes per item are kept as strings of 0 and 1, in the order of the split's test
texts; which group each stands for is written once a split, in results/isic/splits/.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import metrics, run
from hedgerow.config import change
from hedgerow.pack import Pack
from hedgerow.systems.isic import features, finetune, lm, models
from hedgerow.systems.isic.folds import fold_of, rows_of
from hedgerow.systems.isic.models import Fold, Model
from hedgerow.systems.isic.splits import HELD_OUT
from hedgerow.systems.isic.task import IsicTask, make_task

ECOINVENT = ("grouped", "grouped_nomarket", "names", "rows")
CODED = ("texts", *(f"system:{s}" for s in HELD_OUT), "family", "transfer")
LANGUAGES = tuple(f"language:{x}" for x in ("fr", "es", "pt", "nl", "ro", "sl", "ru"))
FINE = ("grouped", "system:KSIC10", "system:NAICS2017", "transfer")
ALSO_FINE = ("system:SSIC2020", "system:JSIC13")  # beyond the budget: the goal speaks of all four schemes
SPOKEN = (
    "zeroshot", "tfidf", "minilm-nn", "minilm-head", "fuse-nn", "fuse-head", "e5-nn", "e5-head", "smollm2-head",
    "lm-head",
)  # fmt: skip
FROZEN = ("fuse", "e5", "smollm2")  # further trunks, beside MiniLM
PAPER = 0.9528  # accuracy of arXiv 2409.18988, split rule and size unknown; stands beside `rows`, never as a rival


def evaluate(model: Model, task: IsicTask, fold: Fold) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores on test (thresholds from dev), what the model costs here, and outcomes per item."""
    test, gold = task.splits["test"], rows_of(task.splits["test"], fold.tree).gold
    threshold = {float(t): float(v) for t, v in model.tuned["thresholds"].items()}
    texts = [e.input for e in test]
    began = time.perf_counter()
    p = model.proba(texts, fold.vectors)
    seconds = time.perf_counter() - began
    best = models.ranked(p, 5)
    top = np.take_along_axis(gold, best, 1)
    found: dict[str, Any] = task.score(test, answers(p, best, fold, threshold[0.90]))
    confidence, hit = p.max(1), top[:, 0].astype(float)
    groups = [e.group for e in test]
    for target, t in threshold.items():
        answered = confidence >= t
        name = f"{target * 100:.0f}"
        found[f"answered_{name}"] = metrics.group_bootstrap(answered, groups, resamples=1000).score(len(test))
        if answered.any():
            some = [g for g, a in zip(groups, answered) if a]
            score = metrics.group_bootstrap(hit[answered], some, resamples=1000).score(int(answered.sum()))
            found[f"precision_{name}"] = score
    found["temperature"], found["tuned"] = model.temperature, dict(model.tuned)
    found["ms_a_text"] = 1000 * seconds / len(test)  # head and search alone, in one batch; the trunk's is in `weigh`
    return found, {"top1": bits(top[:, 0]), "top5": bits(np.any(top, axis=1)), "confidence": percents(confidence)}


def answers(p: np.ndarray, best: np.ndarray, fold: Fold, threshold: float) -> list[dict[str, Any]]:
    """Answers of the shape that a Pack gives: five candidates and the decision at ``threshold``."""
    codes, nodes = fold.tree.codes, fold.tree.decide(p, threshold)
    return [
        {"candidates": [{"code": codes[c], "p": float(row[c])} for c in top], "decision": n.level, "code": n.code}
        for row, top, n in zip(p, best, nodes)
    ]


def bits(values: Any) -> str:
    """'0110…'."""
    return "".join("1" if v else "0" for v in values)


def percents(confidence: np.ndarray) -> str:
    """Two digits a text: the confidence in hundredths, cut off below."""
    return "".join(f"{min(99, int(c * 100)):02d}" for c in confidence)


# ---- the peers ------------------------------------------------------------------------------------------------------
Known = dict[tuple[str, bool], Any]  # (name, with coded texts) -> fitted part


def cheap(fold: Fold, seed: int, known: Known | None = None) -> dict[str, Callable[[], Model]]:
    """Every peer that needs no gradient through a trunk, by its name in the tables; parts are fitted once.

    ``known`` holds parts that were fitted on the same train (and takes those that are fitted here): splits that differ
    in dev and test alone share them.
    """
    s, parts = run.seeds(seed), {} if known is None else known
    makers: dict[str, Callable[[bool], Any]] = {
        "tfidf": lambda extra: models.tfidf(fold, s.order, extra),
        "tfidf-nn": lambda extra: models.tfidf_nearest(fold),
        "titles": lambda extra: models.titles(fold, "minilm"),
        "lm-head": lambda extra: lm.frozen_head(fold, "smollm2", lm.LmHead(), s),
    }
    for trunk in ("minilm", *FROZEN):
        makers[f"{trunk}-head"] = partial(lambda t, extra: models.head(fold, t, s.init, extra), trunk)
        makers[f"{trunk}-nn"] = partial(lambda t, extra: models.knn(fold, t, extra), trunk)

    def part(name: str, extra: bool = False) -> Any:
        if (name, extra) not in parts:
            parts[name, extra] = makers[name](extra)
        return parts[name, extra]

    def alone(name: str, extra: bool = False) -> Callable[[], Model]:
        return lambda: models.single(part(name, extra), fold)

    def mix(extra: bool) -> Model:
        own = [part(n, extra) for n in ("tfidf", "minilm-head", "minilm-nn")]
        return models.mix([*own, part("titles")], fold)

    def mean() -> Model:
        return models.calibrated(Model((part("tfidf"), part("minilm-head")), (0.5, 0.5)), fold)

    peers: dict[str, Callable[[], Model]] = {
        "majority": lambda: models.single(models.prior(fold), fold),
        "zeroshot": alone("titles"),
        "exact-tfidf": lambda: models.first([models.exact(fold), part("tfidf")], fold),
        "mean-heads": mean,
        "mix": lambda: mix(False),
        **{name: alone(name) for name in makers if name != "titles"},
    }
    if len(fold.extra):
        peers |= {f"{name}+coded": alone(name, True) for name in ("tfidf", "minilm-nn", "minilm-head")}
        peers["mix+coded"] = lambda: mix(True)
    return peers


def fine(fold: Fold, trunk: Pack, config: finetune.FineTune, kept: run.Run) -> Iterator[tuple[str, Model, Fold]]:
    """MiniLM trained end to end: its head, its neighbours, their mixture, and the mixture with TF-IDF beside it."""
    tuned = finetune.finetune(trunk, fold, config, kept.seeds, extra=True, run=kept)
    own = replace(fold, vectors=features.remembered({"tuned": tuned.encode}))
    head, titles = tuned.head(own, "tuned"), models.titles(own, "tuned")
    knn = models.knn(own, "tuned", True)
    yield "encoder-head", models.single(head, own), own
    yield "encoder-nn", models.single(knn, own), own
    yield "encoder", models.mix([head, knn, titles], own), own
    tfidf = models.tfidf(own, kept.seeds.order, True)
    mixed = models.mix([head, knn, titles, tfidf], own)
    yield "encoder+tfidf", mixed, own
    # What dev chose stays; then its texts join the examples and TF-IDF's train. The encoder itself never saw them.
    more = replace(own, train=own.train + models.of_one_class(own.dev))
    grown = [head, models.knn(more, "tuned", True), titles, models.tfidf(more, kept.seeds.order, True)]
    yield "encoder+dev", models.same_mix(mixed, grown), own


def both(fold: Fold, trunk: Pack, config: finetune.FineTune, kept: run.Run) -> tuple[Model, Fold]:
    """Fine-tuned MiniLM and frozen multilingual e5 in one mixture, dev added afterwards: two trunks, so no Pack."""
    tuned = finetune.finetune(trunk, fold, config, kept.seeds, extra=True, run=kept)
    own = features.remembered({"tuned": tuned.encode})
    here = replace(fold, vectors=lambda name, texts: (own if name == "tuned" else fold.vectors)(name, texts))

    def parts(fold: Fold) -> list[models.Piece]:
        s = kept.seeds
        trained = [models.tfidf(fold, s.order, True), models.head(fold, "e5", s.init, True)]
        return [tuned.head(fold, "tuned"), *trained, models.knn(fold, "tuned", True), models.titles(fold, "tuned")]

    chosen = models.mix(parts(here), here)
    more = replace(here, train=here.train + models.of_one_class(here.dev))
    return models.same_mix(chosen, parts(more)), here


# ---- cells ----------------------------------------------------------------------------------------------------------
class Grid:
    """Where cells are kept, and the trunks that all of them share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.trunks = {name: features.trunk(name) for name in ("minilm", *FROZEN)}
        self.vectors = features.Frozen(self.trunks, bf16=("smollm2", "e5"), quiet=True)

    def task(self, split: str, seed: int) -> tuple[IsicTask, Fold]:
        """A split with its facts saved once."""
        task = make_task(split, {"seed": seed})
        config = {"split": split}
        path = run.result_path(self.root, "isic", "splits", config, seed)
        if not path.exists():
            facts = {**task.split.facts(), "digest": task.digest, "labels": task.split.labels}
            run.save_result(self.root, "isic", "splits", config, seed, facts, per_item(task), time.time())
        return task, fold_of(task.split, self.vectors)

    def has(self, experiment: str, config: dict[str, Any], seed: int) -> bool:
        """Whether the cell is done."""
        return run.result_path(self.root, "isic", experiment, config, seed).exists()

    def score(
        self, experiment: str, config: dict[str, Any], seed: int, task: IsicTask, fold: Fold, fit: Callable[[], Model]
    ) -> None:
        """Fit, score and save one cell unless it is there."""
        if self.has(experiment, config, seed):
            return
        started = time.time()
        began = time.process_time()
        model = fit()
        cpu = time.process_time() - began
        found, items = evaluate(model, task, fold)
        beside = {"leak": task.split.facts()["leak"], "paper": PAPER} if task.split.name == "rows" else {}
        found |= {"fit_cpu_seconds": cpu, **beside}
        run.save_result(self.root, "isic", experiment, config, seed, found, items, started)
        a = found["accuracy"]["value"], found["top5"]["value"], found["ece"]["value"]
        print(f"{experiment} {config} seed {seed}: {a[0]:.3f} {a[1]:.3f} ece {a[2]:.3f} fit {cpu:.0f} s", flush=True)


def per_item(task: IsicTask) -> dict[str, Any]:
    """Group number, single gold or not, language and scheme of every test text; no text and no label of ecoinvent."""
    test = task.splits["test"]
    number = {group: i for i, group in enumerate(sorted({e.group for e in test}))}
    return {
        "group": [number[e.group] for e in test],
        "single": bits(np.array([len(e.gold) == 1 for e in test])),
        "language": sorted({e.meta.get("language", "") for e in test}),
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


def peer_names(split: str) -> list[str]:
    """Names of the cheap peers on a split."""
    names = ["majority", "zeroshot", "tfidf-nn", "tfidf", "exact-tfidf", "mean-heads", "mix", "lm-head"]
    names += [f"{trunk}-{kind}" for trunk in ("minilm", *FROZEN) for kind in ("nn", "head")]
    coded = ["tfidf+coded", "minilm-nn+coded", "minilm-head+coded", "mix+coded"]
    return names + (coded if split in ECOINVENT else [])


def run_fine(grid: Grid, splits: Sequence[str], seeds: Sequence[int], config: finetune.FineTune) -> None:
    """The fine-tuned encoder."""
    for seed in seeds:
        for split in splits:
            if grid.has("peers", {"split": split, "model": "encoder+dev"}, seed):
                continue
            task, fold = grid.task(split, seed)
            kept = run.open_run(Path("runs"), "isic-encoder", {"split": split, **config.model_dump()}, seed, quiet=True)
            began = time.process_time()
            for name, model, own in fine(fold, grid.trunks["minilm"], config, kept):
                made = replace(model, tuned={**model.tuned, "finetune_cpu_seconds": time.process_time() - began})
                grid.score("peers", {"split": split, "model": name}, seed, task, own, partial(lambda m: m, made))


def run_both(grid: Grid, splits: Sequence[str], seeds: Sequence[int], config: finetune.FineTune) -> None:
    """The mixture of two trunks on the schemes that are held out; the fine-tuned encoder is the one of `encoder`."""
    for seed in seeds:
        for split in splits:
            cell = {"split": split, "model": "encoder+e5"}
            if not grid.has("peers", cell, seed):
                task, fold = grid.task(split, seed)
                kept = run.open_run(Path("runs"), "isic-encoder", {"split": split, **config.model_dump()}, seed, True)
                model, own = both(fold, grid.trunks["minilm"], config, kept)
                grid.score("peers", cell, seed, task, own, partial(lambda m: m, model))


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
    parser.add_argument("part", choices=("cheap", "languages", "encoder", "both", "lm"))
    parser.add_argument("--seeds", type=int, default=0, help="how many; 0 takes the plan's number")
    parser.add_argument("--splits", nargs="*", help="some of the part's splits")
    parser.add_argument("--root", type=Path, default=Path("results"))
    parser.add_argument("--set", nargs="*", default=[], help="of the fine-tuning, such as epochs=2")
    given = parser.parse_args(words)
    run.set_threads(1)
    hours = {
        "cheap": (5, 11 / 60),
        "languages": (1, 7 / 60),
        "encoder": (3, 40 / 60),
        "both": (1, 12 / 60),
        "lm": (3, 15 / 60),
    }[given.part]
    seeds = range(given.seeds or hours[0])
    print(f"about {hours[1] * len(seeds):.1f} hours on one core if nothing is there yet", flush=True)
    grid = Grid(given.root)
    config = change(finetune.FineTune(), given.set)
    if given.part == "encoder":
        run_fine(grid, given.splits or FINE, seeds, config)
    elif given.part == "both":
        run_both(grid, given.splits or [f"system:{s}" for s in HELD_OUT], seeds, config)
    elif given.part == "lm":
        run_lm(grid, seeds, limit=1000)
    elif given.part == "languages":
        run_languages(grid, given.splits or LANGUAGES, seeds)
    else:
        run_cheap(grid, given.splits or ECOINVENT + CODED, seeds)


if __name__ == "__main__":
    main()
