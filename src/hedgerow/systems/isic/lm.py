"""What a language model can add: the paper's head on a frozen one, LoRA through it, and re-ranking of the top 10.

The paper's trunk is GPT-2, whose weights come in no package that we found; ours is SmolLM2-135M (or any local folder),
and every table says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hedgerow.kinds import transformer
from hedgerow.kinds.decoder_lm import DecoderModel
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import Member
from hedgerow.kinds.texts import Tokens, batches
from hedgerow.objectives import Loss, Objective, cross_entropy
from hedgerow.pack import Pack
from hedgerow.run import Run, Seeds
from hedgerow.schema import Record, check
from hedgerow.systems.isic.finetune import Alike
from hedgerow.systems.isic.folds import some
from hedgerow.systems.isic.models import Model, ranked, reciprocal_rank
from hedgerow.systems.isic.parts import Fold, Piece, Vectors
from hedgerow.train import Optimiser, Phase, Schedule, Shuffled, TrainPlan, steps_for, train


class LmHead(Record):
    """The paper's second phase: trunk frozen, a new linear layer (arXiv 2409.18988 as summarised in isic.md §2.3)."""

    epochs: float = Field(default=30, gt=0, description="the paper's")
    lr: float = Field(default=1e-3, gt=0, description="the paper's, Adam")
    batch: int = Field(default=64, ge=1, description="the paper does not say")


class Lora(Record):
    """LoRA on the attention projections, trained through the whole trunk."""

    epochs: float = Field(default=1, gt=0, description="what two shared cores have time for")
    lr: float = Field(default=5e-4, gt=0, description="of the low-rank matrices, AdamW; ten times a full fine-tuning's")
    head_lr: float = Field(default=2e-3, gt=0, description="of the new linear layer")
    batch: int = Field(default=32, ge=1)
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    max_tokens: int = Field(default=48, ge=4)
    bf16: bool = True


def frozen_head(fold: Fold, trunk: str, config: LmHead, seeds: Seeds, extra: bool = False) -> Piece:
    """z = W h + b on cached mean-pooled vectors; the trunk's forward pass is done once, epochs are nearly free."""
    import torch

    rows = fold.rows(extra)
    x = torch.from_numpy(fold.vectors(trunk, rows.texts))
    y = torch.from_numpy(rows.classes)
    torch.manual_seed(seeds.init)
    layer = torch.nn.Linear(x.shape[1], len(fold.tree))

    def losses(nets: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Loss]:
        return {"ce": cross_entropy(nets["head"](batch["x"]), batch["y"])}

    def collate(i: Any) -> dict[str, Any]:
        return {"x": x[torch.as_tensor(i)], "y": y[torch.as_tensor(i)]}

    data = Shuffled(len(rows), config.batch, seeds.order, collate)
    fit = Phase(
        "head", Objective(losses), data, trains=("head",), steps=steps_for(config.epochs, data),
        optimiser=Optimiser(name="Adam", lr=config.lr),
    )  # fmt: skip
    train({"head": layer}, [fit], TrainPlan(seed=seeds.noise, name="lm-head"))
    arrays = {"W": layer.weight.detach().numpy().copy(), "b": layer.bias.detach().numpy().copy()}
    return Piece(Member("trunk-linear", {}, arrays), fold.tree, trunk)


# ---- LoRA -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Lm:
    """A language model with adapters, and how texts reach it."""

    net: Any
    tokens: Tokens
    padding: int


