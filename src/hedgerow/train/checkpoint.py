"""Checkpoints: everything that moves while training, as safetensors and JSON, in a folder that is whole or absent.

::

    checkpoint-00000040/state.safetensors   nets, the best weights so far, optimiser states, random streams
    checkpoint-00000040/state.json          step, history, early stopping, generators, and the plan they belong to
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.run import Run

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer

FORMAT = 1
Generators = Mapping[str, "np.random.Generator | torch.Generator"]


@dataclass
class Standing:
    """Where training stands: the part of its state that is plain numbers."""

    step: int = 0  # optimiser steps done, over all phases; phase, turn and place in the data follow from it
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None  # validation score of the best weights
    best_step: int = 0
    worse: int = 0  # validations since then


def moving(nets: Mapping[str, Module], trained: set[str], pools: set[str]) -> dict[str, Tensor]:
    """Every tensor that training changes, by 'net/name': trained parameters and buffers, and all of a pool."""
    found: dict[str, Tensor] = {}
    for name in sorted(trained | pools):
        for key, parameter in nets[name].named_parameters():
            if name in pools or parameter.requires_grad:
                found[f"{name}/{key}"] = parameter
        for key, buffer in nets[name].named_buffers():
            found[f"{name}/{key}"] = buffer
    return found


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def put_back(values: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copy ``values`` into the living tensors of the same names; HedgerowError where names or shapes differ."""
    import torch

    different = sorted(set(values) ^ set(into))
    if different:
        raise HedgerowError(f"the checkpoint does not fit these nets: '{different[0]}' is only in one of them")
    with torch.no_grad():
        for name, tensor in into.items():
            if tensor.shape != values[name].shape:
                shapes = f"{tuple(values[name].shape)}, the net's {tuple(tensor.shape)}"
                raise HedgerowError(f"the checkpoint does not fit these nets: '{name}' is {shapes}")
            tensor.copy_(values[name])


def optimiser_state(optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of an optimiser as named tensors and plain values, by 'index/name'."""
    import torch

    tensors, values = {}, {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}/{key}"] = value
            else:
                values[f"{index}/{key}"] = value
    return tensors, values


def restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """The reverse of :func:`optimiser_state`; rates and options stay those of the plan."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **values}.items():
        index, key = name.split("/", 1)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def random_streams(device: torch.device, generators: Generators) -> dict[str, Any]:
    """The state of torch's own stream on this process and of every named generator; bytes as lists of integers."""
    import torch

    streams: dict[str, Any] = {"torch": torch.get_rng_state().tolist()}
    if device.type == "cuda":
        streams["cuda"] = torch.cuda.get_rng_state(device).tolist()
    for name, generator in generators.items():
        if isinstance(generator, np.random.Generator):
            streams[f"own/{name}"] = generator.bit_generator.state
        else:
            streams[f"own/{name}"] = generator.get_state().tolist()
    return streams


def restore_streams(device: torch.device, generators: Generators, streams: Mapping[str, Any]) -> None:
    """The reverse of :func:`random_streams`."""
    import torch

    torch.set_rng_state(torch.tensor(streams["torch"], dtype=torch.uint8))
    if device.type == "cuda":
        torch.cuda.set_rng_state(torch.tensor(streams["cuda"], dtype=torch.uint8), device)
    for name, generator in generators.items():
        state = streams[f"own/{name}"]
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = state
        else:
            generator.set_state(torch.tensor(state, dtype=torch.uint8))


def folder(run: Run, name: str) -> Path:
    """Where the checkpoints of one call of ``train`` in a run are kept."""
    return run.folder / "checkpoints" / name


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def same_plan(stored: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    """Raise HedgerowError, naming the first difference, when a checkpoint belongs to another plan."""
    for key in sorted(set(stored) | set(given)):
        if stored.get(key) != given.get(key):
            was, now = files.canonical(stored.get(key)), files.canonical(given.get(key))
            raise HedgerowError(
                f"the checkpoint of '{name}' belongs to another plan: {key} was {was}, now it is {now}; "
                "change that back, or remove the run's folder to start again"
            )


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write ``checkpoint-<step>`` whole or not at all, then remove the older ones."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / f"checkpoint-{step:08d}"
    with files.new_folder(path, replace=True) as new:
        try:
            save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, new / "state.safetensors")
        except SafetensorError as e:
            raise HedgerowError(f"cannot save {path}: {e}; nothing was left there") from e
        with open(new / "state.safetensors", "rb") as f:
            os.fsync(f.fileno())
        files.write_json(new / "state.json", {"format": FORMAT, **facts})
    for old in _all(folder):
        if old != path:
            shutil.rmtree(old)


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The tensors and facts of the newest checkpoint, None when there is none; what a killed save left is removed.

    Raises HedgerowError for a damaged one, and for one of another format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for unfinished in folder.glob(".checkpoint-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    found = _all(folder)
    if not found:
        return None
    facts = files.read_json(found[-1] / "state.json")
    if facts.get("format") != FORMAT:
        raise HedgerowError(f"{found[-1]} has format {facts.get('format')}, not {FORMAT}; remove it to start again")
    try:
        return load_file(found[-1] / "state.safetensors"), facts
    except (SafetensorError, OSError) as e:
        raise HedgerowError(f"{found[-1]} is damaged ({e}); remove it to start again") from e


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*"))
