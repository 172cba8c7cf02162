"""Optimisers by their torch names, and how their learning rate moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record

if TYPE_CHECKING:
    from torch.nn import Module
    from torch.optim import Optimizer

OPTIMISERS = ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta")


class Schedule(Record):
    """The factor on the learning rate at each optimiser step.

    A linear warm-up over the first ``warmup`` share of the steps, then from 1 down to ``floor``: not at all
    ('constant'), along a line, along half a cosine (Loshchilov & Hutter 2017), or as ``(1 - t)^power`` ('poly', Chen et
    al. 2018).
    """

    shape: Literal["constant", "linear", "cosine", "poly"] = "constant"
    warmup: float = Field(default=0.0, ge=0, lt=1, description="share of the steps")
    floor: float = Field(default=0.0, ge=0, le=1, description="factor at the end")
    power: float = Field(default=0.9, gt=0, description="of 'poly'")

    def __call__(self, step: int, total: int) -> float:
        """The factor in (0, 1] at ``step`` of ``total`` (0-based; at ``total`` itself, the end, it is ``floor``)."""
        warm = math.floor(self.warmup * total)
        if step < warm:
            return (step + 1) / (warm + 1)
        t = min(1.0, (step - warm) / max(1, total - warm))
        if self.shape == "constant":
            return 1.0
        falls = {"linear": 1 - t, "cosine": (1 + math.cos(math.pi * t)) / 2, "poly": math.pow(1 - t, self.power)}
        left = falls[self.shape]
        return self.floor + (1 - self.floor) * left


class Optimiser(Record):
    """An optimiser of ``torch.optim`` with its options, such as ``{"weight_decay": 0.01, "betas": [0.9, 0.98]}``."""

    name: str = "AdamW"
    lr: float = Field(default=1e-3, gt=0)
    lrs: dict[str, float] = Field(default={}, description="learning rates of single nets, by name")
    options: dict[str, Any] = {}

    def make(self, nets: Mapping[str, Module]) -> Optimizer:
        """The optimiser over the parameters of ``nets`` that require a gradient, one group per net.

        Raises HedgerowError for an unknown optimiser, option or net, and when nothing requires a gradient.
        """
        import torch

        if self.name not in OPTIMISERS:
            raise HedgerowError(f"no optimiser is called '{self.name}'{did_you_mean(self.name, OPTIMISERS)}")
        for name in self.lrs:
            if name not in nets:
                raise HedgerowError(f"lrs: no net of this phase is called '{name}'{did_you_mean(name, nets)}")
        groups = []
        for name, net in nets.items():
            parameters = [p for p in net.parameters() if p.requires_grad]
            if parameters:
                groups.append({"params": parameters, "lr": self.lrs.get(name, self.lr), "net": name})
        if not groups:
            raise HedgerowError(f"nothing to train in {', '.join(nets) or 'no net'}: no parameter requires a gradient")
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()}
        try:
            made: Optimizer = getattr(torch.optim, self.name)(groups, lr=self.lr, **options)
        except (TypeError, ValueError) as e:
            raise HedgerowError(f"optimiser {self.name}: {e}") from e
        for group in made.param_groups:
            group["base_lr"] = group["lr"]
        return made