def _adapted(pack: Pack, config: Lora, seeds: Seeds, *, head: bool) -> _Lm:
    """The Pack's model with fresh adapters; the adapters alone learn."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = check(DecoderModel, pack.json("model.json"), str(pack.path / "model.json"))
    net = transformer.load(model.config, pack.file("weights.safetensors"), transformer.DECODERS, head=True)
    torch.manual_seed(seeds.init)
    names = ["c_attn"] if model.config["model_type"] == "gpt2" else ["q_proj", "v_proj"]
    adapters = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=names, lora_dropout=0.05)
    adapted = get_peft_model(net if head else net.base_model, adapters)
    tokens = Tokens(pack.file("tokenizer.json"), config.max_tokens, 1)
    return _Lm(adapted, tokens, model.padding)


def _padded(lm: _Lm, cut: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """ids and mask [n, T] as tensors, in the order given."""
    import torch

    batch = next(batches(cut, lm.padding, 10**9, len(cut)))
    back = np.argsort(batch.rows)
    return torch.from_numpy(batch.ids[back]), torch.from_numpy(batch.mask[back])


@dataclass(frozen=True)
class LoraClassifier:
    """Softmax of a linear layer on the mean-pooled last hidden states of an adapted language model."""

    lm: _Lm
    layer: Any
    bf16: bool

    def answer(self, texts: Sequence[str], vectors: Vectors) -> tuple[np.ndarray, None]:
        """See :class:`parts.Part`."""
        import torch

        from hedgerow.nets.pooled import Pooled

        net = Pooled(self.lm.net, "mean", normalise=False).eval()
        out = np.zeros((len(texts), self.layer.out_features), np.float32)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            for batch in batches(self.lm.tokens([normalise(t) for t in texts]), self.lm.padding, 2048, 128):
                h = net(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask))
                out[batch.rows] = self.layer(h).float().softmax(-1).numpy()
        return out, None


def lora(
    pack: Pack, fold: Fold, config: Lora, seeds: Seeds, *, extra: bool = False, run: Run | None = None
) -> LoraClassifier:
    """Train adapters and a new linear layer on train and the class titles."""
    import torch

    from hedgerow.nets.pooled import Pooled
    from hedgerow.systems.isic.finetune import with_titles

    lm = _adapted(pack, config, seeds, head=False)
    pooled = Pooled(lm.net, "mean", normalise=False)
    rows = with_titles(fold, extra)
    layer = torch.nn.Linear(lm.net.config.hidden_size, len(fold.tree))
    cut, labels = lm.tokens([normalise(t) for t in rows.texts]), torch.from_numpy(rows.classes)

    def collate(i: Any) -> dict[str, Any]:
        ids, mask = _padded(lm, [cut[j] for j in i])
        return {"ids": ids, "mask": mask, "y": labels[torch.as_tensor(i)]}

    def losses(nets: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Loss]:
        return {"ce": cross_entropy(nets["head"](nets["lm"](batch["ids"], batch["mask"])), batch["y"], 0.05)}

    _fit({"lm": pooled, "head": layer}, losses, collate, cut, config, seeds, run, "lora")
    return LoraClassifier(lm, layer.eval(), config.bf16)


def _fit(
    nets: dict[str, Any], losses: Any, collate: Any, cut: Sequence[Sequence[int]], config: Lora, seeds: Seeds,
    run: Run | None, name: str,
) -> None:  # fmt: skip
    data = Alike(
        np.array([len(c) for c in cut]),
        config.batch,
        seeds.order,
        Shuffled(len(cut), config.batch, seeds.order, collate),
    )
    lrs = {"head": config.head_lr} if "head" in nets else {}
    fit = Phase(
        name, Objective(losses), data, trains=tuple(nets), steps=steps_for(config.epochs, data), clip=1.0,
        optimiser=Optimiser(lr=config.lr, lrs=lrs), schedule=Schedule(shape="linear", warmup=0.05),
    )  # fmt: skip
    precision: Literal["float32", "bfloat16"] = "bfloat16" if config.bf16 else "float32"
    train(nets, [fit], TrainPlan(seed=seeds.noise, run=run, name=name, precision=precision))


# ---- re-ranking -----------------------------------------------------------------------------------------------------
ASK = "Activity: {text}\nIndustry:"


@dataclass(frozen=True)
class Reranker:
    """The top classes of ``base``, weighed again by how likely the LM finds their titles: log p + beta * score.

    The score of a title is its log-likelihood after the text minus ``gamma`` times that after no text, which takes back
    what the LM finds likely anywhere. Classes below the top keep their order and their mass.
    """

    base: Model
    lm: _Lm
    titles: tuple[str, ...]
    top: int
    bf16: bool
    beta: float = 0.0
    gamma: float = 0.0
    kept: dict[str, np.ndarray] = field(default_factory=dict)  # text -> scores of its top titles, for the tuning

    def answer(self, texts: Sequence[str], vectors: Vectors) -> tuple[np.ndarray, None]:
        """See :class:`parts.Part`."""
        p = self.base.proba(texts, vectors)
        best = ranked(p, self.top)
        score = self.scores(texts, best)
        prior = self.prior()[best]
        old = np.take_along_axis(p, best, 1)
        z = np.log(np.maximum(old, 1e-12)) + self.beta * (score - self.gamma * prior)
        new = np.exp(z - z.max(1, keepdims=True))
        out = p.copy()
        np.put_along_axis(
            out, best, (new / new.sum(1, keepdims=True) * old.sum(1, keepdims=True)).astype(np.float32), 1
        )
        return out, None

    def prior(self) -> np.ndarray:
        """[K] log-likelihood of every title after an empty text."""
        if "" not in self.kept:
            self.kept[""] = _likelihoods(self.lm, [("", t) for t in self.titles], self.bf16)
        return self.kept[""]

    def scores(self, texts: Sequence[str], best: np.ndarray) -> np.ndarray:
        """[n, top] log-likelihoods of the titles of the top classes."""
        missing = [i for i, t in enumerate(texts) if t not in self.kept]
        found = _likelihoods(self.lm, [(texts[i], self.titles[c]) for i in missing for c in best[i]], self.bf16)
        self.kept.update(zip([texts[i] for i in missing], found.reshape(len(missing), best.shape[1])))
        return np.stack([self.kept[t] for t in texts])


def _pair(lm: _Lm, text: str, title: str) -> tuple[list[int], int]:
    """Tokens of the question and the title, and how many are the title's."""
    ask, answer = lm.tokens([ASK.format(text=normalise(text)), " " + title], special=False)
    return ask + answer, len(answer)


