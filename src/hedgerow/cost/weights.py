"""What a file holds: its tensors, by the part of the network that they belong to and by the format of their elements.

Speed and size follow from this, never from "bits × parameters": one file mixes several formats (its name states one),
and rows that a format's block does not divide fall back to another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from hedgerow.schema import Record

Part = Literal["embedding", "head", "attention", "ffn", "other"]
PARTS: tuple[Part, ...] = ("embedding", "head", "attention", "ffn", "other")
MOST_ELEMENTS = 10**13


class Tensor(Record):
    """One array of a file; ``shape`` is rows first (a matrix of ``out`` rows of ``in`` elements), whatever the file."""

    name: str
    format: str  # q4_0, f16, bf16, … : the element type, in GGUF's spelling, small letters
    shape: tuple[Annotated[int, Field(ge=1)], ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def part(self) -> Part:
        """Where it works, told from its name in the layouts of GGUF and of transformers."""
        return part_of(self.name, len(self.shape))


class Weights(Record):
    """Elements by part and by format: all of a model's file that cost formulas need."""

    parts: dict[Part, dict[str, Annotated[int, Field(ge=0, le=MOST_ELEMENTS)]]]
    tied: bool = False  # the head is the embedding's matrix: stored once, read in full at each step

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Weights:
        """Summed from a tensor list; without a tensor of the head the embedding serves as head."""
        parts: dict[Part, dict[str, int]] = {}
        for tensor in tensors:
            held = parts.setdefault(tensor.part, {})
            held[tensor.format] = held.get(tensor.format, 0) + tensor.elements
        return cls(parts=parts, tied="head" not in parts)

    @property
    def mix(self) -> dict[str, int]:
        """Elements by format over all parts, the most frequent first."""
        total: dict[str, int] = {}
        for held in self.parts.values():
            for name, n in held.items():
                total[name] = total.get(name, 0) + n
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    @property
    def elements(self) -> int:
        """Parameters that the file stores."""
        return sum(self.mix.values())

    def read_each_step(self) -> dict[str, int]:
        """Elements by format that one decode step reads in full: body and head, not the looked-up embedding."""
        names: list[Part] = ["attention", "ffn", "other", "embedding" if self.tied else "head"]
        read: dict[str, int] = {}
        for part in names:
            for name, n in self.parts.get(part, {}).items():
                read[name] = read.get(name, 0) + n
        return read


_EMBEDDING = re.compile(r"(?:^|\.)(?:token_embd|embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight$")
_HEAD = re.compile(r"^(?:output|lm_head|embed_out|model\.lm_head)\.weight$")
_FFN = re.compile(r"(?:^|\.)(?:ffn_\w+|mlp|feed_forward|fc1|fc2)\.")
_ATTENTION = re.compile(r"(?:^|\.)(?:attn_\w+|self_attn|attention|self_attention|attn)\.")
_NORM = re.compile(r"norm|(?:^|\.)ln_", re.IGNORECASE)


def part_of(name: str, dimensions: int = 2) -> Part:
    """The part of the network that an array's name speaks of; vectors and norms are 'other'."""
    if _EMBEDDING.search(name):
        return "embedding"
    if _HEAD.search(name):
        return "head"
    if dimensions < 2 or _NORM.search(name):
        return "other"
    if _FFN.search(name):
        return "ffn"
    return "attention" if _ATTENTION.search(name) else "other"
