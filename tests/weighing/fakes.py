"""A kind of Pack that needs no runtime, whose engine takes as long as the test says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hedgerow import kinds, pack
from hedgerow.kinds.base import Flops, Phase, Unit
from hedgerow.task import Example


@dataclass
class Clock:
    """A clock that only moves when told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


UNIT = Unit(
    name="word",
    sizes=({"words": 1}, {"words": 4}, {"words": 16}),
    make=lambda size, seed: f"{seed} " * size["words"],
    bytes_in=lambda size: 2 * size["words"],
    bytes_out=lambda size: 8,
)


@dataclass
class FakeEngine:
    variant: str = "numpy"
    wait: Callable[[str, int], None] = lambda phase, units: None
    runtime: dict[str, str] = field(default_factory=lambda: {"library": "fake", "version": "1"})
    weights_bytes: int = 40

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        # the number is the input's length; the int8 form is wrong on every fifth
        return [{"answer": str(n - 1 if self.variant == "numpy-int8" and n % 5 == 0 else n)} for n in map(len, inputs)]

    def phases(self, inputs: Sequence[Any], size: Mapping[str, int]) -> list[Phase]:
        n = len(inputs) * size["words"]
        return [
            Phase("prefill", n, lambda: self.wait("prefill", n)),
            Phase("decode", len(inputs), lambda: self.wait("decode", len(inputs))),
        ]

    def flops(self, phase: str, size: Mapping[str, int], batch: int) -> Flops | None:
        return Flops(2.0 * size["words"] * batch, "all") if phase == "prefill" else None


@dataclass
class FakeKind:
    name: str = "fake"
    summary: str = "a fake"
    unit: Unit = UNIT
    schema: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)

    def check(self, pack: pack.Pack) -> None:
        pass

    def variants(self, pack: pack.Pack) -> tuple[str, ...]:
        return ("numpy", "numpy-int8")

    def disk_bytes(self, pack: pack.Pack, variant: str) -> int:
        return 1000 if variant == "numpy" else 250

    def load(self, pack: pack.Pack, variant: str, threads: int) -> FakeEngine:
        return FakeEngine(variant)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``fake`` a kind for the length of a test."""
    module = ModuleType("hedgerow_fake_kind")
    module.KIND = FakeKind()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hedgerow_fake_kind", module)
    monkeypatch.setitem(kinds.KINDS, "fake", "hedgerow_fake_kind")


def make_pack(path: Path, name: str = "fake one", number: float = 0.0) -> pack.Pack:
    with pack.create(path, pack.Info(name=name, kind="fake")) as folder:
        pack.write_arrays(folder / "weights.safetensors", {"w": np.full(3, number)})
    return pack.open_pack(path)


class FakeTask:
    """Say how long the input is; accuracy, and a score that is no mean over examples."""

    name = "lengths"
    options: Mapping[str, Any] = {}

    def __init__(self, n: int = 40, digest: str = "ab" * 32) -> None:
        self.digest = digest
        test = [Example(str(i), "x" * i, frozenset([str(i)]), group=str(i // 4)) for i in range(n)]
        self.splits: Mapping[str, Sequence[Example]] = {"test": test, "dev": []}

    def ask(self, example: Example) -> Any:
        return example.input

    def score(self, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        hits = [a["answer"] in e.gold for e, a in zip(examples, answers, strict=True)]
        share = sum(hits) / len(hits)
        return {
            "accuracy": {"value": share, "low": share - 0.1, "high": share + 0.1, "n": len(hits)},
            "squared": {"value": share**2, "low": 0.0, "high": 1.0, "n": len(hits)},
        }
