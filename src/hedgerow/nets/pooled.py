"""A transformer body and the one vector per text that is made from its last hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

POOLINGS = ("mean", "first", "last")


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """[n, T, d] hidden states and [n, T] mask -> [n, d] in float32.

    ``mean`` is sum_t m_t h_t / max(1, sum_t m_t) over the tokens that are there; ``first`` the state of the first token
    (CLS), ``last`` that of the last token that is there.
    """
    hidden = hidden.float()
    if pooling == "first":
        return hidden[:, 0]
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (mask * places).argmax(dim=1)
        return hidden[torch.arange(hidden.shape[0], device=mask.device), last]
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


class Pooled(nn.Module):
    """``body`` (a transformer that answers with ``last_hidden_state``), pooling, and L2 normalisation if asked for."""

    def __init__(self, body: nn.Module, pooling: str, normalise: bool) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, not '{pooling}'")
        self.body = body
        self.pooling = pooling
        self.normalise = normalise

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[n, T] token numbers and mask (1 = token, 0 = padding) -> [n, d] float32."""
        out: Any = self.body(input_ids=input_ids, attention_mask=attention_mask)
        vectors = pool(out.last_hidden_state, attention_mask, self.pooling)
        return nn.functional.normalize(vectors, dim=-1) if self.normalise else vectors
