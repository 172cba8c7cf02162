"""Will it fit? Answered before anything is loaded: needed against available, part by part, or one line with the number.

A model that does not fit is refused, and no throughput is ever printed for it.
"""

from __future__ import annotations

import re
from pathlib import Path

from hedgerow import files
from hedgerow.cost import Device, Geometry, Memory, Weights, formulas
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record, check
from hedgerow.weighing import headers

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
          "k": 2**10, "m": 2**20, "g": 2**30, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
_BUDGET = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$")


class Budget(Record):
    """Memory that a model may take with a context: ``4GiB@4096``, ``here@4096``, ``phone/device.json@2048``."""

    bytes: int
    context: int
    device: str  # what it belongs to, in words


class Fit(Record):
    """The answer for one model."""

    name: str
    where: str
    context: int
    needed: Memory  # by formula; the runtime's own code and tokenizer are not in it
    available: int
    device: str
    positions: int  # that the model was made for: a longer context does not fit, whatever the memory
    fits: bool
    largest_context: int | None  # the longest that fits, None: not even one token

    def line(self) -> str:
        """'needs 1,203 MiB (weights 92, KV 1,013, buffers 98) at 4,096 tokens; 1,024 MiB are available on …'."""
        n = self.needed
        parts = [("weights", n.weights), ("KV cache", n.kv), ("buffers", n.compute), ("repacked copy", n.other)]
        detail = ", ".join(f"{word} {_mib(value)}" for word, value in parts if value)
        return (
            f"needs {_mib(n.total)} MiB ({detail}) at {self.context:,} tokens; "
            f"{_mib(self.available)} MiB are available ({self.device})"
        )


def _mib(value: int | None) -> str:
    return f"{(value or 0) / 2**20:,.1f}" if (value or 0) < 10 * 2**20 else f"{(value or 0) / 2**20:,.0f}"


def size_of(text: str) -> int:
    """Bytes of '4GiB', '500MB', '2g'; HedgerowError when it is no size."""
    found = _BUDGET.match(text)
    if found is None or found[2].lower() not in _UNITS or float(found[1]) <= 0:
        raise HedgerowError(f"'{text}' is no size of memory: write 4GiB or 500MB")
    value = float(found[1]) * _UNITS[found[2].lower()]
    if value > 2**60:
        raise HedgerowError(f"'{text}' is more memory than any device has")
    return round(value)


def count_of(text: str) -> int:
    """A number of parameters: '500M', '1.5B', '360000000'."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKmMbBgGtT]?)\s*", text)
    if found is None:
        raise HedgerowError(f"'{text}' is no number of parameters: write 500M or 1.5B")
    return round(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}[found[2].lower()])


def budget(text: str, default_context: int = 2048) -> Budget:
    """``MEMORY[@CONTEXT]``; MEMORY is a size, ``here`` (what is available now), or the path of a device.json."""
    what, at, tokens = text.rpartition("@") if "@" in text else (text, "", "")
    if at and not (re.fullmatch("[0-9]+", tokens.strip()) and 1 <= int(tokens) <= 10_000_000):
        raise HedgerowError(f"'{text}': behind the @ stands the context in tokens, such as 4GiB@4096")
    context = int(tokens) if at else default_context
    if what == "here":
        from hedgerow.weighing.device import available_bytes

        return Budget(bytes=available_bytes(), context=context, device="this machine, now")
    if what.endswith(".json"):
        device = check(Device, files.read_json(Path(what)), what)
        if not device.memory_bytes:  # llama-bench's file does not say
            raise HedgerowError(f"{what} states no memory: add memory_bytes (or give --fits 8GiB@{context})")
        return Budget(bytes=device.memory_bytes, context=context, device=f"all memory of {device.name}")
    return Budget(bytes=size_of(what), context=context, device="as stated")


def fit(
    name: str,
    where: str,
    sizes: Geometry,
    held: Weights,
    allowed: Budget,
    *,
    cache_k: str = "f16",
    cache_v: str = "f16",
    ubatch: int = formulas.UBATCH,
    repacked: tuple[str, ...] = (),
) -> Fit:
    """Needed against available, by formula. ``repacked``: formats that the runtime's build holds a second time."""
    options = {"cache_k": cache_k, "cache_v": cache_v, "ubatch": ubatch, "repacked": repacked}
    needed = formulas.memory(sizes, held, allowed.context, **options)  # type: ignore[arg-type]
    total = needed.total or 0
    return Fit(
        name=name,
        where=where,
        context=allowed.context,
        needed=needed,
        available=allowed.bytes,
        device=allowed.device,
        positions=sizes.positions,
        fits=total <= allowed.bytes and allowed.context <= sizes.positions,
        largest_context=formulas.largest_context(sizes, held, allowed.bytes, options),  # type: ignore[arg-type]
    )


def fit_of(path: str | Path, allowed: Budget, *, cache_k: str = "f16", cache_v: str = "f16",
           ubatch: int = formulas.UBATCH, repacked: tuple[str, ...] = ()) -> Fit:  # fmt: skip
    """:func:`fit` of a GGUF file, a model folder or a language model's Pack, from its header alone."""
    h = headers.read(path)
    return fit(h.name, str(path), h.geometry, h.weights, allowed, cache_k=cache_k, cache_v=cache_v, ubatch=ubatch,
               repacked=repacked)  # fmt: skip


def refuse(answer: Fit) -> None:
    """HedgerowError with the numbers when the model does not fit; nothing otherwise. Called before loading."""
    if answer.fits:
        return
    if answer.context > answer.positions:
        raise HedgerowError(
            f"{answer.where} has {answer.positions:,} positions, fewer than the {answer.context:,} tokens of context "
            f"asked for: ask for @{answer.positions} or less; it was not loaded"
        )
    longest = answer.largest_context
    more = f"; {longest:,} tokens would fit" if longest else "; no context would fit"
    raise HedgerowError(f"{answer.where} {answer.line()}{more}; it was not loaded")
