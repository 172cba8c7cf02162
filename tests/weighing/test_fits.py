"""Will it fit: needed against available, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gguf_made import llama

from hedgerow.cost import Device, Geometry, formulas
from hedgerow.errors import HedgerowError
from hedgerow.weighing import fits


def test_sizes_and_counts_as_people_write_them() -> None:
    assert [fits.size_of(t) for t in ("4GiB", "500 MB", "2g", "1.5gib", "4096")] == [
        4 * 2**30, 500_000_000, 2 * 2**30, 3 * 2**29, 4096]  # fmt: skip
    assert [fits.count_of(t) for t in ("500M", "1.5B", "360000000")] == [500_000_000, 1_500_000_000, 360_000_000]


@pytest.mark.parametrize(
    "text", ["4GiB@", "4GiB@0", "4GiB@many", "4GiB@²", "lots@4096", "-1GiB", "0GiB", "9999999TiB", "", "@8"]
)
def test_no_budget_is_one_line(text: str) -> None:
    with pytest.raises(HedgerowError):
        fits.budget(text)


@pytest.mark.parametrize("text", ["many", "1.5X", "-5M", ""])
def test_no_count_is_one_line(text: str) -> None:
    with pytest.raises(HedgerowError, match="no number of parameters"):
        fits.count_of(text)


def test_a_budget_of_a_probed_device_and_of_this_one(tmp_path: Path) -> None:
    device = Device(name="phone", machine="aarch64", cpu="", cores=8, memory_bytes=6 << 30, fingerprint="c" * 12)
    file = tmp_path / "device.json"
    file.write_text(json.dumps(device.model_dump(mode="json")))
    asked = fits.budget(f"{file}@1024")
    assert (asked.bytes, asked.context, asked.device) == (6 << 30, 1024, "all memory of phone")
    assert fits.budget("here").bytes > 0
    with pytest.raises(HedgerowError, match="missing"):
        fits.budget(f"{tmp_path / 'absent.json'}@1024")
    file.write_text(json.dumps(device.model_copy(update={"memory_bytes": 0}).model_dump(mode="json")))
    with pytest.raises(
        HedgerowError, match=r"device\.json states no memory: add memory_bytes \(or give --fits 8GiB@1024\)"
    ):
        fits.budget(f"{file}@1024")


def test_needed_against_available_with_the_breakdown(tmp_path: Path) -> None:
    file = llama(tmp_path / "tiny.gguf")
    roomy = fits.fit_of(file, fits.budget("1GiB@100"))
    assert roomy.fits and roomy.largest_context == 128
    fits.refuse(roomy)
    n = roomy.needed
    assert n.total == sum(v or 0 for v in (n.weights, n.kv, n.compute, n.other))
    edge = fits.Budget(bytes=n.total or 0, context=100, device="as stated")
    assert fits.fit_of(file, edge).fits
    short = fits.fit_of(file, edge.model_copy(update={"bytes": edge.bytes - 1}))
    assert not short.fits and short.largest_context == 99
    with pytest.raises(HedgerowError, match=r"needs .*weights .*KV cache .*buffers .*99 tokens would fit; it was not"):
        fits.refuse(short)
    nothing = fits.fit_of(file, fits.budget("1kB@100"))
    with pytest.raises(HedgerowError, match="no context would fit"):
        fits.refuse(nothing)


def test_the_type_of_the_cache_and_a_repacked_copy_count(tmp_path: Path) -> None:
    file = llama(tmp_path / "tiny.gguf")
    asked = fits.budget("1GiB@100")
    plain, small = fits.fit_of(file, asked), fits.fit_of(file, asked, cache_k="q8_0", cache_v="q8_0")
    assert (small.needed.kv or 0) * 2 == pytest.approx((plain.needed.kv or 0) * 1.0625)
    twice = fits.fit_of(file, asked, repacked=("f16",))
    assert (twice.needed.other or 0) == formulas.weight_bytes(formulas.weights(_sizes(file), "f16")) - _tables(file)


def _sizes(file: Path) -> Geometry:
    from hedgerow.weighing import headers

    return headers.read(file).geometry


def _tables(file: Path) -> int:
    """Bytes of the embedding (f16) and of the vectors (f32), which no build repacks."""
    g = _sizes(file)
    return g.vocabulary * g.width * 2 + (2 * g.layers + 1) * g.width * 4
