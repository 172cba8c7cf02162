"""Task: data in splits, how an example is asked, and how the answers are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Example:
    """One item: an input, its acceptable answers, and the group that intervals resample."""

    id: str
    input: Any
    gold: frozenset[str]
    group: str
    meta: Mapping[str, str] = field(default_factory=dict)  # system, language, source, licence


class Task(Protocol):
    """Data with a score. ``digest`` covers ids, inputs and golds of every split, so equal digests mean equal tests."""

    name: str
    options: Mapping[str, Any]  # what the system needs to make this Task again
    splits: Mapping[str, Sequence[Example]]  # train, dev, test

    @property
    def digest(self) -> str:
        """SHA-256 over ids, inputs and golds."""
        ...

    def ask(self, example: Example) -> Any:
        """The model input of an example."""
        ...

    def score(self, examples: Sequence[Example], answers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        """``{metric: {value, low, high, n}}``, 95 % intervals over groups; answers as the kind's ``predict`` gives."""
        ...
