"""A preset built as a user builds it, from nothing: how long that takes, and what each form of its Pack gets right."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from hedgerow import run
from hedgerow.pack import Pack

_HEADLINES = ("accuracy", "top5", "accuracy_single", "top5_single", "ece", "coverage_90", "coverage_95")


def build_preset(root: Path, preset: str, out: Path, seed: int = 0) -> Path:
    """``build isic --preset PRESET``, timed; the path of the cell ``presets/{preset}``. The Pack stays at ``out``."""
    from hedgerow import systems

    started, clock, cpu = time.time(), time.perf_counter(), time.process_time()
    pack = systems.build("isic", preset, out=out, seed=seed, fresh=True, quiet=True)
    found: dict[str, Any] = {
        "minutes": (time.perf_counter() - clock) / 60,
        "cpu_minutes": (time.process_time() - cpu) / 60,
        "load": os.getloadavg()[0],
        "pack": pack.digest,
        "config": pack.info.config,
        **by_form(pack),
    }
    return run.save_result(root, "isic", "presets", {"preset": preset}, seed, found, {}, started)


def by_form(pack: Pack) -> dict[str, Any]:
    """``FORM_METRIC``: the headline scores of every form, and the bytes that a device needs for it."""
    from hedgerow import kinds

    found: dict[str, Any] = {}
    for line in pack.scores:
        for name in _HEADLINES:
            if name in line["metrics"]:
                found[f"{line['variant']}_{name}"] = line["metrics"][name]
    kind = kinds.kind(pack.info.kind)
    return found | {f"{form}_bytes": kind.disk_bytes(pack, form) for form in kind.variants(pack)}
