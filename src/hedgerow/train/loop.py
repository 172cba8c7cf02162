"""The loop itself. Where it stands is one integer, the number of optimiser steps done; all else follows from it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from hedgerow.errors import HedgerowError
from hedgerow.objectives import Batch, Nets
from hedgerow.run import Seeds, interrupts, progress
from hedgerow.train import checkpoint
from hedgerow.train.crew import Crew, crew, sum_gradients
from hedgerow.train.plan import Phase, Trained, TrainPlan, check, identity, refuse_in_batch, whose_turn

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter


def train(nets: Nets, phases: Sequence[Phase], plan: TrainPlan) -> Trained:
    """Run the phases in turn. A run that was killed and is called again ends with the same bits as one that was not.

    Raises HedgerowError for a loss that is not finite (the weights are then still those of the step before), for a
    plan that does not fit its nets or its checkpoint, and for an in-batch objective in several processes. Ctrl-C
    finishes the step, saves, and raises KeyboardInterrupt with one line that says how to go on; a second one does not
    wait. Processes that ``torchrun`` started train together and equal one.
    """
    import torch

    with interrupts(plan.run is not None) as interrupted:
        loop = _Loop(nets, phases, plan, interrupted)
        with torch.random.fork_rng(devices=[loop.device] if loop.device.type == "cuda" else []):
            loop.start()
            quiet = plan.quiet or loop.crew.rank > 0 or (plan.run is not None and plan.run.quiet)
            with progress(plan.name, loop.total, quiet) as tick:
                tick(loop.at.step)
                while not loop.finished:
                    phase, local = whose_turn(phases, loop.at.step)
                    row = loop.take_step(phase, local)
                    loop.record({"phase": phase.name, **row})
                    loop.validate()
                    tick(1, loss=row["loss"], lr=row["lr"])
                    if loop.save_due or loop.stop_asked or loop.finished:
                        loop.save()
                    if loop.stop_asked:
                        where = f"{plan.name}: stopped after step {loop.at.step} of {loop.total}"
                        raise KeyboardInterrupt(f"{where}, and saved; the same command goes on from there")
    return loop.result()


class _Loop:
    """What the loop holds between two steps, and what it does in one."""

    def __init__(self, nets: Nets, phases: Sequence[Phase], plan: TrainPlan, interrupted: Callable[[], bool]) -> None:
        check(nets, phases, plan)
        self.nets, self.phases, self.plan, self.interrupted = nets, phases, plan, interrupted
        self.optimisers = {p.name: p.optimiser.make({name: nets[name] for name in p.trains}) for p in phases}
        self.device: torch.device = self._parameters(phases[0])[0].device
        self.crew: Crew = crew(self.device.type)
        refuse_in_batch(phases, self.crew.size)
        self.moving = checkpoint.moving(nets, {name for p in phases for name in p.trains}, set(plan.pools))
        self.names: dict[str, list[str]] = {}  # of each phase's losses, when several processes must agree on them
        self.total = plan.rounds * sum(phase.steps for phase in phases)
        self.at = checkpoint.Standing()
        self.best: dict[str, Tensor] = {}
        self.stop_asked = self.save_due = False
        self.began = self.saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether all steps are done, or enough validations brought nothing better."""
        rule = self.plan.validation
        patient = rule is None or rule.patience is None or self.at.worse < rule.patience
        return self.at.step >= self.total or not patient

    # ---- one step --------------------------------------------------------------------------------------------------

    def take_step(self, phase: Phase, local: int) -> dict[str, float]:
        """One optimiser step: accumulate, sum over the processes, divide by the count, clip, update."""
        from torch.nn.utils import clip_grad_norm_

        optimiser, parameters = self.optimisers[phase.name], self._parameters(phase)
        for name, net in self.nets.items():
            net.train(name in phase.trains)
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * phase.schedule(local, phase.steps * self.plan.rounds)
        optimiser.zero_grad(set_to_none=True)
        sums = self._agree(phase, parameters, self._accumulate(phase, local, parameters))
        count = sums.pop("count")
        row = {name: value / (count or 1.0) for name, value in sums.items()}
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= count or 1.0
        row["gradient_norm"] = float(clip_grad_norm_(parameters, math.inf if phase.clip is None else phase.clip))
        self._check_finite(phase, row)
        if count:  # a step whose selection was empty moves nothing, not even by weight decay or momentum
            optimiser.step()
        return {**row, "lr": optimiser.param_groups[0]["lr"]}

    def _accumulate(self, phase: Phase, local: int, parameters: list[Parameter]) -> dict[str, Tensor]:
        """Add up the gradients of ``count * loss``; returns the sums of the counts and of ``count * term``."""
        import torch

        sums: dict[str, Tensor] = {}
        for number in range(local * phase.accumulate, (local + 1) * phase.accumulate):
            share = phase.batches.indices(number)[self.crew.rank :: self.crew.size]
            if len(share) == 0:  # the last batch of an epoch may be smaller than the crew
                continue
            batch = _on(self.device, phase.batches.collate(share))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.precision == "bfloat16"):
                terms = phase.objective(self.nets, batch)
            if not terms["loss"].requires_grad:
                raise HedgerowError(f"phase '{phase.name}': the loss does not depend on {', '.join(phase.trains)}")
            count = terms.pop("count")
            torch.autograd.backward(terms["loss"] * count, inputs=parameters)  # nobody else's gradients are touched
            for name, value in {"count": count, **{k: v.detach() * count for k, v in terms.items()}}.items():
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def _agree(self, phase: Phase, parameters: list[Parameter], sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Sum gradients and ``sums`` over the processes, which thereby also agree on whether to stop and to save."""
        due = time.monotonic() - self.saved >= self.plan.save_seconds
        if phase.name not in self.names:  # the first process has a share of every batch, so it knows all names
            self.names[phase.name] = self.crew.first(sorted(sums))
        names = self.names[phase.name]
        local = [float(self.interrupted()), float(due and self.crew.rank == 0), *(float(sums.get(n, 0)) for n in names)]
        stop, save, *totals = sum_gradients(self.crew, parameters, local)
        self.stop_asked, self.save_due = stop > 0, save > 0
        return dict(zip(names, totals, strict=True))

    def _parameters(self, phase: Phase) -> list[Parameter]:
        return [p for group in self.optimisers[phase.name].param_groups for p in group["params"]]

    def _check_finite(self, phase: Phase, row: Mapping[str, float]) -> None:
        if all(math.isfinite(value) for value in row.values()):
            return
        values = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        raise HedgerowError(
            f"phase '{phase.name}', step {self.at.step + 1}: not a finite number ({values}); "
            "try a lower learning rate or a clip, and look at the data of this batch"
        )

    def record(self, row: Mapping[str, Any]) -> None:
        """Count the step, and write it down when its turn has come."""
        self.at.step += 1
        if self.at.step % self.plan.log_every == 0 or self.at.step == self.total:
            self._log({"step": self.at.step, **row})

    def _log(self, row: dict[str, Any]) -> None:
        self.at.history.append(row)
        if self.plan.run is not None and self.crew.rank == 0:
            self.plan.run.event("train", name=self.plan.name, **row)

    def validate(self) -> None:
        """Score the nets when it is time, and keep their weights if nothing was better before."""
        import torch

        rule = self.plan.validation
        if rule is None or (self.at.step % rule.every and self.at.step != self.total):
            return
        for net in self.nets.values():
            net.eval()
        with torch.no_grad():
            score = float(self.crew.first(rule.score(self.nets)))
        if not math.isfinite(score):
            raise HedgerowError(f"the validation after step {self.at.step} gave {score}, which is no score")
        self._log({"step": self.at.step, "validation": score})
        if self.at.best is None or (score > self.at.best if rule.higher else score < self.at.best):
            self.best = checkpoint.snapshot(self.moving)
            self.at.best, self.at.best_step, self.at.worse = score, self.at.step, 0
        else:
            self.at.worse += 1

    # ---- saving and going on ---------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of everything that moves; of a finished training, all but the optimisers' states."""
        self.saved = time.monotonic()
        if self.plan.run is None:
            return
        streams = self.crew.all(checkpoint.random_streams(self.device, self.plan.generators))
        if self.crew.rank > 0:
            return
        tensors = {f"net/{k}": v for k, v in self.moving.items()} | {f"best/{k}": v for k, v in self.best.items()}
        values: dict[str, dict[str, Any]] = {}
        for name, optimiser in self.optimisers.items():
            states, values[name] = ({}, {}) if self.finished else checkpoint.optimiser_state(optimiser)
            tensors |= {f"optimiser/{name}/{key}": value for key, value in states.items()}
        at = {**asdict(self.at), "seconds": self._seconds()}
        plan = identity(self.phases, self.plan, self.crew.size)
        facts = {"plan": plan, "at": at, "optimisers": values, "streams": streams}
        checkpoint.save(checkpoint.folder(self.plan.run, self.plan.name), self.at.step, tensors, facts)

    def start(self) -> None:
        """Begin the random stream, or go on from the newest checkpoint, if there is one."""
        import torch

        torch.manual_seed(Seeds(self.plan.seed).named("noise" if self.crew.rank == 0 else f"noise/{self.crew.rank}"))
        run = self.plan.run
        found = None if run is None else checkpoint.load(checkpoint.folder(run, self.plan.name))
        if found is None:
            return
        tensors, facts = found
        checkpoint.same_plan(facts["plan"], identity(self.phases, self.plan, self.crew.size), self.plan.name)
        checkpoint.put_back(checkpoint.under("net/", tensors), self.moving)
        for name, optimiser in self.optimisers.items():
            states = checkpoint.under(f"optimiser/{name}/", tensors)
            checkpoint.restore_optimiser(optimiser, states, facts["optimisers"][name])
        self.best = {name: value.to(self.device) for name, value in checkpoint.under("best/", tensors).items()}
        checkpoint.restore_streams(self.device, self.plan.generators, facts["streams"][self.crew.rank])
        self.at = checkpoint.Standing(**facts["at"])

    def result(self) -> Trained:
        """The best weights, if there was a validation, and the story."""
        if self.best:
            checkpoint.put_back(self.best, self.moving)
        for net in self.nets.values():
            net.eval()
        stopped: Literal["finished", "early"] = "finished" if self.at.step >= self.total else "early"
        history, best, best_step = self.at.history, self.at.best, self.at.best_step
        return Trained(self.nets, self.at.step, stopped, history, best, best_step, self._seconds())

    def _seconds(self) -> float:
        return self.at.seconds + time.monotonic() - self.began


def _on(device: torch.device, batch: Batch) -> Batch:
    import torch

    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
