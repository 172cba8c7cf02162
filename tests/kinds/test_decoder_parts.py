"""Time by part: every module is counted once, and operations are those of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

import hedgerow as hr
from hedgerow.cost import formulas
from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_parts


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return hr.open(tiny.decoder_lm(tmp_path_factory.mktemp("parts")), "torch").engine


def test_each_part_is_timed_and_its_operations_add_up(engine: Any) -> None:
    found = decoder_parts.by_part(engine, 24, repeats=2)
    for phase, (new, past) in {"prefill": (24, 0), "decode": (1, 24)}.items():
        parts = found[phase]
        assert set(parts) == set(decoder_parts.PARTS)
        assert all(parts[p]["ms"] > 0 for p in ("attention", "ffn", "head", "embedding"))
        assert sum(p["share"] for p in parts.values()) == pytest.approx(1.0)
        assert sum(p["flops"] for p in parts.values()) == formulas.flops(engine.geometry, new, past)
        assert parts["embedding"]["flops"] == 0


def test_calls_of_the_clock_tell_how_often_each_part_ran(engine: Any) -> None:
    """A clock that moves by one a call: each module between its two calls takes 1, so the sums are counts."""
    ticks = iter(range(10**6))
    found = decoder_parts.by_part(engine, 8, repeats=1, clock=lambda: float(next(ticks)))
    counts = {part: round(v["ms"] / 1e3) for part, v in found["decode"].items()}
    layers = engine.geometry.layers
    assert (counts["attention"], counts["ffn"], counts["head"], counts["embedding"]) == (layers, layers, 1, 1)
    assert not engine.net.get_output_embeddings()._forward_hooks  # nothing is left behind


def test_another_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="torch form"):
        decoder_parts.by_part(object(), 8)
