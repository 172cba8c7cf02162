"""compare: what shares an axis, what is on the front, and what is only assumed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeKind, install, make_pack
from rich.console import Console

from hedgerow.cost import Cost
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.weighing import compare, measured_device, show


@pytest.fixture(autouse=True)
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def cost(pack: Pack, variant: str = "numpy", **changes: Any) -> None:
    here = measured_device().model_dump(mode="json")
    row: dict[str, Any] = {"variant": variant, "device": here, "runtime": {"library": "fake"}, "threads": 1}
    row |= {"unit": "word", "phase": "prefill", "size": {"words": 4}, "p50_ms": 2.0, "p95_ms": 3.0, "mean_ms": 2.1}
    row |= {"disk_bytes": 1000, "peak_bytes": 5000, "when": "2026-01-01T00:00:00+00:00", **changes}
    pack.add_evidence("costs.jsonl", Cost.model_validate({"pack": pack.digest, **row}).model_dump(mode="json"))


def scored(pack: Pack, value: float, variant: str = "numpy", digest: str = "aa" * 32, split: str = "test") -> None:
    task = {"name": "t", "options": {}, "digest": digest, "split": split, "n": 50}
    metrics = {"accuracy": {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 50}}
    pack.add_evidence("scores.jsonl", {"variant": variant, "task": task, "metrics": metrics, "when": "2026"})


def points(result: dict[str, Any], group: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    return {(p["name"], p["variant"]): p for p in result["groups"][group]["points"]}


def test_front_is_what_nobody_beats_in_both(tmp_path: Path) -> None:
    values = [("slow good", 9.0, 0.9), ("fast bad", 1.0, 0.5), ("dominated", 9.5, 0.7), ("equal twin", 9.0, 0.9)]
    packs = []
    for number, (name, ms, accuracy) in enumerate(values):
        pack = make_pack(tmp_path / name, name, number)
        cost(pack, p50_ms=ms)
        scored(pack, accuracy)
        packs.append(pack)
    result = compare(packs, "prefill_ms", "accuracy")
    found = points(result)
    assert {name for (name, _), p in found.items() if p["front"]} == {"slow good", "fast bad", "equal twin"}
    assert found["slow good", "numpy"]["x"] == 9.0
    assert found["slow good", "numpy"]["y_low"] == pytest.approx(0.8)
    json.dumps(result, allow_nan=False)


def test_other_tests_never_share_an_axis(tmp_path: Path) -> None:
    a, b = make_pack(tmp_path / "a", "a", 1), make_pack(tmp_path / "b", "b", 2)
    for pack, digest in ((a, "aa" * 32), (b, "bb" * 32)):
        cost(pack)
        scored(pack, 0.5, digest=digest)
    scored(a, 0.9, split="dev")
    result = compare([a, b], "prefill_ms", "accuracy")
    assert len(result["groups"]) == 3
    assert all(len(g["points"]) == 1 for g in result["groups"])
    assert all(p["front"] for g in result["groups"] for p in g["points"])
    assert "different" in result["note"]


def test_a_form_of_the_same_weights_may_stand_at_the_base_score_and_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeKind, "variants", lambda self, pack: ("numpy", "onnx", "onnx-int8"))
    pack = make_pack(tmp_path / "p", "p")
    for variant in ("numpy", "onnx", "onnx-int8"):
        cost(pack, variant)
    scored(pack, 0.8)
    result = compare([pack], "prefill_ms", "accuracy")
    found = points(result)
    assert (found["p", "onnx"]["y"], found["p", "onnx"]["assumed"]) == (0.8, ["accuracy of the form 'numpy'"])
    # int8 weights answer differently: no score, no point
    assert ("p", "onnx-int8") not in found
    assert [(x["variant"], x["why"]) for x in result["left_out"]] == [
        ("onnx-int8", "this form was never scored on 'accuracy'")
    ]
    scored(pack, 0.6, "onnx-int8")
    found = points(compare([pack], "prefill_ms", "accuracy"))
    assert (found["p", "onnx-int8"]["y"], found["p", "onnx-int8"]["assumed"]) == (0.6, [])


def test_a_score_that_another_pack_earned_says_so(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack)
    scored(pack, 0.8)
    pack.add_evidence("scores.jsonl", {**pack.scores[-1], "note": "scored on its twin"})
    assert points(compare([pack], "prefill_ms", "accuracy"))["p", "numpy"]["assumed"] == ["scored on its twin"]


def test_an_assumed_cost_is_marked(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack, source="assumed", note="like edge, 3 times slower")
    scored(pack, 0.8)
    assert points(compare([pack], "prefill_ms", "accuracy"))["p", "numpy"]["assumed"] == ["like edge, 3 times slower"]


def test_newest_row_counts_and_other_devices_and_threads_do_not(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack, p50_ms=5.0, when="2026-01-01")
    cost(pack, p50_ms=4.0, when="2026-01-02", runtime={"library": "fake", "version": "2"})
    cost(pack, p50_ms=1.0, when="2026-01-03", threads=2)
    other = measured_device().model_copy(update={"fingerprint": "0" * 12, "name": "phone"})
    cost(pack, p50_ms=70.0, when="2026-01-04", device=other.model_dump(mode="json"))
    scored(pack, 0.5)

    def x(**how: Any) -> float:
        return float(points(compare([pack], "prefill_ms", "accuracy", **how))["p", "numpy"]["x"])

    assert x() == 4.0
    assert x(threads=2) == 1.0
    assert x(device="0" * 12) == 70.0


def test_throughput_is_the_best_over_batches(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack, batch=1, units=4, p50_ms=2.0)
    cost(pack, batch=8, units=32, p50_ms=8.0)
    cost(pack, phase="load", size={}, p50_ms=700.0)
    assert points(compare([pack], "load_ms", "prefill_per_s"))["p", "numpy"]["y"] == pytest.approx(4000)
    assert points(compare([pack], "load_ms", "prefill_per_s"))["p", "numpy"]["x"] == 700.0


def test_what_has_no_point_is_left_out_with_the_reason(tmp_path: Path) -> None:
    a, b, c = (make_pack(tmp_path / n, n, i) for i, n in enumerate("abc"))
    cost(a)
    scored(a, 0.5)
    scored(b, 0.5)
    cost(c)
    why = {(x["name"], x["variant"]): x["why"] for x in compare([a, b, c], "prefill_ms", "accuracy")["left_out"]}
    assert "not weighed" in why["b", "numpy"]
    assert "no score 'accuracy'" in why["c", "numpy"]
    assert ("a", "numpy") not in why


def test_an_unknown_quantity_gets_a_suggestion(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack)
    scored(pack, 0.5)
    with pytest.raises(HedgerowError, match="did you mean 'prefill_ms'"):
        compare([pack], "prefil_ms", "accuracy")
    unscored = make_pack(tmp_path / "q", "q", 3)
    cost(unscored)
    with pytest.raises(HedgerowError, match="no Pack here has a 'accuracy'"):
        compare([unscored], "prefill_ms", "accuracy")


def test_tables_print_what_the_json_holds(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p")
    cost(pack, p50_ms=1234.0, energy_j=0.5, noisy=True)
    scored(pack, 0.75)
    console = Console(width=200, record=True, file=io.StringIO())
    for table in show.compare_tables(compare([pack], "prefill_ms", "accuracy")):
        console.print(table)
    console.print(show.costs_table([Cost.model_validate(c) for c in pack.costs], {pack.digest: "p"}))
    console.print(show.scores_table(pack.scores, {pack.digest: "p"}))
    text = console.export_text()
    for word in ("1.23 s", "0.750 [0.650, 0.850]", "★", "noisy", "1 kB", "0.5 J"):
        assert word in text, word


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (91_234_567, "91.2 MB"), (2.5e9, "2.5 GB")],
)
def test_sizes(number: float | None, text: str) -> None:
    assert show.size(number) == text


def test_against() -> None:
    difference = {"value": -0.012, "low": -0.03, "high": 0.004, "n": 9}
    line = {"variant": "torch", "metric": "accuracy", "difference": difference}
    assert show.against(line) == "-0.012 [-0.030, +0.004] accuracy against torch"
    assert show.against(None) == ""
    assert show.against({"difference": None, "why": "no mean"}) == "no mean"


def test_a_difference_that_the_items_do_not_show_is_said(tmp_path: Path) -> None:
    packs = []
    for number, (name, hits) in enumerate(
        [("best", "1" * 40 + "0" * 20), ("close", "1" * 38 + "0" * 22), ("far", "0" * 60)]
    ):
        pack = make_pack(tmp_path / name, name, number)
        cost(pack)
        task = {"name": "suite/t", "options": {}, "digest": "cc" * 32, "split": "test", "n": 60}
        metrics = {"accuracy": {"value": hits.count("1") / 60, "low": 0.0, "high": 1.0, "n": 60}}
        items = {"hits": {"accuracy": hits}, "groups": None}
        pack.add_evidence(
            "scores.jsonl", {"variant": "numpy", "task": task, "metrics": metrics, "items": items, "when": "2026"}
        )
        packs.append(pack)
    result = compare(packs, "prefill_ms", "accuracy")
    found = points(result)
    assert found["best", "numpy"]["against"] is None
    close, far = found["close", "numpy"]["against"], found["far", "numpy"]["against"]
    assert close["name"] == "best" and close["difference"]["value"] == pytest.approx(-2 / 60)
    assert not close["difference"]["shown"] and far["difference"]["shown"]
    assert all("items" not in p for p in found.values())
    out = io.StringIO()
    Console(file=out, width=300).print(*show.compare_tables(result))
    assert "no difference shown to best, numpy: -0.033" in out.getvalue()
    assert "differs from best, numpy: -0.667" in out.getvalue()


def test_a_predicted_cost_is_marked_by_its_note_and_a_measured_one_wins(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p", 1)
    note = "predicted by formula, ± 9 %"
    cost(pack, source="predicted", note=note, low_ms=1.0, high_ms=9.0, runtime={"name": "fake"}, when="2026-03")
    scored(pack, 0.8)
    result = compare([pack], "prefill_ms", "accuracy")
    assert points(result)["p", "numpy"]["assumed"] == [note]
    shown = Console(width=200, file=io.StringIO())
    with shown.capture() as caught:
        shown.print(*show.compare_tables(result))
    assert note in caught.get() and "assumed: predicted" not in caught.get()
    cost(pack, p50_ms=5.0)  # older than the prediction, of another build's name
    point = points(compare([pack], "prefill_ms", "accuracy"))["p", "numpy"]
    assert (point["x"], point["assumed"]) == (5.0, [])


def test_rows_of_two_builds_or_cache_types_are_never_mixed(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p", 1)
    old, new = {"library": "fake", "version": "1"}, {"library": "fake", "version": "2"}
    cost(pack, batch=8, units=800.0, runtime=old, when="2026-01")
    cost(pack, phase="load", size={}, runtime=old, peak_bytes=9, when="2026-01")
    cost(pack, units=100.0, runtime=new, when="2026-02")
    cost(pack, phase="load", size={}, runtime=new, peak_bytes=7, when="2026-02")
    cost(pack, batch=8, units=900.0, runtime=new, when="2026-01", options={"cache_k": "q8_0"})
    scored(pack, 0.8)
    found = points(compare([pack], "prefill_per_s", "accuracy"))["p", "numpy"]
    assert found["x"] == 100.0 / 2.0 * 1e3
    assert points(compare([pack], "load_ms", "accuracy"))["p", "numpy"]["x"] == 2.0


def test_the_table_of_costs_names_every_row_that_was_not_measured(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p", "p", 1)
    for source in ("measured", "assumed", "predicted"):
        cost(pack, source=source, note="why")
    table = show.costs_table([Cost.model_validate(row) for row in pack.costs], {})
    words = [str(cell) for cell in table.columns[-1].cells]
    assert words == ["", "assumed", "predicted"]
