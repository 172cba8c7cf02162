"""A small adversarial training with everything that has state: dropout, shuffling, accumulation, uneven batches, two
optimisers, clipping, schedules, validation, a moving average, batch normalisation, generators of its own.

``python train_toy.py ROOT OUT [--pause N]`` runs it in a process of its own: final weights go to OUT as safetensors;
with ``--pause N`` it writes ROOT/paused inside the N-th call of the first objective and waits until that file is gone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.objectives import Loss, Objective, cross_entropy, feature_mse
from hedgerow.run import Run, open_run, seeds, set_threads
from hedgerow.train import Optimiser, Phase, Schedule, Shuffled, Trained, TrainPlan, Validation, train

COUNT, WIDTH, CLASSES = 23, 6, 4  # 23 examples in batches of 5: the last batch of an epoch has 3
STEPS = 14


class Average(nn.Module):
    """A moving average of another net: a pool, changed without an optimiser."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.cat([p.detach().flatten() for p in of.parameters()]), requires_grad=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def follow(self, of: nn.Module) -> None:
        now = torch.cat([p.detach().flatten() for p in of.parameters()])
        self.mean.mul_(0.9).add_(now, alpha=0.1)
        self.calls += 1


def nets(seed: int) -> dict[str, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seeds(seed).init)
        body = nn.Sequential(
            nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, CLASSES)
        )
        rival = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2))
        return {"body": body, "rival": rival, "average": Average(body)}


def data(seed: int) -> tuple[Tensor, Tensor]:
    rng = seeds(seed).generator("data")
    inputs = torch.from_numpy(rng.normal(size=(COUNT, WIDTH))).float()
    return inputs, torch.from_numpy(rng.integers(0, CLASSES, COUNT))


class Pause:
    """Stop in the N-th call, until somebody kills the process or removes the file."""

    def __init__(self, at: int | None, root: Path) -> None:
        self.at, self.root, self.calls = at, root, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            (self.root / "paused").touch()
            while (self.root / "paused").exists():
                time.sleep(0.02)


def run_toy(root: Path, seed: int = 3, pause: int | None = None, save_seconds: float = 0.0) -> Trained:
    made, (inputs, labels) = nets(seed), data(seed)
    noise, smear = seeds(seed).generator("noise"), torch.Generator().manual_seed(seeds(seed).named("smear"))
    wait = Pause(pause, root)

    def collate(indices: np.ndarray) -> dict[str, Tensor]:
        shaken = inputs[indices] + torch.from_numpy(noise.normal(size=(len(indices), WIDTH)) * 0.1).float()
        return {"inputs": shaken, "labels": labels[indices]}

    def fit(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        wait()
        nets["average"].follow(nets["body"])
        shift = nets["rival"](batch["inputs"]) + 0.1 * torch.randn(batch["inputs"].shape, generator=smear)
        return {"ce": cross_entropy(nets["body"](batch["inputs"] + shift), batch["labels"], smoothing=0.1)}

    def attack(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        shift = nets["rival"](batch["inputs"])
        fooled = cross_entropy(nets["body"](batch["inputs"] + shift), batch["labels"])
        return {"fooled": fooled, "small": feature_mse(shift, torch.zeros_like(shift))}

    def score(nets: dict[str, nn.Module]) -> float:
        return -float(cross_entropy(nets["body"](inputs), labels).mean)

    phases = [
        Phase(
            "fit",
            Objective(fit, in_batch=True),
            Shuffled(COUNT, 5, seeds(seed).order, collate),
            ("body",),
            steps=2,
            optimiser=Optimiser(lr=0.02, options={"weight_decay": 0.05}),
            schedule=Schedule(shape="cosine", warmup=0.2),
            accumulate=3,
            clip=1.0,
        ),
        Phase(
            "attack",
            Objective(attack, {"fooled": -1.0}, in_batch=True),
            Shuffled(COUNT, 7, seeds(seed).named("order/attack"), collate),
            ("rival",),
            steps=1,
            optimiser=Optimiser(name="SGD", lr=0.1, options={"momentum": 0.9}),
        ),
    ]
    run: Run = open_run(root / "runs", "toy", {"steps": STEPS}, seed)
    plan = TrainPlan(
        seed=seed,
        rounds=STEPS,
        run=run,
        validation=Validation(score, every=4, patience=30),
        save_seconds=save_seconds,
        log_every=1,
        pools=("average",),
        generators={"noise": noise, "smear": smear},
    )
    return train(made, phases, plan)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pause", type=int)
    parser.add_argument("--save-seconds", type=float, default=0.0)
    given = parser.parse_args()
    set_threads(1)
    trained = run_toy(given.root, pause=given.pause, save_seconds=given.save_seconds)
    from safetensors.torch import save_file

    tensors = {
        f"{net}/{key}": value for net, module in trained.nets.items() for key, value in module.state_dict().items()
    }
    save_file({key: value.contiguous() for key, value in tensors.items()}, given.out)
    (given.root / "history.json").write_text(repr((trained.history, trained.best, trained.best_step, trained.step)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
