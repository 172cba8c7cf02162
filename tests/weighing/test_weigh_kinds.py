"""Every kind is weighed by the same code, in the real process, and its rows can be compared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kinds"))
import tiny

from hedgerow import pack as packs
from hedgerow.cost import Cost
from hedgerow.kinds import KINDS, kind
from hedgerow.weighing import compare, measured_device, weigh


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_is_weighed(name: str, tmp_path: Path) -> None:
    pack = tiny.MAKERS[name](tmp_path)
    which = kind(name)
    form = which.variants(pack)[0]
    rows = weigh(pack, [form])
    load, calls = rows[0], rows[1:]
    assert load.phase == "load" and load.p50_ms > 0 and "interpreter" in load.note
    usual = [c for c in calls if c.size == which.unit.usual and c.batch == 1]
    assert usual and all(c.repeats >= 3 for c in usual)
    for c in rows:
        assert (c.pack, c.variant, c.unit, c.device) == (pack.digest, form, which.unit.name, measured_device())
        assert c.disk_bytes == which.disk_bytes(pack, form)
        assert c.weights_bytes and c.baseline_bytes and c.peak_bytes and c.peak_bytes >= c.baseline_bytes
        assert c.energy_j is None or c.energy_j > 0
    for c in calls:
        assert 0 < (c.min_ms or 0) <= c.p50_ms <= c.p95_ms
        assert (c.flops or 1) > 0 and bool(c.flops_cover) == (c.flops is not None)
    assert [Cost.model_validate(row) for row in packs.open_pack(pack.path).costs] == rows  # the Pack is still whole
    (group,) = compare([pack], f"{usual[0].phase}_ms", "peak_bytes")["groups"]
    assert group["task"] is None
    assert [p["x"] for p in group["points"]] == [usual[0].p50_ms]


def test_forms_of_one_pack_stand_side_by_side(tmp_path: Path) -> None:
    pack = tiny.static_encoder(tmp_path)
    weigh([pack, str(pack.path)], ["numpy"])  # a list, and a path
    assert len([c for c in pack.costs if c["phase"] == "load"]) == 2
    (group,) = compare([pack], "run_ms", "run_per_s")["groups"]
    assert len(group["points"]) == 1  # the newer rows
