"""How far each job of each request has come, and why bytes are on their way: what a driver keeps of its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from hedgerow.placing.physics import Attempt, Key

INPUT = -1  # the "job" that a request's own input counts as


@dataclass
class JobState:
    """One job of one request."""

    status: str = "waiting"  # waiting, ready, placed, done
    attempts: dict[int, Attempt] = field(default_factory=dict)
    spent: float = 0.0  # slot seconds of the attempt that made the result
    delivered: bool = False  # a sink's answer is home


@dataclass(frozen=True)
class Errand:
    """Why bytes travel: input ``part`` of an attempt, or (no attempt) the answer of a job."""

    key: Key
    attempt: Attempt | None = None
    part: int = 0
