"""MiniLM trained end to end on coded texts, with the class titles as further rows (isic.md §7 A2).

The head is a cosine with one learned vector a class, which starts from the vector of the class's title: so a class that
train never shows keeps a sensible score, and the trunk's own geometry is the starting point. Loss: cross-entropy of
``scale * cos`` with label smoothing, plus a supervised contrastive term that keeps neighbours of one class together,
since the same vectors also serve retrieval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from hedgerow.errors import HedgerowError
from hedgerow.kinds import transformer
from hedgerow.kinds.encoder import EncoderModel, save_encoder
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import Member
from hedgerow.kinds.text_search import unit
from hedgerow.kinds.texts import Tokens, batches
from hedgerow.objectives import Loss, Objective, cross_entropy, supervised_contrastive
from hedgerow.pack import Info, Pack
from hedgerow.run import Run, Seeds
from hedgerow.schema import Record, check
from hedgerow.systems.isic.parts import Fold, Piece, Rows
from hedgerow.train import Optimiser, Phase, Schedule, Shuffled, TrainPlan, steps_for, train

if TYPE_CHECKING:
    from hedgerow.train import Batches


ADAMW = {"weight_decay": 0.01, "fused": True}  # fused: one pass over 23 million weights, a third of a step on a CPU


class FineTune(Record):
    """How the encoder is trained; the values are the prototype's (isic.md §7 A2) unless it is said otherwise."""

    epochs: float = Field(default=2, gt=0, description="passes over train, titles and coded texts; 4 in the prototype")
    lr: float = Field(default=5e-5, gt=0, description="of the encoder, AdamW")
    head_lr: float = Field(default=1e-3, gt=0, description="of the class vectors, which are few and start untrained")
    batch: int = Field(default=32, ge=2)
    scale: float = Field(default=20.0, gt=0, description="what cosines are multiplied with: 1 / temperature")
    smoothing: float = Field(default=0.05, ge=0, lt=1, description="labels are weak: concordances, not coders")
    contrast: float = Field(default=0.3, ge=0, description="weight of the supervised contrastive term")
    tau: float = Field(default=0.07, gt=0, description="its temperature (Khosla et al. 2020)")
    max_tokens: int = Field(default=48, ge=4, description="longer texts are cut while training; 99 % are shorter")
    bf16: bool = Field(default=True, description="autocast: half the time on CPUs with avx512_bf16")
    soup: int = Field(
        default=1, ge=1, le=16, description="trainings, unlike in order and noise alone, whose weights are averaged"
    )


@dataclass(frozen=True)
class Alike:
    """Shuffled batches of texts of like length: half the padding, so nearly half the time on a CPU.

    An epoch's order is cut into pools of ``pool`` batches; a pool is sorted by length and its batches are shuffled.
    """

    lengths: np.ndarray
    size: int
    seed: int
    inner: Batches
    pool: int = 24

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def indices(self, number: int) -> Any:
        """The examples of batch ``number``."""
        epoch, place = divmod(number, len(self))
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        out: list[np.ndarray] = []
        for start in range(0, len(order), self.pool * self.size):
            part = order[start : start + self.pool * self.size]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            cuts = [part[i : i + self.size] for i in range(0, len(part), self.size)]
            out += [cuts[i] for i in rng.permutation(len(cuts))]
        return out[place]

    def collate(self, indices: Any) -> Mapping[str, Any]:
        """As the inner batches do."""
        return self.inner.collate(indices)


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned encoder with its class vectors."""

    net: Any  # nets.pooled.Pooled
    tokens: Tokens
    padding: int
    weight: np.ndarray  # [K, d], rows of length 1
    scale: float
    bf16: bool

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors [n, d] float32 of length 1."""
        return _encode(self.net, self.tokens, self.padding, texts, self.bf16)

    def head(self, fold: Fold, trunk: str) -> Piece:
        """The learned class vectors as a member: softmax(scale * cos(h(x), w_c))."""
        arrays = {"W": self.weight * np.float32(self.scale), "b": np.zeros(len(self.weight), np.float32)}
        return Piece(Member("trunk-linear", {"unit": True}, arrays), fold.tree, trunk)

    def save(self, path: Path, info: Info, source: Pack) -> Pack:
        """The encoder as a trunk Pack, with the tokenizer and length of the Pack it started from."""
        model = _model(source)
        tokenizer = source.file("tokenizer.json").read_text(encoding="utf-8")
        return save_encoder(
            path, info, self.net.body, tokenizer, pooling=model.pooling, normalise=True, max_tokens=model.max_tokens
        )


def _model(pack: Pack) -> EncoderModel:
    model = check(EncoderModel, pack.json("model.json"), str(pack.path / "model.json"))
    if model.net != "transformer":
        raise HedgerowError(f"{pack.path} is a table of vectors; only a transformer can be fine-tuned")
    return model


