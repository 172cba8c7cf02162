"""A whole tour.json from fake Packs through the real compare, place and simulate: its shape is what the tour writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from hedgerow import pack as packs
from hedgerow.cost import Cost
from hedgerow.pack import Info, Pack, Source
from hedgerow.weighing import compare, measured_device

sys.path.insert(0, str(Path(__file__).parents[1] / "weighing"))
import fakes

HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\" ' $x^2$ & </svg>"
TASK = {"name": "isic/grouped", "options": {"seed": 0}, "digest": "ab" * 32, "split": "test", "n": 480}
# name, forms, ms of one text, accuracy, bytes, load ms, peak
RIVALS: list[tuple[str, list[tuple[str, float, float, int, int, int]]]] = [
    ("linear", [("numpy", 0.6, 0.55, 9_000_000, 480, 120_000_000)]),
    (
        "encoder",
        [
            ("torch", 14.0, 0.625, 91_000_000, 3900, 590_000_000),
            ("onnx", 4.4, 0.625, 92_000_000, 700, 230_000_000),
            ("onnx-int8", 1.4, 0.618, 59_000_000, 600, 196_000_000),
        ],
    ),
    ("language model", [("torch", 70.0, 0.66, 538_000_000, 5200, 1_300_000_000)]),
]
FLEET: dict[str, Any] = {
    "name": "a small household",
    "home": ["phone-a", "phone-b"],
    "devices": [
        {"name": "phone-a", "tier": "phone", "memory": "4GB", "cores": 4, "like": "this", "factor": 5.0,
         "source": "assumed: an old phone core", "rules": {"max_memory": "250MB", "max_tasks": 1, "own_only": True},
         "failure": {"mean_up_s": 60, "mean_down_s": 10, "source": "assumed: out of reach"}},
        {"name": "phone-b", "tier": "phone", "memory": "6GB", "cores": 4, "like": "this", "factor": 3.0,
         "source": "assumed: a newer phone core", "rules": {"max_memory": "250MB", "max_tasks": 1, "own_only": True},
         "failure": {"mean_up_s": 60, "mean_down_s": 10, "source": "assumed: out of reach"}},
        {"name": "laptop", "tier": "laptop", "memory": "16GB", "cores": 4, "like": "this", "factor": 1.2,
         "source": "assumed: a laptop core", "failure": {"mean_up_s": 20, "mean_down_s": 12, "source": "assumed: lid"}},
        {"name": "edge", "tier": "edge", "memory": "1GB", "cores": 2, "like": "this", "factor": 2.0,
         "source": "assumed: a small box", "failure": {"mean_up_s": 45, "mean_down_s": 6, "source": "assumed: power"}},
        {"name": "cloud", "tier": "cloud", "memory": "32GB", "cores": 4, "like": "this", "factor": 0.8,
         "source": "assumed: a rented core", "price_per_s": 0.0001},
    ],
    "links": [
        {"from": "phone-a", "to": "laptop", "mbps": 40, "rtt_ms": 8, "source": "assumed: Wi-Fi"},
        {"from": "phone-b", "to": "laptop", "mbps": 40, "rtt_ms": 8, "source": "assumed: Wi-Fi"},
        {"from": "phone-a", "to": "edge", "mbps": 40, "rtt_ms": 6, "source": "assumed: Wi-Fi"},
        {"from": "phone-b", "to": "edge", "mbps": 40, "rtt_ms": 6, "source": "assumed: Wi-Fi"},
        {"from": "edge", "to": "cloud", "mbps": 20, "rtt_ms": 40, "source": "assumed: DSL"},
    ],
}  # fmt: skip


def rival(folder: Path, name: str, forms: list[tuple[str, float, float, int, int, int]], n: int, hostile: str) -> Pack:
    source = Source(name="coded texts", licence="MIT", attribution="a statistics office" + hostile, rows=11_465)
    info = Info(
        name=name,
        kind="fake",
        summary=f"the {name} rival" + hostile,
        system="isic",
        preset=name.removesuffix(hostile),
        data=(source,),
        seed=0,
    )
    with packs.create(folder, info) as made:
        packs.write_arrays(made / "weights.safetensors", {"w": fakes.np.full(3, n)})
    pack = packs.open_pack(folder)
    for form, ms, accuracy, nbytes, load, peak in forms:
        add_costs(pack, form, ms, nbytes, load, peak)
        score = {"value": accuracy, "low": accuracy - 0.03, "high": accuracy + 0.03, "n": 480}
        pack.add_evidence(
            "scores.jsonl", {"variant": form, "task": TASK, "metrics": {"accuracy": score}, "when": "2026"}
        )
    return pack


def add_costs(pack: Pack, form: str, ms: float, nbytes: int, load: int, peak: int) -> None:
    fixed = {"pack": pack.digest, "variant": form, "device": measured_device(), "runtime": {"library": form}}
    fixed |= {"threads": 1, "unit": "word", "disk_bytes": nbytes, "peak_bytes": peak, "weights_bytes": nbytes}
    rows = [{"phase": "load", "p50_ms": load, "p95_ms": load, "mean_ms": load}]
    for batch in (1, 8, 32):
        t = ms * batch**0.9
        times = {"p50_ms": t, "p95_ms": 1.3 * t, "mean_ms": t, "repeats": 20}
        rows.append({"phase": "run", "size": {"words": 4}, "batch": batch, "units": batch, **times})
    for row in rows:
        cost = Cost.model_validate({**fixed, **row, "when": "2026-01-01T00:00:00+00:00"})
        pack.add_evidence("costs.jsonl", cost.model_dump(mode="json"))


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: int = 5, hostile: str = "") -> dict[str, Any]:
    """``hostile`` is put wherever a text of somebody else may stand."""
    from hedgerow.placing import Fleet, place, simulate
    from hedgerow.report import story

    fakes.install(monkeypatch)
    forms = {name: tuple(f[0] for f in rival_forms) for name, rival_forms in RIVALS}
    held = {(name, form): nbytes for name, rival_forms in RIVALS for form, _, _, nbytes, *_ in rival_forms}
    monkeypatch.setattr(fakes.FakeKind, "variants", lambda self, pack: forms[pack.info.preset])
    monkeypatch.setattr(fakes.FakeKind, "disk_bytes", lambda self, pack, form: held[pack.info.preset, form])
    rivals = [
        rival(folder / str(i), name + hostile, rival_forms, i, hostile) for i, (name, rival_forms) in enumerate(RIVALS)
    ]
    fleet = Fleet.of({**FLEET, "name": FLEET["name"] + hostile})
    ask: dict[str, Any] = {"need": ["accuracy>=0.5"], "limit": ["p95<=2600ms"], "requests": 300, "batch": 32}
    plan = place(rivals, fleet, **ask)
    later = place(rivals, fleet, without=["laptop"], **ask)
    outcome = simulate(rivals, fleet, without=["laptop"], seeds=seeds, quiet=True, **ask)
    pulled = simulate(rivals, fleet, against=(), without={"laptop": 9.0}, seeds=seeds, quiet=True, **ask)
    said = {"form": "numpy", "decision": "class", "code": "0112", "title": "Growing of rice" + hostile, "p": 0.91}
    guess = {"code": "0113", "title": "Growing of vegetables" + hostile, "p": 0.2}
    answers = [{"pack": p.info.name, **said, "guess": guess} for p in rivals]
    answers[1] |= {"decision": "review", "code": None, "title": None, "p": 0.2}
    answers[2] |= {"decision": "group", "code": "011"}
    return story.tell(
        packs=[story.Built(p, seconds=12.5, reused=i == 0) for i, p in enumerate(rivals)],
        compared=compare(rivals, "run_ms", "accuracy"),
        examples=[{"text": "growing of rice" + hostile, "answers": answers}],
        plan=plan.to_json(),
        explanation=plan.explain("request-17").to_json(),
        later=later.to_json(),
        outcome=outcome.to_json(),
        pulled=pulled.to_json(),
        unplugged="laptop",
        batch=32,
        seconds=251.0,
        device=measured_device(),
    )
