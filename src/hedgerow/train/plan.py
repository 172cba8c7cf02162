"""What a training is: its phases, its plan, and what comes out. Plain records, checked before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.objectives import Nets, Objective
from hedgerow.run import Run
from hedgerow.train.batches import Batches
from hedgerow.train.checkpoint import Generators
from hedgerow.train.schedules import Optimiser, Schedule


@dataclass(frozen=True)
class Phase:
    """``steps`` optimiser steps a turn that lower ``objective`` on ``batches`` by moving the nets in ``trains``.

    While it runs, those nets are in training mode and all others in evaluation mode. Each step adds up ``accumulate``
    batches; the gradient's norm is clipped to ``clip``.
    """

    name: str
    objective: Objective
    batches: Batches
    trains: tuple[str, ...]
    steps: int
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)  # over all of the phase's turns
    accumulate: int = 1
    clip: float | None = None


@dataclass(frozen=True)
class Validation:
    """``score(nets)`` after every ``every`` steps and after the last; the best weights are kept and returned.

    Training stops early when ``patience`` validations in a row brought nothing better (None: never).
    """

    score: Callable[[Nets], float]
    every: int
    patience: int | None = None
    higher: bool = True


@dataclass(frozen=True)
class TrainPlan:
    """How the phases are run. With a ``run`` there are checkpoints, and the same call resumes from the last one.

    ``pools`` names nets that change without an optimiser (replay pools, moving averages); ``generators`` the random
    streams that batches, objectives or the validation draw from. Both are part of every checkpoint.
    """

    seed: int = 0  # of the run; dropout gets the sub-seed 'noise'
    rounds: int = 1  # each round gives every phase one turn
    run: Run | None = None
    name: str = "train"  # tells the checkpoints of several calls in one run apart
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast, weights stay float32
    validation: Validation | None = None
    save_seconds: float = 120.0  # between checkpoints; 0 saves after every step
    log_every: int = 10  # steps
    pools: tuple[str, ...] = ()
    generators: Generators = field(default_factory=dict)
    quiet: bool = False


@dataclass(frozen=True)
class Trained:
    """What training gave; the nets themselves were changed in place and are in evaluation mode."""

    nets: Nets
    step: int
    stopped: Literal["finished", "early"]
    history: list[dict[str, Any]]  # one row every ``log_every`` steps, and one per validation
    best: float | None  # validation score of the weights that are now in the nets
    best_step: int
    seconds: float  # over all sessions


def whose_turn(phases: Sequence[Phase], step: int) -> tuple[Phase, int]:
    """The phase that takes the step of that number, and which of its own steps that is."""
    turns, place = divmod(step, sum(phase.steps for phase in phases))
    for phase in phases:
        if place < phase.steps:
            return phase, turns * phase.steps + place
        place -= phase.steps
    raise AssertionError("a place lies within its round")


def check(nets: Nets, phases: Sequence[Phase], plan: TrainPlan) -> None:
    """Raise HedgerowError where phases, plan and nets do not fit one another."""
    names = [phase.name for phase in phases]
    if not phases or len(set(names)) < len(names):
        raise HedgerowError(f"training needs phases with names of their own (got: {', '.join(names) or 'none'})")
    for where, wanted in [*((f"phase '{p.name}'", p.trains) for p in phases), ("pools", plan.pools)]:
        for name in wanted:
            if name not in nets:
                raise HedgerowError(f"{where}: no net is called '{name}'{did_you_mean(name, nets)}")
    every = [("rounds", plan.rounds), ("log_every", plan.log_every)]
    every += [(f"{p.name}.steps", p.steps) for p in phases] + [(f"{p.name}.accumulate", p.accumulate) for p in phases]
    every += [] if plan.validation is None else [("validation.every", plan.validation.every)]
    for what, value in every:
        if value < 1:
            raise HedgerowError(f"{what} must be at least 1 (got {value})")


def refuse_in_batch(phases: Sequence[Phase], processes: int) -> None:
    """Raise HedgerowError when an in-batch objective would be split over several processes."""
    for phase in phases:
        if processes > 1 and phase.objective.in_batch:
            raise HedgerowError(
                f"phase '{phase.name}': its objective depends on which examples share a batch, so {processes} "
                "processes would train something else than one; run it in one process"
            )


def identity(phases: Sequence[Phase], plan: TrainPlan, processes: int) -> dict[str, Any]:
    """What must not change between two sessions of one training, as JSON."""
    plain: dict[str, Any] = {name: getattr(plan, name) for name in ("seed", "rounds", "precision")}
    plain["processes"] = processes
    rule = plan.validation
    plain["validation"] = None if rule is None else [rule.every, rule.patience, rule.higher]
    for p in phases:
        first = [int(i) for i in p.batches.indices(0)[:16]]
        chosen: dict[str, Any] = {
            "steps": p.steps,
            "accumulate": p.accumulate,
            "clip": p.clip,
            "trains": list(p.trains),
        }
        chosen |= {"data": {"batches": len(p.batches), "first": first}}
        chosen |= {"optimiser": p.optimiser.model_dump(mode="json"), "schedule": p.schedule.model_dump(mode="json")}
        plain |= {f"{p.name}.{key}": value for key, value in chosen.items()}
    return plain
