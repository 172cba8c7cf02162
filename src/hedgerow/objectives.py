"""Every shared loss once: formula, shapes, source; and the Objective that a training phase minimises.

A loss gives a :class:`Loss`: a mean, and the **count** that it is a mean over (examples, tokens, or the sum of their
class weights). ``mean * count`` is a sum that adds up over micro-batches and over processes, so accumulated and
distributed gradients equal those of one large batch exactly, also where the parts have unequal counts. A selection
that is empty gives 0 with a gradient of 0, never NaN. Losses are computed in float32 at least, also under autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hedgerow.errors import HedgerowError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Nets = Mapping[str, "Module"]
Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Loss:
    """A scalar mean and the scalar count that it is a mean over."""

    mean: Tensor
    count: Tensor


@dataclass(frozen=True)
class Objective:
    """What a phase minimises: the sum of ``weights[name] * mean`` over the losses that ``losses(nets, batch)`` gives.

    ``weights``: 1.0 for a loss that is not named; 0.0 logs a loss without minimising it. ``in_batch`` says that two
    half batches are not one whole: the loss of an example depends on which others stand in its batch (contrastive
    losses, batch normalisation), or the losses are means over different counts (the first one's is then used). Then
    accumulation is a mean over micro-batches, and training in several processes is refused.

    Only frozen teachers may be closed over; everything that learns is in ``nets``.
    """

    losses: Callable[[Nets, Batch], Mapping[str, Loss]]
    weights: Mapping[str, float] = field(default_factory=dict)
    in_batch: bool = False

    def __call__(self, nets: Nets, batch: Batch) -> dict[str, Tensor]:
        """``{"loss", "count", every named term}``, all scalars.

        Raises HedgerowError when a weight names no loss, and when losses of different counts are called a mean over
        examples.
        """
        parts = dict(self.losses(nets, batch))
        for name in self.weights:
            if name not in parts:
                raise HedgerowError(f"a weight names the loss '{name}', which is not there{did_you_mean(name, parts)}")
        counts = [part.count.detach() for part in parts.values()]
        if not self.in_batch and any(bool(count != counts[0]) for count in counts[1:]):
            raise HedgerowError(
                f"the losses {', '.join(parts)} are means over different counts: declare the objective in_batch=True"
            )
        loss = sum(self.weights.get(name, 1.0) * part.mean for name, part in parts.items())
        return {"loss": loss, "count": counts[0], **{name: part.mean.detach() for name, part in parts.items()}}  # type: ignore[dict-item]


def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    ignore: int = -100,
) -> Loss:
    """Cross-entropy of ``logits`` [n, K] with integer ``labels`` [n]; rows labelled ``ignore`` do not count.

    With class weights w the mean is ``sum_i w[y_i] l_i / sum_i w[y_i]``. With smoothing s the target is
    ``(1 - s) onehot + s / K`` (Szegedy et al. 2016), each class's share weighted by w as in torch.
    """
    import torch
    from torch.nn.functional import cross_entropy as torch_cross_entropy

    logits = _precise(logits)
    weights = None if class_weights is None else class_weights.to(logits)
    total = torch_cross_entropy(
        logits, labels, weight=weights, ignore_index=ignore, label_smoothing=smoothing, reduction="sum"
    )
    kept = labels != ignore
    count = kept.sum().to(logits) if weights is None else torch.where(kept, weights[labels.clamp(min=0)], 0.0).sum()
    return _mean(total, count)


def token_cross_entropy(logits: Tensor, labels: Tensor, ignore: int = -100) -> Loss:
    """Mean cross-entropy over the tokens of ``logits`` [B, L, V] whose ``labels`` [B, L] are not ``ignore``.

    Shifting is the caller's: position l of the logits is scored against position l of the labels.
    """
    return cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore=ignore)


def kl_on_logits(student: Tensor, teacher: Tensor, temperature: float = 1.0, keep: Tensor | None = None) -> Loss:
    """``T² · mean over rows of KL(softmax(teacher/T) ‖ softmax(student/T))`` (Hinton, Vinyals, Dean 2015).

    Shapes [..., K], ``keep`` [...] a mask of the rows that count. T² keeps the size of the gradient while T changes.
    No gradient reaches the teacher.
    """
    from torch.nn.functional import kl_div, log_softmax

    wanted = log_softmax(_kept(teacher.detach(), keep) / temperature, dim=-1)
    given = log_softmax(_kept(student, keep) / temperature, dim=-1)
    rows = kl_div(given, wanted, reduction="none", log_target=True).sum(-1)
    return _masked_mean(rows * temperature**2, keep)


def feature_mse(student: Tensor, teacher: Tensor, keep: Tensor | None = None) -> Loss:
    """Mean over rows of the mean squared difference along the last axis; shapes [..., d], ``keep`` [...] a mask.

    No gradient reaches the teacher.
    """
    rows = (_kept(student, keep) - _kept(teacher.detach(), keep)).square().mean(-1)
    return _masked_mean(rows, keep)


def supervised_contrastive(vectors: Tensor, labels: Tensor, temperature: float = 0.07) -> Loss:
    """Supervised contrastive loss L_out (Khosla et al. 2020, eq. 2) of ``vectors`` [n, d] with ``labels`` [n].

    ``- 1/|P(i)| sum_{p in P(i)} log( exp(z_i·z_p/τ) / sum_{a != i} exp(z_i·z_a/τ) )``, with z normalised and P(i) the
    other rows of i's label, meant over the rows that have such a partner. It depends on the whole batch: an Objective
    that uses it is ``in_batch``.
    """
    import torch
    from torch.nn.functional import normalize

    z = normalize(_precise(vectors), dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    with torch.autocast(z.device.type, enabled=False):  # differences of cosines over 0.07 do not survive bfloat16
        similarity = (z @ z.T / temperature).masked_fill(itself, float("-inf"))
    log_share = (similarity - torch.logsumexp(similarity, dim=1, keepdim=True)).masked_fill(itself, 0.0)
    partners = (labels[:, None] == labels[None, :]) & ~itself
    count = partners.sum(1)
    rows = -torch.where(partners, log_share, 0.0).sum(1) / count.clamp(min=1)
    return _masked_mean(rows, count > 0)


def _precise(values: Tensor) -> Tensor:
    """float32, or float64 where it is that already."""
    import torch

    return values if values.dtype == torch.float64 else values.float()


def _kept(values: Tensor, keep: Tensor | None) -> Tensor:
    """``values`` [..., d] with rows of 0 where ``keep`` is false: NaN there would pass a later mask as a gradient."""
    import torch

    return _precise(values) if keep is None else torch.where(keep.bool()[..., None], _precise(values), 0.0)


def _masked_mean(rows: Tensor, keep: Tensor | None) -> Loss:
    """Mean of the rows where ``keep`` is true."""
    import torch

    if keep is None:
        keep = torch.ones_like(rows, dtype=torch.bool)
    return _mean(torch.where(keep.bool(), rows, 0.0).sum(), keep.sum().to(rows))


def _mean(total: Tensor, count: Tensor) -> Loss:
    import torch

    return Loss(total / torch.where(count > 0, count, torch.ones_like(count)), count)
