"""Everything that a Pack says of itself, as one JSON-able record: ``show`` prints it, ``show --json`` emits it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hedgerow.pack import Pack


def describe(path: Path) -> dict[str, Any]:
    """The record of a Pack folder. Opens and verifies it; HedgerowError when it is damaged."""
    from hedgerow.kinds import kind
    from hedgerow.pack import open_pack
    from hedgerow.runtimes import runnable

    pack = open_pack(path)
    which = kind(pack.info.kind)
    which.check(pack)
    forms = [
        {
            "form": f,
            "bytes": which.disk_bytes(pack, f),
            "runs_here": runnable(f) or "",
            "details": pack.variant(f).details if f in pack.variants else {},
        }
        for f in which.variants(pack)
    ]
    info = pack.info
    return {
        "name": info.name,
        "path": str(path),
        "kind": info.kind,
        "what": which.summary,
        "summary": info.summary,
        "digest": pack.digest,
        "system": info.system,
        "preset": info.preset,
        "config": info.config,
        "config_digest": info.config_digest,
        "seed": info.seed,
        "made_by": info.made_by,
        "bytes": pack.bytes,
        "trunk": info.trunk,
        "thin": info.trunk is not None and not (pack.path / "trunk").is_dir(),
        "parents": [p.model_dump() for p in info.parents],
        "data": [d.model_dump() for d in info.data],
        "shareable": info.shareable,
        "why_not_shareable": "" if info.shareable else _why(pack),
        "task": info.task.model_dump() if info.task else None,
        "forms": forms,
        "scores": _scores(pack),
        "costs": _costs(pack),
        "outdated": pack.outdated(),
    }


def described(details: Mapping[str, Any]) -> list[str]:
    """What a form says of itself, a line each: its mix of formats, how far it lies from the base form, remarks."""
    lines = [str(details["mix"])] if "mix" in details else []
    if "logp_difference_median" in details:
        lines.append(
            f"log p differs from the base form by {details['logp_difference_median']:.4f} a token (median of "
            f"{details['continuations']} continuations; largest {details['logp_difference_largest']:.3f})"
        )
    if "least_cosine_to_base" in details:
        lines.append(f"least cosine to the base form {details['least_cosine_to_base']:.4f}")
    return [*lines, *map(str, details.get("remarks", []))]


def _why(pack: Pack) -> str:
    closed = [f"{d.name} ({d.licence})" for d in pack.info.data if not d.shareable]
    return "it was made from " + ", ".join(closed) if closed else "its maker marked it so"


def _scores(pack: Pack) -> list[dict[str, Any]]:
    """One record per form, Task, split and metric: the newest line's."""
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in pack.scores:
        task = line.get("task", {})
        for metric, value in line.get("metrics", {}).items():
            row = {"form": line.get("variant", ""), "task": task.get("name", ""), "split": task.get("split", "")}
            digest = task.get("digest", "")
            key = (row["form"], digest, row["split"], metric)
            said = {"task_digest": digest, "note": line.get("note", "")}
            newest[key] = {"n": None, **row, "metric": metric, **value, **said}
    return list(newest.values())


def _costs(pack: Pack) -> list[dict[str, Any]]:
    from hedgerow.cost import Cost, latest
    from hedgerow.schema import check

    costs = latest(check(Cost, row, f"{pack.path}/costs.jsonl") for row in pack.costs)
    return [
        {
            "form": c.variant,
            "device": c.device.name,
            "fingerprint": c.device.fingerprint,
            "phase": c.phase,
            "size": " ".join(f"{v} {k}" for k, v in c.size.items()),
            "batch": c.batch,
            "threads": c.threads,
            "p50_ms": c.p50_ms,
            "p95_ms": c.p95_ms,
            "units": c.units,
            "unit": c.unit,
            "peak_bytes": c.peak_bytes,
            "flops": c.flops,
            "energy_j": c.energy_j,
            "noisy": c.noisy,
            "source": c.source,
            "note": c.note,
        }
        for c in sorted(costs, key=lambda c: (c.variant, c.device.name, c.phase, sorted(c.size.items()), c.batch))
    ]
