"""One training in as many processes as the launcher started: ``[torchrun …] train_pair.py ROOT [--in-batch]
[--crash N]``. Each process writes ROOT/<rank>.json; --crash N raises in the N-th step of every process."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hedgerow.errors import HedgerowError
from hedgerow.objectives import Loss, Objective, feature_mse, token_cross_entropy
from hedgerow.run import open_run, set_threads
from hedgerow.train import Optimiser, Phase, Schedule, Shuffled, TrainPlan, Validation, train

COUNT, LENGTH, WIDTH, WORDS = 11, 6, 5, 7  # in batches of 5: the last one has 1 example, none for a second process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--in-batch", action="store_true")
    parser.add_argument("--crash", type=int, default=-1)
    given = parser.parse_args()
    set_threads(1)
    torch.manual_seed(0)
    nets = {"body": nn.Linear(WIDTH, WIDTH).double(), "head": nn.Linear(WIDTH, WORDS).double()}
    nets["head"].register_parameter("unused", nn.Parameter(torch.ones(2).double()))
    rng = np.random.default_rng(1)
    inputs = torch.tensor(rng.normal(size=(COUNT, LENGTH, WIDTH)))
    lengths = torch.tensor(rng.integers(1, LENGTH + 1, COUNT))  # uneven: a mean over tokens is no mean of means
    labels = torch.tensor(rng.integers(0, WORDS, (COUNT, LENGTH)))
    labels[torch.arange(LENGTH)[None, :] >= lengths[:, None]] = -100
    calls = 0

    def collate(indices: np.ndarray) -> dict[str, Tensor]:
        return {"inputs": inputs[indices], "labels": labels[indices]}

    def fit(nets: dict[str, nn.Module], batch: dict[str, Tensor]) -> dict[str, Loss]:
        nonlocal calls
        calls += 1
        if calls == given.crash:
            raise SystemExit(9)
        hidden = nets["body"](batch["inputs"])
        keep = batch["labels"] != -100
        return {
            "ce": token_cross_entropy(nets["head"](hidden), batch["labels"]),
            "small": feature_mse(hidden, torch.zeros_like(hidden), keep),
        }

    phase = Phase(
        "fit",
        Objective(fit, {"small": 0.1}, in_batch=given.in_batch),
        Shuffled(COUNT, 5, 2, collate),
        ("body", "head"),
        steps=9,
        optimiser=Optimiser(lr=0.05, options={"weight_decay": 0.1}),
        schedule=Schedule(shape="cosine"),
        accumulate=2,
        clip=0.5,
    )
    run = open_run(given.root / "runs", "pair", {}, 0)
    validation = Validation(lambda nets: float(nets["head"].weight.square().sum()), every=3, higher=False)
    plan = TrainPlan(run=run, log_every=1, save_seconds=0, validation=validation)
    trained = train(nets, [phase], plan)
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    weights = {f"{n}/{k}": v.tolist() for n, net in nets.items() for k, v in net.state_dict().items()}
    outcome = {"processes": processes, "weights": weights, "history": trained.history, "best": trained.best_step}
    (given.root / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    try:
        main()
    except HedgerowError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
