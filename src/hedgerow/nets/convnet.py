"""A small convolutional classifier."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class ConvNet(nn.Module):
    """3×3 convolutions of stride 2, one for each width, each with group normalisation and ReLU; mean; linear head."""

    def __init__(self, channels: int, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        pairs = list(itertools.pairwise([channels, *widths]))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(1, b) for _, b in pairs)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """[n, channels, H, W] -> [n, classes] logits."""
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits
