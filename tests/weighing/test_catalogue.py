"""The catalogue: whole, consistent with itself, and its formulas against the memory that the authors measured."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
from gguf_made import llama

from hedgerow.cost import formulas
from hedgerow.errors import HedgerowError
from hedgerow.weighing import catalogue
from hedgerow.weighing.catalogue import Query

MIB = 2**20
ROWS: list[dict[str, Any]] = catalogue.published()["jetson"]["rows"]
PLAIN = [r for r in ROWS if not r["model"].startswith("OpenELM")]
NAMED = [r["model"] for r in ROWS]


def test_68_models_of_the_table_and_what_stands_beside_them() -> None:
    known = catalogue.load()
    assert (len(known.model), len(known.baseline), len(known.later)) == (68, 4, 9)
    used = {key for m in known.model.values() for key in m.data}
    assert used == set(known.data_sets)
    assert all(m.open_data == bool(m.data) for m in known.model.values())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2", 124), ("gpt2-xl", 1558), ("opt-1.3b", 1316), ("SmolLM-360M", 362), ("TinyLlama-1.1B", 1100),
     ("Qwen2-0.5B", 494), ("Qwen2.5-3B", 3086), ("gemma-2b", 2506), ("gemma-2-2b", 2614), ("phi-2", 2780),
     ("Llama-3.2-1B", 1236), ("Llama-3.2-3B", 3213), ("MiniCPM3-4B", 4074), ("OpenELM-270M", 272)],
)  # fmt: skip
def test_parameters_are_those_that_the_models_are_known_for(name: str, millions: int) -> None:
    assert formulas.parameters(catalogue.model(name).geometry) / 1e6 == pytest.approx(millions, rel=0.004)


@pytest.mark.parametrize("row", ROWS, ids=NAMED)
def test_published_cache_is_met_to_a_tenth_of_a_mebibyte(row: dict[str, Any]) -> None:
    """Context 2048, f16: all 18 plain models, and the four whose heads differ from layer to layer."""
    sizes = catalogue.model(row["model"]).geometry
    assert formulas.kv_bytes(sizes, 2048) / MIB == pytest.approx(row["kv_mib"], abs=0.1)


def test_published_compute_buffers_are_met_for_16_of_18() -> None:
    off = {
        r["model"]: formulas.compute_bytes(catalogue.model(r["model"]).geometry, 2048, rule="2024") / MIB
        - r["compute_mib"]
        for r in PLAIN
    }
    assert len(PLAIN) == 18
    far = {name: round(value) for name, value in off.items() if abs(value) > 1.01}
    assert far == {"bloom-1b1": -3, "pythia-2.8b": -9}


def test_published_weights_are_met_within_half_a_per_cent() -> None:
    """The figure's "4 bits" is Q4_K_M. Above 1024 MiB the engine prints GiB: the figure is GiB × 1000."""
    off = {}
    for row in ROWS:
        sizes = catalogue.model(row["model"]).geometry
        found = formulas.weight_bytes(formulas.weights(sizes, "q4_k_m")) / MIB
        printed = row["weights_mib"]
        off[row["model"]] = found / (printed * 1.024 if printed >= 1024 else printed) - 1
    plain = [abs(off[r["model"]]) for r in PLAIN]
    assert max(plain) <= 0.005 and statistics.median(plain) <= 0.002
    assert max(abs(v) for v in off.values()) <= 0.012  # the layer-wise OpenELM


def test_a_tied_head_that_a_file_holds_twice_is_counted_twice() -> None:
    """Bloom-560M prints 816 M parameters: its converted file holds the shared matrix as embedding and as head."""
    sizes = catalogue.model("bloom-560m").geometry
    assert formulas.weights(sizes, "q4_k_m").elements / 1e6 == pytest.approx(816, rel=0.002)
    assert formulas.parameters(sizes) / 1e6 == pytest.approx(559, rel=0.002)


