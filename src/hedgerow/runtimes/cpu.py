"""The CPU features that decide which kernel an engine picks: two machines that differ here are not one device."""

from __future__ import annotations

import functools
from pathlib import Path

# What BLAS, ONNX Runtime and torch choose kernels by; a fingerprint of all ~100 flags would differ for no reason.
_MATTER = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)


@functools.cache
def features(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, ...]:
    """Features of this CPU in a fixed order; () on a system that has no such file."""
    try:
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    have: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86, ARM
            have.update(value.split())
            break
    return tuple(name for name in _MATTER if name in have)


def described(library: str, version: str, **more: str) -> dict[str, str]:
    """The record that every engine shows: library, version, CPU features, and what else tells two builds apart."""
    return {"library": library, "version": version, **more, "cpu_features": " ".join(features())}
