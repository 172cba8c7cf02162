"""The peers by their names in the tables: the cheap ones, and those whose trunk is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from hedgerow import run
from hedgerow.pack import Pack
from hedgerow.systems.isic import features, finetune, linear, lm, models, parts
from hedgerow.systems.isic.models import Model
from hedgerow.systems.isic.parts import Fold, Piece

ECOINVENT = ("grouped", "grouped_nomarket", "names", "rows")  # splits whose labels are ecoinvent's strings
FROZEN = ("fuse", "e5", "smollm2")  # further trunks, beside MiniLM
Known = dict[tuple[str, bool], Any]  # (name, with coded texts) -> fitted part


def cheap(fold: Fold, seed: int, known: Known | None = None) -> dict[str, Callable[[], Model]]:
    """Every peer that needs no gradient through a trunk, by its name in the tables; parts are fitted once.

    ``known`` holds parts that were fitted on the same train (and takes those that are fitted here): splits that differ
    in dev and test alone share them.
    """
    s, fitted = run.seeds(seed), {} if known is None else known
    makers: dict[str, Callable[[bool], Any]] = {
        "tfidf": lambda extra: linear.tfidf(fold, s.order, extra),
        "tfidf-nn": lambda extra: linear.tfidf_nearest(fold),
        "titles": lambda extra: parts.titles(fold, "minilm"),
        "lm-head": lambda extra: lm.frozen_head(fold, "smollm2", lm.LmHead(), s),
    }
    for trunk in ("minilm", *FROZEN):
        makers[f"{trunk}-head"] = partial(lambda t, extra: linear.head(fold, t, s.init, extra), trunk)
        makers[f"{trunk}-nn"] = partial(lambda t, extra: parts.knn(fold, t, extra), trunk)

    def part(name: str, extra: bool = False) -> Any:
        if (name, extra) not in fitted:
            fitted[name, extra] = makers[name](extra)
        return fitted[name, extra]

    def alone(name: str, extra: bool = False) -> Callable[[], Model]:
        return lambda: models.single(part(name, extra), fold)

    def mix(extra: bool) -> Model:
        own = [part(n, extra) for n in ("tfidf", "minilm-head", "minilm-nn")]
        return models.mix([*own, part("titles")], fold)

    def mean() -> Model:
        return models.calibrated(Model((part("tfidf"), part("minilm-head")), (0.5, 0.5)), fold)

    peers: dict[str, Callable[[], Model]] = {
        "majority": lambda: models.single(parts.prior(fold), fold),
        "zeroshot": alone("titles"),
        "exact-tfidf": lambda: models.first([parts.exact(fold), part("tfidf")], fold),
        "mean-heads": mean,
        "mix": lambda: mix(False),
        **{name: alone(name) for name in makers if name != "titles"},
    }
    if len(fold.extra):
        peers |= {f"{name}+coded": alone(name, True) for name in ("tfidf", "minilm-nn", "minilm-head")}
        peers["mix+coded"] = lambda: mix(True)
    return peers


def fine(fold: Fold, trunk: Pack, config: finetune.FineTune, kept: run.Run) -> Iterator[tuple[str, Model, Fold]]:
    """MiniLM trained end to end: its head, its neighbours, their mixture, and the mixture with TF-IDF beside it.

    A soup of several trainings has names of its own.
    """
    name = "encoder" if config.soup == 1 else "soup"
    tuned = finetune.finetune(trunk, fold, config, kept.seeds, extra=True, run=kept)
    own = replace(fold, vectors=features.remembered({"tuned": tuned.encode}))
    head, titles = tuned.head(own, "tuned"), parts.titles(own, "tuned")
    knn = parts.knn(own, "tuned", True)
    yield f"{name}-head", models.single(head, own), own
    yield f"{name}-nn", models.single(knn, own), own
    yield name, models.mix([head, knn, titles], own), own
    tfidf = linear.tfidf(own, kept.seeds.order, True)
    mixed = models.mix([head, knn, titles, tfidf], own)
    yield f"{name}+tfidf", mixed, own
    # What dev chose stays; then its texts join the examples and TF-IDF's train. The encoder itself never saw them.
    more = replace(own, train=own.train + parts.of_one_class(own.dev))
    grown = [head, parts.knn(more, "tuned", True), titles, linear.tfidf(more, kept.seeds.order, True)]
    yield f"{name}+dev", models.same_mix(mixed, grown), own


def both(fold: Fold, trunk: Pack, config: finetune.FineTune, kept: run.Run) -> tuple[Model, Fold]:
    """Fine-tuned MiniLM and frozen multilingual e5 in one mixture, dev added afterwards: two trunks, so no Pack."""
    tuned = finetune.finetune(trunk, fold, config, kept.seeds, extra=True, run=kept)
    own = features.remembered({"tuned": tuned.encode})
    here = replace(fold, vectors=lambda name, texts: (own if name == "tuned" else fold.vectors)(name, texts))

    def pieces(fold: Fold) -> list[Piece]:
        s = kept.seeds
        trained = [linear.tfidf(fold, s.order, True), linear.head(fold, "e5", s.init, True)]
        return [tuned.head(fold, "tuned"), *trained, parts.knn(fold, "tuned", True), parts.titles(fold, "tuned")]

    chosen = models.mix(pieces(here), here)
    more = replace(here, train=here.train + parts.of_one_class(here.dev))
    return models.same_mix(chosen, pieces(more)), here


def peer_names(split: str) -> list[str]:
    """Names of the cheap peers on a split."""
    names = ["majority", "zeroshot", "tfidf-nn", "tfidf", "exact-tfidf", "mean-heads", "mix", "lm-head"]
    names += [f"{trunk}-{kind}" for trunk in ("minilm", *FROZEN) for kind in ("nn", "head")]
    coded = ["tfidf+coded", "minilm-nn+coded", "minilm-head+coded", "mix+coded"]
    return names + (coded if split in ECOINVENT else [])
