"""A scorer whose answers follow from the text alone, and small files of questions."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Likely:
    logprob: float
    greedy: bool
    tokens: int


class Stopped(Exception):
    """What a test throws into the middle of a run."""


@dataclass
class FakeScorer:
    """Log-likelihoods by checksum, texts by table; counts what it was asked, and may break off."""

    runtime: dict[str, str] = field(default_factory=lambda: {"library": "fake", "version": "1"})
    weights_bytes: int = 0
    asked: int = 0
    breaks_after: int | None = None
    says: dict[str, str] = field(default_factory=dict)

    def _count(self) -> None:
        if self.breaks_after is not None and self.asked >= self.breaks_after:
            raise Stopped
        self.asked += 1

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likely]:
        out = []
        for prompt, continuation in pairs:
            self._count()
            noise = zlib.crc32(f"{prompt}|{continuation}".encode()) % 1000
            out.append(Likely(-0.01 * noise - 0.1 * len(continuation), noise < 200, len(continuation.split())))
        return out

    def generate(
        self, prompts: Sequence[str], new: int, temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[str, int, int, str]]:
        out = []
        for prompt in prompts:
            self._count()
            text = next((t for part, t in self.says.items() if part in prompt), " 0\n")
            out.append((text[: 4 * new], len(prompt), new, "length"))
        return out


def choice_rows(n: int = 40) -> list[dict[str, Any]]:
    words = ["oak", "hazel wood", "a hawthorn hedge", "ash"]
    asked = ((f"q{i}", f"Question: what grows in field {i}?\nAnswer:", words[: 2 + i % 3], i % 2) for i in range(n))
    return [dict(zip(("id", "context", "choices", "gold"), row, strict=True)) for row in asked]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
