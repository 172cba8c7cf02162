"""The menu of each device: who is eligible, who is chosen, and what stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fabricated as f
import pytest

from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack
from hedgerow.placing import Fleet
from hedgerow.placing.dag import Work, app_of, app_of_packs
from hedgerow.placing.options import Menu, Option, menus_of


def one(name: str = "box", **more: Any) -> Fleet:
    return f.fleet([f.device(name, **more)])


def menu(packs: list[Pack], fleet: Fleet, batch: int = 1, size: dict[str, int] | None = None, **ask: Any) -> Menu:
    return menus_of(app_of_packs(packs, batch, size, f.UNIT), fleet, **ask)[0]


def chosen(found: Menu, device: int = 0) -> Option:
    d = found.devices[device]
    assert d.chosen is not None
    return d.options[d.chosen]


def refusals(found: Menu, name: str, device: int = 0) -> list[str]:
    return [r.why for o in found.devices[device].options if o.name == name for r in o.refusals]


def test_the_best_score_that_meets_every_limit_is_chosen_per_device(tmp_path: Path) -> None:
    fleet = f.fleet(
        [f.device("slow", factor=8.0), f.device("small", memory="200MB"), f.device("big", cores=8)],
        [f.link("slow", "small"), f.link("slow", "big")],
    )
    found = menu(f.trio(tmp_path), fleet, need=["accuracy>=0.55"], limit=["p95<=200ms"])
    assert [chosen(found, d).name for d in range(3)] == ["encoder", "linear", "lm"]
    assert found.devices[0].binding == "lm/torch: p95 is 968ms, 768ms over"
    assert found.devices[1].binding == "encoder/onnx-int8: memory is 260MB, 60MB more than it has"
    assert found.devices[2].binding == "none: no form that is known scores higher"


def test_neighbours_are_the_next_better_and_the_next_cheaper(tmp_path: Path) -> None:
    found = menu(f.trio(tmp_path), one(), need=["accuracy>=0.5"], limit=["p95<=100ms"])
    device = found.devices[0]
    assert device.next_better is not None and device.next_cheaper is not None
    assert device.options[device.next_better].name == "lm"
    assert chosen(found).name == "encoder"
    assert device.options[device.next_cheaper].name == "linear"


def test_the_low_end_of_the_interval_can_be_asked_for(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)  # intervals are ± 0.03
    assert "linear" in {o.name for o in menu(packs, one(), need=["accuracy>=0.55"]).devices[0].options if o.eligible}
    found = menu(packs, one(), need=["accuracy.low>=0.55"])
    assert refusals(found, "linear") == ["accuracy.low is 0.53, 0.02 short"]
    assert refusals(found, "encoder") == []


def test_limits_on_every_quantity_bind(tmp_path: Path) -> None:
    packs = [f.pack(tmp_path, "m", 10.0, 0.6, memory=100_000_000, load_ms=500.0, p95=14.0, disk_bytes=30_000_000)]
    devices = [f.device("home"), f.device("far", price_per_s=0.5)]
    fleet = f.fleet(devices, [f.link("home", "far", mbps=1, rtt_ms=20, price_per_gb=1000)])
    far = chosen(menu(packs, fleet), 1)
    way = 1e3 * 8 * (72 + 600) / 1e6 + 20
    assert far.net_ms == pytest.approx(way)
    assert far.cost == pytest.approx(0.5 * 0.010 + 672e-6)
    assert chosen(menu(packs, fleet), 0).cost == 0
    for name, value in {"p50": 10, "p95": 14, "load": 500, "reply_p50": 10 + way, "reply_p95": 14 + way}.items():
        assert refusals(menu(packs, fleet, limit=[f"{name}<={value * 1.001}ms"]), "m", 1) == []
    for name, value in {"reply_p50": 10 + way, "reply_p95": 14 + way}.items():  # from home to home there is no way
        assert f"{name} is" in refusals(menu(packs, fleet, limit=[f"{name}<={value * 0.99}ms"]), "m", 1)[0]
    for name, text in {"p50": "9ms", "p95": "13ms", "load": "499ms", "memory": "99MB", "bytes": "29MB"}.items():
        with pytest.raises(HedgerowError, match=f"{name}<={text} excludes 2 of 2"):
            menu(packs, fleet, limit=[f"{name}<={text}"])
    assert "cost is 0.005672, 0.000672 over" in refusals(menu(packs, fleet, limit=["cost<=0.005"]), "m", 1)


def test_the_farthest_home_counts_and_a_private_device_needs_no_network(tmp_path: Path) -> None:
    packs = [f.pack(tmp_path, "m", 10.0, 0.6)]
    own = f.device("p1", rules={"own_only": True})
    fleet = f.fleet([own, f.device("p2"), f.device("box")],
                    [f.link("p1", "box", rtt_ms=30), f.link("p2", "box", rtt_ms=50)], home=["p1", "p2"])  # fmt: skip
    found = menu(packs, fleet)
    nets = [d.options[0].net_ms for d in found.devices]
    bytes_ms = 672 * 8 / 8e6 * 1e3
    assert nets == pytest.approx([0.0, 80 + 2 * bytes_ms, 50 + bytes_ms])


def test_infeasible_says_which_constraint_excludes_what_and_by_how_much(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError) as caught:
        menu(f.trio(tmp_path), one(), need=["accuracy>=0.64"], limit=["p95<=50ms"])
    said = str(caught.value)
    assert "\n" not in said
    assert "accuracy>=0.64 excludes 2 of 3 (nearest: encoder/onnx-int8 on box: accuracy is 0.62, 0.02 short)" in said
    assert "p95<=50ms excludes 1 of 3 (nearest: lm/torch on box: p95 is 121ms, 71ms over)" in said


def test_owners_rules_bind(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    found = menu(packs, one(rules={"max_memory": "300MB", "runtimes": ["numpy"]}))
    assert chosen(found).name == "linear"
    assert refusals(found, "encoder") == ["its owner allows numpy only"]
    assert "memory is 700MB, 400MB more than its owner allows" in refusals(found, "lm")
    two_threads = f.pack(tmp_path, "two", 5.0, 0.9, threads=2)
    found = menu([*packs, two_threads], one(cores=4, rules={"max_cores": 1}))
    assert refusals(found, "two") == ["it was weighed with 2 threads or more, and only 1 cores may be used"]


# --- what rests on what -----------------------------------------------------------------------------------------------
def test_measured_beats_like_and_like_scales(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 10.0, 0.6)
    fleet = f.fleet([f.device("weighed", fingerprint=f.THIS.fingerprint, like="this", factor=5.0, source="assumed: x"),
                     f.device("slow", like="weighed", factor=3.0), f.device("slower", like="slow", factor=2.0)],
                    [f.link("weighed", "slow"), f.link("weighed", "slower")])  # fmt: skip
    found = menu([model], fleet)
    timings = [chosen(found, d).timing for d in range(3)]
    assert [t.p50_ms for t in timings if t] == pytest.approx([10.0, 30.0, 60.0])
    assert [t.load_ms for t in timings if t] == pytest.approx([100.0, 300.0, 600.0])
    assert [t.source for t in timings if t] == ["measured", "assumed", "assumed"]
    assert timings[2] is not None and timings[2].note.startswith("slow × 2 (assumed: for a test); weighed × 3")


def test_a_device_that_nobody_weighed_is_not_eligible(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 10.0, 0.6)
    fleet = f.fleet([f.device("a"), f.device("b", fingerprint="cccccccccccc"), f.device("c", like="b", factor=2.0)],
                    [f.link("a", "b"), f.link("a", "c")])  # fmt: skip
    found = menu([model], fleet)
    assert chosen(found, 0).name == "m"
    assert found.devices[1].chosen is None
    assert found.devices[1].options[0].source == "unknown"
    assert "nobody weighed it on b: run hedgerow weigh there" in found.devices[1].binding
    assert "c is like b, and nobody weighed it on b" in found.devices[2].binding


def test_a_pack_without_costs_or_scores_is_refused_with_the_reason(tmp_path: Path) -> None:
    empty = f.bare(tmp_path, "empty")
    with pytest.raises(HedgerowError, match=r"costs excludes 1 of 1 .*nobody weighed it: run hedgerow weigh first"):
        menu([empty], one())
    found = menu([empty, f.pack(tmp_path, "m", 10.0, 0.6)], one())
    assert refusals(found, "empty") == [
        "nobody weighed it: run hedgerow weigh first",
        "the form 'base' was never scored on this Task",
    ]


def test_several_machines_must_be_told_apart(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 10.0, 0.6)
    for phase, ms in (("load", 50.0), ("run", 40.0)):
        model.add_evidence("costs.jsonl", f.row(model, "numpy", phase, ms, device=f.OTHER))
    with pytest.raises(
        HedgerowError, match=r"weighed on several machines: aaaaaaaaaaaa \(bench\), bbbbbbbbbbbb \(other\)"
    ):
        menu([model], one())
    assert [chosen(menu([model], one(), this=t)).timing.p50_ms for t in ("aaaaaa", "bbbbbbbbbbbb")] == [10.0, 40.0]  # type: ignore[union-attr]
    only = f.fleet([f.device("x", fingerprint=f.OTHER.fingerprint)])
    assert chosen(menu([model], only)).timing.p50_ms == 40.0  # type: ignore[union-attr]


def test_batch_size_and_phases_add_up(tmp_path: Path) -> None:
    model = f.bare(tmp_path, "lm")
    model.add_evidence("scores.jsonl", f.score("torch", 0.5))
    add = lambda phase, ms, **more: model.add_evidence("costs.jsonl", f.row(model, "torch", phase, ms, **more))  # noqa: E731
    add("load", 900.0, peak_bytes=70)
    add("prefill", 20.0, batch=1, peak_bytes=100)
    add("prefill", 100.0, batch=8, peak_bytes=300)
    add("decode", 50.0, batch=1, p95_ms=90.0, peak_bytes=120)
    add("prefill", 60.0, size={"words": 40}, peak_bytes=500)
    add("decode", 70.0, size={"words": 40}, peak_bytes=600)
    t = chosen(menu([model], one())).timing
    assert t is not None
    assert (t.p50_ms, t.p95_ms, t.load_ms, t.memory_bytes) == (70.0, pytest.approx(22 + 90), 900.0, 120)
    t = chosen(menu([model], one(), size={"words": 20})).timing
    assert t is not None
    assert t.p50_ms == 130.0 and "measured at 40 words" in t.note
    with pytest.raises(HedgerowError, match="weighed at 12 words or 40 words only, not at 41 words"):
        menu([model], one(), size={"words": 41})
    t = chosen(menu([model], one(), batch=8)).timing
    assert t is not None and t.p50_ms == pytest.approx(100 + 8 * 50)
    assert t.memory_bytes == 300
    t = chosen(menu([model], one(), batch=16)).timing  # prefill: 20 at 1, 100 at 8; decode known at 1 only
    assert t is not None and t.p50_ms == pytest.approx(100 + 8 * 80 / 7 + 16 * 50)
    assert "extrapolated from batches of up to 1" in t.note


def test_a_language_model_decodes_once_for_every_new_token(tmp_path: Path) -> None:
    from hedgerow.pack import VariantInfo, add_variant

    model = f.bare(tmp_path, "lm", kind="decoder-lm")
    info = VariantInfo(runtime="onnx", of=model.digest)
    model = add_variant(model, "onnx", info, lambda folder: (folder / "x").write_text("x") and None)
    rows = (("torch", "load", 900.0), ("torch", "prefill", 200.0), ("torch", "decode", 30.0))
    for variant, phase, ms in (*rows, ("onnx", "load", 1.0), ("onnx", "encode", 1.0)):
        size = {} if phase == "load" else {"prompt": 64, "new": 16}
        model.add_evidence("costs.jsonl", f.row(model, variant, phase, ms, size=size))
    (found,) = menus_of(app_of_packs([model]), one())  # sizes and bytes as the kind says
    assert chosen(found).variant == "torch"
    t = chosen(found).timing
    assert t is not None
    assert t.p50_ms == pytest.approx(200 + 16 * 30)
    assert t.p95_ms == pytest.approx(1.1 * (200 + 16 * 30))
    (reason,) = {r.why for o in found.devices[0].options if o.variant == "onnx" for r in o.refusals}
    assert reason == "this form has no phase 'decode': it cannot do the whole request"


def test_the_newest_build_of_the_fewest_threads_counts(tmp_path: Path) -> None:
    model = f.bare(tmp_path, "m")
    for runtime, when, threads, ms in (
        ("1", "2026-01-01", 1, 10.0),
        ("2", "2026-02-01", 1, 8.0),
        ("2", "2026-03-01", 2, 5.0),
    ):
        for phase in ("load", "run"):
            model.add_evidence(
                "costs.jsonl", f.row(model, "numpy", phase, ms, runtime={"v": runtime}, when=when, threads=threads)
            )
    t = chosen(menu([model], one(cores=4))).timing
    assert t is not None and (t.p50_ms, t.threads) == (8.0, 1)


def test_missing_memory_or_load_is_said(tmp_path: Path) -> None:
    model = f.bare(tmp_path, "m")
    model.add_evidence("costs.jsonl", f.row(model, "numpy", "run", 3.0, peak_bytes=None))
    with pytest.raises(HedgerowError, match="its load time was not weighed"):
        menu([model], one())
    model.add_evidence("costs.jsonl", f.row(model, "numpy", "load", 3.0, peak_bytes=None))
    with pytest.raises(HedgerowError, match="its memory was not measured"):
        menu([model], one())


# --- scores -----------------------------------------------------------------------------------------------------------
def test_scores_of_different_tests_are_never_mixed(tmp_path: Path) -> None:
    a = f.pack(tmp_path, "a", 1.0, 0.5)
    b = f.pack(tmp_path, "b", 1.0)
    b.add_evidence("scores.jsonl", f.score("numpy", 0.97, f.ROWS))
    with pytest.raises(HedgerowError) as caught:
        menu([a, b], one())
    assert "scores of different tests are not comparable: a on isic (split=grouped), split test" in str(caught.value)
    assert "b on isic (split=rows)" in str(caught.value)
    b.add_evidence("scores.jsonl", f.score("numpy", 0.55))
    assert chosen(menu([a, b], one())).score == {"value": 0.55, "low": 0.52, "high": pytest.approx(0.58), "n": 500}


def test_of_several_shared_tasks_one_must_be_picked(tmp_path: Path) -> None:
    packs = [f.pack(tmp_path, name, 1.0) for name in ("a", "b")]
    other = {**f.ROWS, "digest": "c" * 64}
    for p, (x, y) in zip(packs, ((0.5, 0.9), (0.6, 0.8))):
        p.add_evidence("scores.jsonl", f.score("numpy", x, f.ROWS))
        p.add_evidence("scores.jsonl", f.score("numpy", y, {**other, "options": {"split": "transfer"}}))
    with pytest.raises(HedgerowError, match="pick one with --task NAME"):
        menu(packs, one())
    assert chosen(menu(packs, one(), task="rows")).name == "b"
    assert chosen(menu(packs, one(), task="transfer")).name == "a"
    with pytest.raises(HedgerowError, match=r"no Pack was scored on a Task called 'trasnfer' .did you mean 'transfer'"):
        menu(packs, one(), task="trasnfer")
    for p in packs:
        p.add_evidence("scores.jsonl", f.score("numpy", 0.7))  # the Task that these Packs name as theirs wins
    assert menu(packs, one()).task == f.GROUPED


def test_the_newest_score_line_counts(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 1.0)
    for accuracy, when in ((0.7, "2026-02-01"), (0.5, "2026-01-01")):
        model.add_evidence("scores.jsonl", {**f.score("numpy", accuracy), "when": when})
    score = chosen(menu([model], one())).score
    assert score is not None and score["value"] == 0.7


def test_a_task_can_be_picked_by_its_digest(tmp_path: Path) -> None:
    model = f.pack(tmp_path, "m", 1.0, 0.5)
    model.add_evidence("scores.jsonl", f.score("numpy", 0.9, f.ROWS))
    assert menu([model], one(), task="bbbbbbbb").task == f.ROWS
    assert menu([model], one()).task == f.GROUPED  # the Pack's own
    with pytest.raises(HedgerowError, match="no Pack was scored on a Task called 'bbb'"):
        menu([model], one(), task="bbb")


def test_unknown_metrics_are_named_with_a_hint(tmp_path: Path) -> None:
    packs = f.trio(tmp_path)
    with pytest.raises(HedgerowError, match=r"no Pack has a score called 'acuracy' .*did you mean 'accuracy'"):
        menu(packs, one(), need=["acuracy>=0.5"])
    with pytest.raises(HedgerowError, match="by 'f1': no Pack has a score"):
        menu(packs, one(), by="f1")
    with pytest.raises(HedgerowError, match="none of these Packs was ever scored"):
        menu([f.pack(tmp_path, "m", 1.0)], one(), need=["accuracy>=0.5"])


def test_without_any_score_the_fastest_runs(tmp_path: Path) -> None:
    packs = [f.pack(tmp_path, "slow", 9.0), f.pack(tmp_path, "fast", 2.0)]
    found = menu(packs, one())
    assert (chosen(found).name, found.metric) == ("fast", None)


def test_less_is_better_when_the_need_says_so(tmp_path: Path) -> None:
    packs = []
    for name, ece in (("a", 0.04), ("b", 0.02)):
        packs.append(f.pack(tmp_path, name, 1.0))
        packs[-1].add_evidence("scores.jsonl", f.score("numpy", 0.5, ece=ece))
    assert chosen(menu(packs, one(), need=["ece<=0.05"])).name == "b"


def test_an_unquantised_form_takes_the_score_of_its_weights_and_says_so(tmp_path: Path) -> None:
    from hedgerow.pack import VariantInfo, add_variant

    model = f.bare(tmp_path, "m")
    for name, bits in (("onnx", ""), ("onnx-int8", "int8")):
        info = VariantInfo(runtime="onnx", of=model.digest, quantisation=bits)
        model = add_variant(model, name, info, lambda folder: (folder / "x").write_text("x") and None)
    model.add_evidence("scores.jsonl", f.score("torch", 0.6))
    for variant, ms in (("torch", 30.0), ("onnx", 20.0), ("onnx-int8", 10.0)):
        for phase in ("load", "run"):
            model.add_evidence("costs.jsonl", f.row(model, variant, phase, ms))
    found = menu([model], one(), need=["accuracy>=0.5"])
    by_form = {o.variant: o for o in found.devices[0].options}
    assert chosen(found).variant == "onnx"
    assert by_form["onnx"].score_note == "assumed: score of the form 'torch'"
    assert by_form["onnx-int8"].refusals[0].why == "the form 'onnx-int8' was never scored on this Task"
    assert by_form["torch"].score_note == ""


def test_a_quantised_form_of_a_trunk_needs_a_score_of_its_own_and_lends_none(tmp_path: Path) -> None:
    """The forms of a text classifier lie in its trunk: the Pack itself has no variants."""
    one_scored = {name: f.bare(tmp_path, name) for name in ("torch", "onnx-int8")}
    for scored, model in one_scored.items():
        model.add_evidence("scores.jsonl", f.score(scored, 0.6))
        for variant in ("torch", "onnx-int8"):
            for phase in ("load", "run"):
                model.add_evidence("costs.jsonl", f.row(model, variant, phase, 10.0))
        (found,) = menu([model], one()).devices
        assert {o.variant for o in found.options if o.eligible} == {scored}


def test_what_a_score_says_of_itself_is_printed_as_assumed(tmp_path: Path) -> None:
    from hedgerow.placing import place

    model = f.bare(tmp_path, "m")
    model.add_evidence("scores.jsonl", {**f.score("torch", 0.6), "note": "scored on its twin"})
    for phase in ("load", "run"):
        model.add_evidence("costs.jsonl", f.row(model, "torch", phase, 10.0))
    plan = place([model], one(), requests=1)
    assert "m/torch: scored on its twin" in plan.to_json()["assumptions"]


def test_a_plain_program_is_scaled_and_marked(tmp_path: Path) -> None:
    work = Work("sort", seconds=0.5, memory=10_000_000, source="measured: here", bytes_out=10)
    fleet = f.fleet(
        [f.device("a", fingerprint=f.THIS.fingerprint), f.device("b", like="a", factor=4.0)], [f.link("a", "b")]
    )
    app = app_of("x", [work], [("sort", 0, [])])
    (found,) = menus_of(app, fleet, need=["accuracy>=0.5"], this=f.THIS.fingerprint)
    assert [chosen(found, d).timing.p50_ms for d in (0, 1)] == [500.0, 2000.0]  # type: ignore[union-attr]
    assert [chosen(found, d).source for d in (0, 1)] == ["measured", "assumed"]
