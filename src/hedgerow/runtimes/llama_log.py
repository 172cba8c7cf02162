"""llama.cpp's log: what it says of memory, and its own last complaint. One log for the whole process."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

_LINES: deque[tuple[int, str]] = deque(maxlen=5000)  # (level, line)
_WARNING, _ERROR = 3, 4


@dataclass(frozen=True)
class Buffers:
    """Bytes that the engine's log says it holds; None where it says nothing."""

    weights: int | None = None  # as in the file: mapped, or read
    repacked: int | None = None  # the second copy
    kv: int | None = None
    compute: int | None = None  # reserved, and touched only as far as it is used
    output: int | None = None
    lines: tuple[str, ...] = field(default=(), repr=False)


_BUFFER = re.compile(r"(\S+)\s+(model|KV|compute|output) buffer size\s*=\s*([\d.]+)\s*MiB")
FUSED = re.compile(r"Flash Attention was auto, set to (\w+)")  # enabled, disabled
_FAULT = re.compile(r"error|fail|unknown|invalid|missing|not|unsupported|require", re.IGNORECASE)


def buffers(told: Sequence[str]) -> Buffers:
    """Sums of the buffers in log lines such as 'CPU_Mapped model buffer size =    92.10 MiB'."""
    found: dict[str, float] = {}
    for line in told:
        if (m := _BUFFER.search(line)) is not None:
            name = (
                "repacked" if m[2] == "model" and "REPACK" in m[1] else {"model": "weights", "KV": "kv"}.get(m[2], m[2])
            )
            found[name] = found.get(name, 0.0) + float(m[3]) * 2**20
    held = tuple(line.strip() for line in told if _BUFFER.search(line))
    return Buffers(**{name: round(value) for name, value in found.items()}, lines=held)


def hear(level: int, text: str) -> None:
    """One line, from the engine."""
    _LINES.append((level, text))


def clear() -> None:
    """Forget all lines."""
    _LINES.clear()


def lines() -> tuple[str, ...]:
    """All lines since they were forgotten."""
    return tuple(text for _, text in _LINES)


def why(error: Exception) -> str:
    """The engine's own last complaint, or the exception's words."""
    words = [text.strip() for level, text in _LINES if level in (_WARNING, _ERROR) and re.search(_FAULT, text)]
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (words[-1] if words else said)[:300]
