"""Formulas: caches of every sort of attention, operations counted a second way, and refusals of absurd sizes."""

from __future__ import annotations

from typing import Any

import pytest

from hedgerow.cost import Geometry, Latent, formulas
from hedgerow.errors import HedgerowError

BASE: dict[str, Any] = {
    "layers": 3, "width": 64, "heads": 4, "kv_heads": 2, "head": 16, "ffn": 96, "gated": True, "vocabulary": 500,
    "tied": True, "norm": "rmsnorm",
}  # fmt: skip


def made(**more: Any) -> Geometry:
    return Geometry(**{**BASE, **more})


def test_cache_of_every_sort_of_attention() -> None:
    assert formulas.kv_bytes(made(), 100) == 2 * 3 * 2 * 16 * 100 * 2
    assert formulas.kv_bytes(made(kv_heads=1), 100) == 2 * 3 * 16 * 100 * 2  # MQA
    assert formulas.kv_bytes(made(kv_heads=(1, 2, 4)), 100) == 2 * 7 * 16 * 100 * 2  # layer by layer
    # a stated head size, not d / H: four heads of 256 in a width of 640, as Gemma has them
    gemma = made(width=640, heads=4, kv_heads=1, head=256, layers=18)
    assert formulas.kv_bytes(gemma, 1) == 2 * 18 * 256 * 2 != 2 * 18 * 160 * 2
    # every type of cache: q8_0 holds 34 bytes for 32 numbers, q4_0 18
    sizes = made(head=32)
    whole = formulas.kv_bytes(sizes, 64)
    assert formulas.kv_bytes(sizes, 64, "q8_0", "q8_0") == whole * 1.0625 / 2
    assert formulas.kv_bytes(sizes, 64, "q8_0", "q4_0") == whole * (1.0625 + 0.5625) / 4


def test_cache_of_a_sliding_window_ends_to_grow() -> None:
    sizes = made(window=10, windowed=(0, 2))
    one = 2 * 2 * 16 * 2  # bytes a position and layer
    assert formulas.kv_bytes(sizes, 8, ubatch=4) == 3 * 8 * one
    assert formulas.kv_bytes(sizes, 100, ubatch=4) == (100 + 2 * 14) * one


def test_cache_of_latent_attention_kept_small_or_expanded() -> None:
    latent = Latent(rank=256, rope=32, nope=64, value=64, query_rank=768)
    sizes = made(layers=62, width=2560, heads=40, kv_heads=40, head=96, ffn=6400, latent=latent)
    assert formulas.kv_bytes(sizes, 10) == 62 * 10 * 288 * 2
    assert formulas.kv_bytes(sizes, 10, latent=False) == 62 * 10 * 40 * (96 + 64) * 2
    assert sizes.attention == "mla"
    # what the projections hold, written out
    each = 2560 * 768 + 768 * 40 * 96 + 2560 * 288 + 256 * 40 * 128 + 40 * 64 * 2560
    assert sizes.attention_body == 62 * each
    stored = sum(t.elements for t in formulas.tensors(sizes) if t.part == "attention")
    assert stored == sizes.attention_body


def test_the_tensor_list_holds_the_body_and_the_parameters() -> None:
    for sizes in (made(), made(gated=False, tied=False), made(heads=(4, 4, 8), kv_heads=(1, 2, 4), ffn=(32, 64, 96)),
                  made(shared_ffn=True)):  # fmt: skip
        listed = formulas.tensors(sizes)
        matrices = sum(t.elements for t in listed if t.part in ("attention", "ffn"))
        assert matrices == sizes.body - (sizes.ffn_body * 2 // 3 if sizes.shared_ffn else 0)
        assert sum(t.elements for t in listed) == formulas.parameters(sizes)


def test_causal_attention_is_counted_pair_by_pair() -> None:
    for window in (None, 5):
        sizes = made(window=window)
        for new, past in ((7, 0), (4, 9), (1, 3), (6, 5)):
            pairs = sum(min(past + i + 1, window or 10**6) for i in range(new))
            found = formulas.flops_by_part(sizes, new, past, causal=True)["scores"]
            assert found == 4 * 3 * 4 * 16 * pairs


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("new", "past"), [(12, 0), (1, 20), (5, 7)])
def test_operations_are_those_that_torch_counts(family: str, new: int, past: int) -> None:
    """torch's FlopCounterMode with eager attention (its fused attention is not counted) equals the formula exactly."""
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DynamicCache

    if family == "llama":
        sizes = made(tied=False)
        config: Any = transformers.LlamaConfig(
            vocab_size=500, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, attn_implementation="eager",
        )  # fmt: skip
        net: Any = transformers.LlamaForCausalLM(config)
    else:
        sizes = made(kv_heads=4, gated=False, ffn=256)
        config = transformers.GPT2Config(
            vocab_size=500, n_embd=64, n_layer=3, n_head=4, n_positions=64, attn_implementation="eager"
        )
        net = transformers.GPT2LMHeadModel(config)
    net.eval()
    ids = torch.randint(0, 500, (1, past + new))
    cache = DynamicCache(config=config)
    with torch.no_grad():
        if past:
            net(ids[:, :past], cache=cache, use_cache=True)
        with FlopCounterMode(display=False) as counter:
            net(ids[:, past:], cache=cache, use_cache=True)
    assert counter.get_total_flops() == formulas.flops(sizes, new, past, logits=new)


def test_the_longest_context_that_fits_is_the_last_that_does() -> None:
    sizes = made(positions=4096)
    held = formulas.weights(sizes, "q8_0")
    room = formulas.memory(sizes, held, 1000).total or 0
    longest = formulas.largest_context(sizes, held, room)
    assert longest is not None and (formulas.memory(sizes, held, longest).total or 0) <= room
    assert (formulas.memory(sizes, held, longest + 1).total or 0) > room
    assert formulas.largest_context(sizes, held, 10) is None
    assert formulas.largest_context(sizes, held, 10**12) == 4096


def test_a_repacked_copy_is_that_of_the_body() -> None:
    sizes = made(width=64, ffn=96)
    held = formulas.weights(sizes, "q4_0")
    assert formulas.repacked_bytes(held, ("q4_0",)) == sizes.body * 18 // 32
    assert formulas.repacked_bytes(held, ("q8_0",)) == 0  # the embedding is looked up and stays as it is


@pytest.mark.parametrize(
    "wrong",
    [{"layers": 0}, {"layers": True}, {"width": 10**9}, {"heads": (1, 2)}, {"kv_heads": 3}, {"windowed": (7,)},
     {"head": 0}, {"heads": (4,) * 5000}],
)  # fmt: skip
def test_absurd_sizes_are_refused(wrong: dict[str, Any]) -> None:
    from hedgerow.schema import check

    with pytest.raises(HedgerowError):
        check(Geometry, {**BASE, **wrong}, "a header")


def test_an_unknown_cache_and_an_empty_context_are_one_line() -> None:
    with pytest.raises(HedgerowError, match="q8_O"):
        formulas.kv_bytes(made(), 10, "q8_O")
    with pytest.raises(HedgerowError, match="at least 1 token"):
        formulas.kv_bytes(made(), 0)
