"""The processes that train together: usually one; several when ``torchrun --nproc_per_node N`` started them.

The gradients of a step are sums, and so are the counts that they are means over. Both are summed over the processes,
then the gradients are divided by the total count: N processes equal one up to rounding, also where their shares of a
batch are uneven. (A data-parallel wrapper averages processes as equals, which is wrong for the last batch of an epoch
and for tokens.)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import Parameter


class Crew(Protocol):
    """Which process this is, and how it speaks with the others."""

    rank: int
    size: int

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum of the processes' tensors, the same in all of them."""
        ...

    def first(self, value: Any) -> Any:
        """The first process's value, in all of them."""
        ...

    def all(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank, in all of them."""
        ...


class Alone:
    """One process."""

    rank = 0
    size = 1

    def sum(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def first(self, value: Any) -> Any:
        """The value itself."""
        return value

    def all(self, value: Any) -> list[Any]:
        """The value alone."""
        return [value]


class Together:
    """Several processes, through Accelerate."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.size: int = accelerator.num_processes

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over the processes."""
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total

    def first(self, value: Any) -> Any:
        """The first process's value."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value], from_process=0)[0]

    def all(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank."""
        from accelerate.utils import gather_object

        return list(gather_object([value]))


def crew(device: str) -> Crew:
    """The crew of this process: alone unless a launcher such as ``torchrun`` started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Alone()
    from accelerate import Accelerator

    return Together(Accelerator(cpu=device == "cpu"))


def sum_gradients(crew: Crew, parameters: Sequence[Parameter], numbers: Sequence[float]) -> list[float]:
    """Sum gradients (in place, as one message) and ``numbers`` over the processes; returns the summed numbers.

    A parameter that no process has a gradient for keeps none, as in one process, so its optimiser leaves it alone.
    """
    import torch

    if crew.size == 1:
        return list(numbers)
    head = [*numbers, *(float(p.grad is not None) for p in parameters)]
    summed: list[float] = crew.sum(torch.tensor(head, dtype=torch.float64, device=parameters[0].device)).tolist()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    total = crew.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = torch.split(total, [gradient.numel() for gradient in gradients])
    for parameter, part, owners in zip(parameters, parts, summed[len(numbers) :], strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype) if owners else None
    return summed[: len(numbers)]
