"""Training through a trunk: batches of like length, class vectors that start from titles, adapters, and re-ranking."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from isic_tiny import a_run, decoder_folder, encoder_folder

from hedgerow.kinds import open as open_model
from hedgerow.kinds.hierarchy import Label, tree_of
from hedgerow.run import seeds
from hedgerow.systems.isic import features, finetune, lm, models, parts
from hedgerow.systems.isic.finetune import Alike, FineTune
from hedgerow.systems.isic.parts import Fold, Rows
from hedgerow.train import Shuffled

TITLES = {"0112": "growing of rice", "0141": "raising of cattle", "1071": "making of bread"}
TREE = tree_of([Label(code=c, title=t, division=c[:2]) for c, t in TITLES.items()])


def rows(texts: dict[str, int]) -> Rows:
    gold = np.zeros((len(texts), 3), bool)
    gold[np.arange(len(texts)), list(texts.values())] = True
    return Rows(tuple(texts), gold)


TRAIN = rows({f"{word} {number}": c for c, words in enumerate((("rice", "paddy"), ("cow", "calf"), ("bread", "rolls")))
              for word in words for number in ("farm", "shop", "and more", "firm")})  # fmt: skip
DEV = rows({"a rice mill": 0, "many cows": 1, "warm bread": 2})


def fold(vectors: parts.Vectors) -> Fold:
    return Fold(TREE, TRAIN, DEV, Rows((), np.zeros((0, 3), bool)), vectors)


def nothing(trunk: str, texts: object) -> np.ndarray:
    raise AssertionError("fine-tuning reads no cached vectors")


def test_an_epoch_of_like_lengths_holds_every_text_once() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 203)
    data = Alike(lengths, 8, 1, Shuffled(203, 8, 1, lambda i: {}), pool=4)
    for epoch in (0, 1):
        seen = np.concatenate([data.indices(epoch * len(data) + i) for i in range(len(data))])
        assert sorted(seen.tolist()) == list(range(203))
    spread = [int(np.ptp(lengths[data.indices(i)])) for i in range(len(data))]
    shuffled = [int(np.ptp(lengths[Shuffled(203, 8, 1, lambda i: {}).indices(i)])) for i in range(len(data))]
    assert np.mean(spread) < np.mean(shuffled) / 2
    assert (data.indices(3) == Alike(lengths, 8, 1, data.inner, pool=4).indices(3)).all()


def test_fine_tuning_learns_and_its_pack_gives_the_same_vectors(tmp_path: Path) -> None:
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    config = FineTune(epochs=25, lr=3e-3, head_lr=1e-2, batch=8, bf16=False)
    tuned = finetune.finetune(trunk, fold(nothing), config, seeds(0), extra=False)
    here = fold(features.remembered({"t": tuned.encode}))
    head = models.single(tuned.head(here, "t"), here)
    p = head.proba(TRAIN.texts, here.vectors)
    assert (p.argmax(1) == TRAIN.classes).mean() > 0.9
    pack = tuned.save(tmp_path / "tuned", trunk.info, trunk)
    vectors = open_model(pack).engine.encode(["rice farm", "cow"])
    assert vectors == pytest.approx(tuned.encode(["rice farm", "cow"]), abs=1e-5)
    before = open_model(trunk).engine.encode(["rice farm"])
    assert abs(vectors[0] - before[0]).max() > 1e-3  # the trunk itself has moved


def test_class_vectors_start_from_the_titles(tmp_path: Path) -> None:
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    still = FineTune(epochs=0.01, lr=1e-12, head_lr=1e-12, bf16=False, max_tokens=64)
    tuned = finetune.finetune(trunk, fold(nothing), still, seeds(0), extra=False)
    titles = open_model(trunk).engine.encode(list(fold(nothing).titles))
    assert (tuned.weight * titles).sum(1) == pytest.approx(np.ones(3), abs=1e-4)


def test_a_stopped_fine_tuning_goes_on(tmp_path: Path) -> None:
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    config = FineTune(epochs=3, batch=8, bf16=False)
    straight = finetune.finetune(trunk, fold(nothing), config, seeds(0), extra=False)
    run = a_run(tmp_path)
    finetune.finetune(trunk, fold(nothing), config, seeds(0), extra=False, run=run)
    again = finetune.finetune(trunk, fold(nothing), config, seeds(0), extra=False, run=run)  # from its last checkpoint
    assert (again.weight == straight.weight).all()
    assert (again.encode(["rice"]) == straight.encode(["rice"])).all()


def test_a_soup_is_the_mean_of_trainings_that_differ_in_order_and_noise(tmp_path: Path) -> None:
    trunk = features.trunk(str(encoder_folder(tmp_path / "model")))
    config, s = FineTune(epochs=3, batch=8, bf16=False), seeds(0)
    others = [seeds(s.named(f"soup/{k}")) for k in (1, 2)]
    made = [finetune.finetune(trunk, fold(nothing), config, each, extra=False) for each in (s, *others)]
    assert abs(made[0].weight - made[1].weight).max() > 1e-4
    soup = finetune.finetune(trunk, fold(nothing), config.model_copy(update={"soup": 3}), s, extra=False)
    for name, value in soup.net.state_dict().items():
        if value.is_floating_point():
            mean = np.mean([m.net.state_dict()[name].numpy() for m in made], axis=0)
            assert value.numpy() == pytest.approx(mean, abs=1e-6), name
    mean = np.sum([m.weight for m in made], axis=0)
    assert soup.weight == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True), abs=1e-6)


def test_the_papers_head_learns_on_cached_vectors(tmp_path: Path) -> None:
    pack = features.trunk(str(decoder_folder(tmp_path / "lm")))
    here = fold(features.Frozen({"lm": pack}, quiet=True))
    model = models.single(lm.frozen_head(here, "lm", lm.LmHead(epochs=200, lr=1e-2, batch=8), seeds(0)), here)
    assert (model.proba(TRAIN.texts, here.vectors).argmax(1) == TRAIN.classes).mean() > 0.9


SMALL = lm.Lora(epochs=12, lr=1e-2, head_lr=2e-2, batch=8, rank=2, bf16=False)


def test_lora_learns_and_leaves_the_weights_below_alone(tmp_path: Path) -> None:
    pack = features.trunk(str(decoder_folder(tmp_path / "lm")))
    part = lm.lora(pack, fold(nothing), SMALL, seeds(0))
    p, passed = part.answer(TRAIN.texts, nothing)
    assert passed is None
    assert p.sum(1) == pytest.approx(np.ones(len(p)), abs=1e-5)
    assert (p.argmax(1) == TRAIN.classes).mean() > 0.8
    moved = {n for n, w in part.lm.net.named_parameters() if w.requires_grad}
    assert moved
    assert all("lora" in name for name in moved)


def test_title_likelihoods_equal_the_engines(tmp_path: Path) -> None:
    """The same number a second way: the decoder engine's own log-likelihood, adapters still at zero."""
    pack = features.trunk(str(decoder_folder(tmp_path / "lm")))
    adapted = lm._adapted(pack, SMALL, seeds(0), head=True)
    pairs = [("rice farm", "growing of rice"), ("a cow", "making of bread"), ("", "growing of rice")]
    found = lm._likelihoods(adapted, pairs, bf16=False)
    engine = open_model(pack).engine
    asked = [(lm.ASK.format(text=text), " " + title) for text, title in pairs]
    cut = [engine._body.tokens([a + b], special=False)[0] for a, b in asked]
    assert [len(c) for c in cut] == [len(lm._pair(adapted, *p)[0]) for p in pairs]  # the border falls between tokens
    net = engine.net
    import torch

    for value, (ask, _), ids in zip(found, asked, cut):
        start = len(engine._body.tokens([ask], special=False)[0])
        with torch.no_grad():
            logp = net(torch.tensor([ids])).logits[0].log_softmax(-1)
        wanted = sum(float(logp[i - 1, ids[i]]) for i in range(start, len(ids)))
        assert value == pytest.approx(wanted, rel=1e-3)