def _encode(net: Any, tokens: Tokens, padding: int, texts: Sequence[str], bf16: bool) -> np.ndarray:
    import torch

    cut = tokens([normalise(t) for t in texts])
    out: np.ndarray | None = None
    was = net.training
    net.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for batch in batches(cut, padding, 1024, 128):
            rows = net(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)).float().numpy()
            out = np.zeros((len(texts), rows.shape[1]), np.float32) if out is None else out
            out[batch.rows] = rows
    net.train(was)
    return unit(out) if out is not None else np.zeros((0, 0), np.float32)


def finetune(trunk: Pack, fold: Fold, config: FineTune, seeds: Seeds, *, extra: bool, run: Run | None = None) -> Tuned:
    """Train the encoder of ``trunk`` on train (and the coded texts of other sources, with ``extra``) and the titles.

    With ``soup`` above 1 the mean of the weights of as many trainings, which start from the same ones: a model soup
    (Wortsman et al. 2022). It costs more to train, and nothing to use.
    """
    made = [_once(trunk, fold, config, seeds, extra, run)]
    for number in range(1, config.soup):
        other = Seeds(seeds.named(f"soup/{number}"))
        part = run and Run(run.folder / f"soup-{number}", run.system, run.config, other.seed, run.quiet)
        made.append(_once(trunk, fold, config, other, extra, part))
    return made[0] if len(made) == 1 else _averaged(made)


def _averaged(made: Sequence[Tuned]) -> Tuned:
    """One encoder and one row a class: means of the weights, the rows again of length 1."""
    states = [one.net.state_dict() for one in made]
    mean = {
        key: sum(state[key] for state in states) / len(states) if value.is_floating_point() else value
        for key, value in states[0].items()
    }
    made[0].net.load_state_dict(mean)
    return replace(made[0], weight=unit(np.stack([one.weight for one in made]).sum(axis=0)))


def _once(trunk: Pack, fold: Fold, config: FineTune, seeds: Seeds, extra: bool, run: Run | None) -> Tuned:
    import torch

    from hedgerow.nets.pooled import Pooled

    model = _model(trunk)
    body = transformer.load(model.config, trunk.file("weights.safetensors"), transformer.ENCODERS, head=False)
    net = Pooled(body, model.pooling, normalise=True)
    tokens = Tokens(trunk.file("tokenizer.json"), min(config.max_tokens, model.max_tokens), 1)
    rows = with_titles(fold, extra)
    classes = torch.nn.Linear(model.width, len(fold.tree), bias=False)
    with torch.no_grad():
        classes.weight.copy_(torch.from_numpy(_encode(net, tokens, model.padding, fold.titles, config.bf16)))
    cut = tokens([normalise(t) for t in rows.texts])
    labels = torch.from_numpy(rows.classes)

    def collate(indices: Any) -> dict[str, Any]:
        some = [cut[i] for i in indices]
        batch = next(batches(some, model.padding, 10**9, len(some)))
        back = np.argsort(batch.rows)
        return {
            "ids": torch.from_numpy(batch.ids[back]), "mask": torch.from_numpy(batch.mask[back]),
            "labels": labels[torch.as_tensor(indices)],
        }  # fmt: skip

    def losses(nets: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Loss]:
        h = nets["encoder"](batch["ids"], batch["mask"])
        logits = config.scale * h @ torch.nn.functional.normalize(nets["classes"].weight, dim=-1).T
        return {
            "ce": cross_entropy(logits, batch["labels"], config.smoothing),
            "contrast": supervised_contrastive(h, batch["labels"], config.tau),
        }

    shuffled = Shuffled(len(rows), config.batch, seeds.order, collate)
    data = Alike(np.array([len(c) for c in cut]), config.batch, seeds.order, shuffled)
    fit = Phase(
        "fit", Objective(losses, {"contrast": config.contrast}, in_batch=True), data, trains=("encoder", "classes"),
        steps=steps_for(config.epochs, data), clip=1.0, schedule=Schedule(shape="linear", warmup=0.05),
        optimiser=Optimiser(lr=config.lr, lrs={"classes": config.head_lr}, options=ADAMW),
    )  # fmt: skip
    precision: Literal["float32", "bfloat16"] = "bfloat16" if config.bf16 else "float32"
    train(
        {"encoder": net, "classes": classes},
        [fit],
        TrainPlan(seed=seeds.noise, run=run, name="finetune", precision=precision),
    )
    weight = unit(classes.weight.detach().numpy())
    full = Tokens(trunk.file("tokenizer.json"), model.max_tokens, 1)
    return Tuned(net.eval(), full, model.padding, weight, config.scale, config.bf16)


def with_titles(fold: Fold, extra: bool) -> Rows:
    """Training rows with one row a class title behind them."""
    return fold.rows(extra) + Rows(fold.titles, np.eye(len(fold.tree), dtype=bool))
