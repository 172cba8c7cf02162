"""A small U-Net: dense answers at the resolution of the image (Ronneberger et al. 2015, arXiv 1505.04597)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3×3 convolutions, each with group normalisation and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(1, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(1, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, H, W] -> [n, width, H, W]."""
        y: Tensor = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).relu()
        return y


class UNet(nn.Module):
    """``depth`` halvings and doublings; level i has ``width · 2^i`` channels; H and W divisible by ``2^depth``."""

    def __init__(self, channels: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(Block(a, b) for a, b in zip([channels, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.merge = nn.ModuleList(Block(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[n, channels, H, W] -> [n, classes, H, W] logits."""
        x, kept = images, []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([kept[level], self.up[level](x)], dim=1))
        logits: Tensor = self.head(x)
        return logits