def test_both_values_stand_where_table_and_config_differ() -> None:
    found = {(name, d.field): (d.table, d.other) for name, m in catalogue.load().model.items() for d in m.differs}
    assert found["Phi-3-mini-4k-instruct", "kv_heads"] == ("GQA", "32 (MHA)")
    assert found["Fox-1-1.6B", "vocabulary"] == ("32000", "256000")
    assert all(d.source for m in catalogue.load().model.values() for d in m.differs)
    assert catalogue.model("fox-1-1.6b").geometry.vocabulary == 256_000  # the config's value counts


def names(**more: Any) -> list[str]:
    return [e.name for e in catalogue.entries(Query(**more))]


def test_queries() -> None:
    assert names(attention="mla") == ["MiniCPM3-4B"]
    assert names(attention="mqa") == ["gemma-2b", "recurrentgemma-2b"]
    small = names(max_params=500_000_000, attention="gqa")
    assert {"SmolLM-135M", "Qwen2-0.5B", "OpenELM-270M"} <= set(small) and "Qwen1.5-0.5B" not in small
    assert names(algorithm="mup") == [f"Cerebras-GPT-{n}" for n in ("111M", "256M", "590M", "1.3B", "2.7B")]
    assert set(names(data="FW")) == {"SmolLM-135M", "SmolLM-360M", "SmolLM-1.7B"}
    assert names(owner="toyota", open_data=True) == ["DCLM-1B"]
    assert set(names(since="2024-09", max_params=1_000_000_000)) == {"Qwen2.5-0.5B"}
    assert names(norm="layernorm_nonparametric") == ["OLMo-1B-hf"]
    sizes = [e.parameters for e in catalogue.entries(Query())]
    assert len(sizes) == 68 and sizes[-1] is None  # Griffin is no transformer: nothing is calculated for it
    assert sizes[:-1] == sorted(s for s in sizes if s is not None)


def test_a_budget_counts_weights_cache_and_buffers() -> None:
    room = next(e.memory.total for e in catalogue.entries(Query(context=4096)) if e.name == "Qwen2-0.5B" and e.memory)
    assert "Qwen2-0.5B" in names(budget=room, context=4096)
    assert "Qwen2-0.5B" not in names(budget=(room or 0) - 1, context=4096)
    assert "Qwen2-0.5B" not in names(budget=room, context=8192)
    assert "Qwen2-0.5B" in names(budget=room, context=8192, cache_k="q4_0", cache_v="q4_0", ubatch=128)


def test_an_own_file_is_a_row_like_the_others(tmp_path: Path) -> None:
    file = llama(tmp_path / "own.gguf")
    first = catalogue.entries(Query(max_params=200_000_000), [file])[0]
    assert (first.name, first.where, first.layout, first.format) == ("tiny", str(file), "gguf", "as stored")
    assert first.parameters == formulas.parameters(first.geometry)
    assert catalogue.entries(Query(attention="mha", max_params=50_000_000), [file]) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"format": "q4km"}, "did you mean 'q4_k_m'"), ({"owner": "Gogle"}, "did you mean 'google'"),
     ({"data": "FX"}, "no data set 'FX'"), ({"names": ("SmolLM-135",)}, "did you mean 'smollm-135m'"),
     ({"norm": "rms"}, "norm 'rms'")],
)  # fmt: skip
def test_a_slip_of_the_pen_is_one_line(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(HedgerowError, match=says):
        catalogue.query(**wrong)


def test_a_context_beyond_a_models_positions_does_not_pass_and_is_said() -> None:
    plenty = 64 << 30
    assert "SmolLM-135M" in names(budget=plenty, context=2048)  # it was made for 2,048 positions
    long = Query(budget=plenty, context=2049)
    assert "SmolLM-135M" not in names(budget=plenty, context=2049) and "Qwen2-0.5B" in names(
        budget=plenty, context=2049
    )
    assert catalogue.too_short(long)["SmolLM-135M"] == 2048 and "Qwen2-0.5B" not in catalogue.too_short(long)
    assert catalogue.too_short(long.model_copy(update={"budget": 1 << 20})) == {}  # those lack the memory first
    (shown,) = catalogue.entries(Query(names=("SmolLM-135M",), context=8192))
    assert "2,048 positions, fewer than the 8,192 tokens" in shown.beyond