def _likelihoods(lm: _Lm, pairs: Sequence[tuple[str, str]], bf16: bool) -> np.ndarray:
    import torch

    cut = [_pair(lm, *pair) for pair in pairs]
    out = np.zeros(len(pairs), np.float32)
    lm.net.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for batch in batches([ids for ids, _ in cut], lm.padding, 2048, 64):
            ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
            logits, wanted, owner = _title_logits(lm.net, ids, mask, [cut[i][1] for i in batch.rows])
            each = -torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
            np.add.at(out, batch.rows[owner], each.numpy())
    return out


def _title_logits(net: Any, ids: Any, mask: Any, counts: Sequence[int]) -> tuple[Any, Any, np.ndarray]:
    """Logits [t, V] at the places that predict a title token, the tokens [t], and the row [t] each belongs to."""
    import torch

    causal = net.get_base_model()  # the adapters sit inside it
    hidden = causal.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    ends = mask.sum(1).tolist()
    rows = np.repeat(np.arange(len(ends)), counts)
    places = np.concatenate([np.arange(e - c - 1, e - 1) for e, c in zip(ends, counts)])
    at = (torch.from_numpy(rows), torch.from_numpy(places))
    return causal.get_output_embeddings()(hidden[at]), ids[at[0], at[1] + 1], rows


def reranker(
    pack: Pack,
    fold: Fold,
    base: Model,
    config: Lora,
    seeds: Seeds,
    *,
    top: int = 10,
    limit: int = 0,
    run: Run | None = None,
) -> Reranker:
    """Teach the LM to name the title of a text (``limit`` texts of train, 0 = all), then weigh its word on dev."""

    lm = _adapted(pack, config, seeds, head=True)
    rows = some(fold.train, limit, seeds)
    pairs = [_pair(lm, text, fold.titles[c]) for text, c in zip(rows.texts, rows.classes)]

    def collate(i: Any) -> dict[str, Any]:
        ids, mask = _padded(lm, [pairs[j][0] for j in i])
        return {"ids": ids, "mask": mask, "counts": [pairs[j][1] for j in i]}

    def losses(nets: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Loss]:
        logits, wanted, _ = _title_logits(nets["lm"], batch["ids"], batch["mask"], batch["counts"])
        return {"ce": cross_entropy(logits, wanted)}

    _fit({"lm": lm.net}, losses, collate, [ids for ids, _ in pairs], config, seeds, run, "rerank")
    return _weighed(Reranker(base, lm, fold.titles, top, config.bf16), fold)


def _weighed(model: Reranker, fold: Fold) -> Reranker:
    """beta and gamma that rank dev best; beta = 0, which leaves the base alone, is one of the choices."""
    best, chosen = -1.0, model
    for beta in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8):
        for gamma in (0.0, 0.5, 1.0) if beta else (0.0,):
            tried = replace(model, beta=beta, gamma=gamma)
            score = reciprocal_rank(tried.answer(fold.dev.texts, fold.vectors)[0], fold.dev.gold, fold.dev_weight)
            if score > best:
                best, chosen = score, tried
    return chosen