def test_reranking_without_weight_is_its_base_and_keeps_the_mass_of_the_top(tmp_path: Path) -> None:
    pack = features.trunk(str(decoder_folder(tmp_path / "lm")))
    here = fold(features.Frozen({"lm": pack}, quiet=True))
    base = models.single(parts.knn(here, "lm", k=5, tau=0.1), here)
    part = lm.reranker(pack, here, base, lm.Lora(epochs=1, batch=8, rank=2, bf16=False), seeds(0), top=2, limit=8)
    wanted = base.proba(DEV.texts, here.vectors)
    off = replace(part, beta=0.0).answer(DEV.texts, here.vectors)[0]
    assert off == pytest.approx(wanted, abs=1e-6)
    on = replace(part, beta=0.5).answer(DEV.texts, here.vectors)[0]
    assert on.sum(1) == pytest.approx(np.ones(len(on)), abs=1e-5)
    low = np.argmin(wanted, 1)
    assert on[np.arange(3), low] == pytest.approx(wanted[np.arange(3), low], abs=1e-6)  # below the top nothing moves
    assert models.reciprocal_rank(part.answer(DEV.texts, here.vectors)[0], DEV.gold, here.dev_weight) >= (
        models.reciprocal_rank(wanted, DEV.gold, here.dev_weight)
    )
