"""The formula's mix of formats is what llama.cpp's own quantiser writes, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.cost import Geometry, formulas
from hedgerow.runtimes import random_gguf
from hedgerow.runtimes.llama import quantise
from hedgerow.weighing import headers

SHAPES = {
    "256 divides": Geometry(layers=9, width=256, heads=8, kv_heads=2, head=32, ffn=512, gated=True, vocabulary=320,
                            tied=True, architecture="llama"),
    "32 divides": Geometry(layers=8, width=192, heads=6, kv_heads=6, head=32, ffn=512, gated=True, vocabulary=320,
                           tied=True, architecture="llama"),
}  # fmt: skip
MIXES = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_m", "q3_k_l",
         "q3_k_s", "q2_k")  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Geometry, Path]:
    sizes = SHAPES[request.param]
    file = tmp_path_factory.mktemp("mixes") / "f16.gguf"
    random_gguf.write(file, sizes)
    return sizes, file


@pytest.mark.parametrize("mix", MIXES)
def test_the_quantiser_gives_every_part_the_formats_of_the_formula(
    wide: tuple[Geometry, Path], mix: str, tmp_path: Path
) -> None:
    sizes, file = wide
    target = tmp_path / f"{mix}.gguf"
    quantise(file, target, mix, threads=1)
    written = headers.read(target).weights
    assert written.parts == formulas.weights(sizes, mix).parts
