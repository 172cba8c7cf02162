"""A form that never ran on a probed device is placed by prediction; a measured row always wins over one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fabricated as f
import numpy as np
import pytest

from hedgerow.cost import Device, Geometry, Rates, formulas, predict
from hedgerow.pack import Pack
from hedgerow.placing.dag import Work
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.options import DeviceMenu, Menu, Option
from hedgerow.placing.timing import Timing, gather, timing_of_pack
from hedgerow.placing.view import Z95, Candidates, Form
from hedgerow.placing.world import AS_BELIEVED, World, draw

SIZES = Geometry(layers=30, width=576, heads=9, kv_heads=3, head=64, ffn=1536, gated=True, vocabulary=49152, tied=True)
HELD = formulas.weights(SIZES, "q8_0")
RATES = Rates(threads=2, runtime={"name": "llama.cpp"}, decode={"q8_0": 10e9}, prefill={"q8_0": 50e9}, step_s=1e-3)
SIZE = {"prompt": 64, "new": 16}


def measured(path: Path, device: Device = f.THIS, decode_ms: float = 6.0) -> Pack:
    pack = f.bare(path, "lm", kind="decoder-lm")
    add(pack, device, decode_ms)
    return pack


def add(pack: Pack, device: Device, decode_ms: float) -> None:
    fixed: dict[str, Any] = {"device": device, "geometry": SIZES, "weights": HELD, "size": SIZE}
    pack.add_evidence("costs.jsonl", f.row(pack, "gguf", "load", 300.0, device=device))
    for phase, ms in (("prefill", 100.0), ("decode", decode_ms)):
        pack.add_evidence("costs.jsonl", f.row(pack, "gguf", phase, ms, **fixed))


def fleet(path: Path, rates: tuple[Rates, ...] = (RATES,), **more: Any) -> Fleet:
    other = f.OTHER.model_copy(update={"rates": rates})
    (path / "device.json").write_text(json.dumps(other.model_dump(mode="json")))
    devices = [f.device("phone", profile="device.json", cores=4, **more)]
    return Fleet.of({"home": "phone", "devices": devices, "links": []}, "test.toml", path)


def timing(pack: Pack, where: Fleet) -> Timing | str:
    work = Work(name="ask", packs=(pack,), size=SIZE, batch=1)
    return timing_of_pack(pack, "gguf", where.devices[0], work, where, gather([pack], where))


def test_a_form_that_never_ran_there_is_predicted_with_its_note(tmp_path: Path) -> None:
    found = timing(measured(tmp_path), fleet(tmp_path))
    assert isinstance(found, Timing) and (found.source, found.threads) == ("predicted", 2)
    one = predict.decode(RATES, SIZES, HELD, 72).ms
    assert found.p50_ms == pytest.approx(predict.prefill(RATES, SIZES, HELD, 64).ms + 16 * one)
    assert found.p95_ms > found.p50_ms and found.load_ms == 300.0
    assert "predicted by" in found.note and "hedgerow weigh" in found.note


def test_a_measured_row_wins(tmp_path: Path) -> None:
    pack = measured(tmp_path)
    add(pack, f.OTHER, 20.0)
    found = timing(pack, fleet(tmp_path))
    assert isinstance(found, Timing) and found.source == "measured"
    assert found.p50_ms == pytest.approx(100.0 + 16 * 20.0)


def test_without_rates_that_fit_the_owners_cores_nothing_is_made_up(tmp_path: Path) -> None:
    pack = measured(tmp_path)
    assert "nobody weighed it on phone" in str(timing(pack, fleet(tmp_path, rates=())))
    assert "nobody weighed it on phone" in str(timing(pack, fleet(tmp_path, rules={"max_cores": 1})))
    bare = Rates(threads=1, runtime={}, bandwidth=10e9)  # reading alone says nothing about a prompt
    assert "nobody weighed it on phone" in str(timing(pack, fleet(tmp_path, rates=(bare,))))


def candidates(found: Timing, where: Fleet) -> Candidates:
    option = Option(0, "lm", "lm", "gguf", found, None, "", 0.0, None, ())
    menu = DeviceMenu("phone", "edge", (option,), 0, None, None)
    return Candidates.of(Menu("ask", None, True, None, (), (), (menu,)), {Form("lm", "lm", "gguf"): 0}, where)


def test_a_predicted_time_errs_for_good_by_its_own_band_and_not_from_call_to_call(tmp_path: Path) -> None:
    where, pack = fleet(tmp_path), measured(tmp_path)
    found = timing(pack, where)
    assert isinstance(found, Timing)
    c = candidates(found, where)
    assert c.assumed.all() and c.spread == [0.0]
    assert np.exp(Z95 * c.doubt[0]) == pytest.approx(found.p95_ms / found.p50_ms)
    off = [draw(World(doubt=0.05), where, 1, 1, seed).wrong(0, float(c.doubt[0])) for seed in range(4000)]
    # the World's own doubt of assumed speeds is far less than this band of 50 %
    assert np.quantile(off, 0.95) == pytest.approx(found.p95_ms / found.p50_ms, rel=0.05)
    assert draw(AS_BELIEVED, where, 1, 1, 0).wrong(0, float(c.doubt[0])) == 1.0


def test_a_measured_time_does_not_err_and_an_assumed_one_as_the_world_says(tmp_path: Path) -> None:
    where = fleet(tmp_path)
    fixed = {"load_ms": 1.0, "memory_bytes": 1, "disk_bytes": 1, "threads": 1}
    sure, stated = (Timing(p50_ms=10.0, p95_ms=12.0, source=s, **fixed) for s in ("measured", "assumed"))  # type: ignore[arg-type]
    truth = draw(World(doubt=0.3), where, 1, 1, 7)
    c = candidates(sure, where)
    assert not c.assumed.any() and c.spread[0] > 0 and truth.wrong(0, float(c.doubt[0])) == 1.0
    c = candidates(stated, where)
    assert c.assumed.all() and c.spread[0] > 0 and truth.wrong(0, float(c.doubt[0])) == float(truth.speed[0]) != 1.0
