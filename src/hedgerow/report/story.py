"""The one JSON that the page is drawn from: what was built, what it costs, where it runs, what became of it, and on
what all this rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hedgerow import __version__
from hedgerow.cost import Cost, Device, latest
from hedgerow.kinds import kind
from hedgerow.pack import Pack
from hedgerow.schema import check
from hedgerow.weighing.rivals import cost_of, scores_of

FORMAT = 1
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Built:
    """A rival of the tour; ``reused``: it was there already, and ``seconds`` is how long opening took."""

    pack: Pack
    seconds: float
    reused: bool


def tell(
    *,
    packs: Sequence[Built],
    compared: Json,
    examples: Sequence[Json],
    plan: Json,
    explanation: Json,
    later: Json,
    outcome: Json,
    pulled: Json,
    unplugged: str,
    batch: int,
    seconds: float,
    device: Device,
) -> dict[str, Any]:
    """``tour.json``. ``later`` is the plan without the device ``unplugged``, ``outcome`` holds a scenario without it,
    and in ``pulled`` it leaves while it works. ``batch`` is the number of texts in a request.

    Left out are the long lists that nothing is drawn from: every single placement, and all timelines but ``pulled``'s.
    No path, no host name, and of data only what its licence lets anybody print: names, licences, attributions.
    """
    assumed = dict.fromkeys(
        [*plan["assumptions"], *outcome["assumptions"], *pulled["assumptions"], *assumed_scores(compared)]
    )
    return {
        "format": FORMAT,
        "hedgerow": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "device": device.model_dump(mode="json"),
        "packs": [_pack(built) for built in packs],
        "compared": dict(compared),
        "forms": [row for built in packs for row in _forms(built.pack, compared)],
        "costs": [row for built in packs for row in built.pack.costs],
        "scores": [row for built in packs for row in built.pack.scores],
        "examples": [dict(e) for e in examples],
        "plan": _without(plan, "placements"),
        "explanation": dict(explanation),
        "later": _without(later, "placements"),
        "outcome": _without(outcome, "timelines"),
        "pulled": dict(pulled),
        "unplugged": unplugged,
        "batch": batch,
        "assumed": list(assumed),
    }


def _without(data: Json, key: str) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k != key}


def assumed_scores(compared: Json) -> list[str]:
    """Lines for points that stand at another form's score."""
    return [
        f"{point['name']}/{point['variant']}: {why}"
        for group in compared["groups"]
        for point in group["points"]
        for why in point["assumed"]
    ]


def _forms(pack: Pack, compared: Json) -> list[dict[str, Any]]:
    """One line for each weighed form: what the table of costs shows, at the kind's usual size and one unit of work."""
    which, fingerprint = kind(pack.info.kind), (compared["device"] or {}).get("fingerprint")
    phase, metric = compared["x"]["name"].removesuffix("_ms"), compared["y"]["name"]
    rows = [check(Cost, row, f"{pack.path}/costs.jsonl") for row in pack.costs]
    rows = latest(r for r in rows if r.device.fingerprint == fingerprint and r.threads == compared["threads"])
    found = []
    for form in which.variants(pack):
        mine = [r for r in rows if r.variant == form]
        value, row = cost_of(mine, which.unit.usual, f"{phase}_ms")
        if row is None:
            continue
        names = (f"{phase}_p95_ms", f"{phase}_per_s", "load_ms", "peak_bytes", "disk_bytes", "flops", "energy_j")
        task = compared["groups"][0]["task"] if compared["groups"] else None
        lines = [x for x in scores_of(pack, form, metric) if task and x["task"]["digest"] == task["digest"]]
        found.append(
            {
                **{"pack": pack.digest, "name": pack.info.name, "variant": form, "ms": value, "noisy": row.noisy},
                **{"p95_ms" if n.endswith("p95_ms") else n: cost_of(mine, which.unit.usual, n)[0] for n in names},
                "per_s": cost_of(mine, which.unit.usual, f"{phase}_per_s")[0],
                "score": lines[0]["metrics"][metric] if lines else None,
                "score_assumed": lines[0]["assumed"] if lines else "",
                "against": lines[0].get("against") if lines and not lines[0]["assumed"] else None,
                "unit": row.unit,
                "size": row.size,
            }
        )
    return found


def _pack(built: Built) -> dict[str, Any]:
    pack, info = built.pack, built.pack.info
    which = kind(info.kind)
    trunk = pack.trunk().info if info.trunk else None
    return {
        "name": info.name,
        "digest": pack.digest,
        "kind": info.kind,
        "summary": info.summary,
        "system": info.system,
        "preset": info.preset,
        "seed": info.seed,
        "bytes": {form: which.disk_bytes(pack, form) for form in which.variants(pack)},
        "shareable": info.shareable,
        "data": [source.model_dump(mode="json") for source in info.data],
        "parents": [parent.model_dump(mode="json") for parent in info.parents],
        "trunk": {"name": trunk.name, "digest": info.trunk} if trunk else None,
        "seconds": round(built.seconds, 1),
        "reused": built.reused,
    }
