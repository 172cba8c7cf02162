"""Formats of weights: block sizes as the reference library has them, and what a named quantisation really is."""

from __future__ import annotations

import pytest

from hedgerow.cost import Geometry, Weights, formats, formulas
from hedgerow.errors import HedgerowError

SMOL = Geometry(
    layers=30, width=576, heads=9, kv_heads=3, head=64, ffn=1536, gated=True, vocabulary=49152, tied=True,
    norm="rmsnorm", architecture="llama",
)  # fmt: skip


def test_blocks_and_numbers_are_those_of_the_reference_library() -> None:
    import gguf

    sizes = {t.name.lower(): size for t, size in gguf.GGML_QUANT_SIZES.items()}
    assert sizes == {name: formats.BLOCKS[name] for name in sizes}
    assert {int(t): t.name.lower() for t in gguf.GGML_QUANT_SIZES} == formats.NUMBERS


def test_a_named_4_bit_mix_is_mostly_5_and_8_bits_where_256_does_not_divide_the_rows() -> None:
    held = formulas.weights(SMOL, "Q4_K_M")
    assert formats.mix_line(held) == "58 % q5_0, 22 % q8_0, 11 % q4_k, 9 % q6_k; 6.17 bits a weight"
    two = formulas.weights(SMOL, "q2_k")
    assert "q2_k" not in two.mix  # "Q2_K" without any Q2_K
    wide = Geometry(**{**SMOL.model_dump(), "width": 512, "heads": 8, "kv_heads": 4})
    assert max(formulas.weights(wide, "q2_k").mix.items(), key=lambda item: item[1])[0] == "q2_k"


@pytest.mark.parametrize(
    ("mix", "megabytes"),
    [("f16", 269), ("q8_0", 143), ("q6_k", 137), ("q5_k_m", 110), ("q4_k_m", 104), ("q4_1", 97), ("q4_0", 90),
     ("q3_k_m", 92), ("q2_k", 86)],
)  # fmt: skip
def test_bytes_of_every_quantisation_of_a_real_model(mix: str, megabytes: int) -> None:
    """Sizes that an engine's own quantiser produced for SmolLM2-135M, in whole megabytes."""
    assert round(formulas.weight_bytes(formulas.weights(SMOL, mix)) / 1e6) == megabytes


def test_a_row_that_not_even_32_divides_stays_in_16_bits() -> None:
    assert [formats.fitting("q4_k", row) for row in (512, 576, 80, 33)] == ["q4_k", "q5_0", "f16", "f16"]
    assert formats.fitting("q4_0", 64) == "q4_0"


def test_an_unknown_format_is_one_line_with_the_nearest() -> None:
    with pytest.raises(HedgerowError, match=r"no weight format is called 'Q4_KM' \(did you mean 'q4_k_m'\?\)"):
        formats.known("Q4_KM")


def test_what_a_step_reads_leaves_out_a_looked_up_embedding_only() -> None:
    tied = Weights(parts={"embedding": {"q8_0": 320}, "ffn": {"q4_0": 64}}, tied=True)
    untied = Weights(parts={"embedding": {"q8_0": 320}, "head": {"q6_k": 512}, "ffn": {"q4_0": 64}})
    assert formulas.step_bytes(tied) == {"q4_0": 36.0, "q8_0": 340.0}
    assert formulas.step_bytes(untied) == {"q4_0": 36.0, "q6_k": 420.0}
    assert formats.bits_per_weight(tied) == pytest.approx(8 * 376 / 384)
