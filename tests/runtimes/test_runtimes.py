"""What an engine says of itself, and that it runs on as many threads as it was told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from hedgerow.errors import HedgerowError
from hedgerow.runtimes import RUNTIMES, cpu, runnable, runtime_of
from hedgerow.runtimes import numpy as numpy_runtime
from hedgerow.runtimes import torch as torch_runtime

X86 = "flags\t\t: fpu sse4_2 avx avx2 fma avx512f avx512_vnni\nbugs\t: x\n\nprocessor\t: 1\nflags\t: fpu\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd aes asimdhp asimddp i8mm bf16 sve\n"


@pytest.mark.parametrize(("text", "found"), [
    (X86, ("avx", "avx2", "avx512_vnni", "avx512f", "fma", "sse4_2")),
    (ARM, ("asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve")),
    ("nothing of the kind\n", ()),
    ("", ()),
])  # fmt: skip
def test_cpu_features(tmp_path: Path, text: str, found: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert tuple(sorted(cpu.features(str(tmp_path / "cpuinfo")))) == found


def test_a_system_without_that_file(tmp_path: Path) -> None:
    assert cpu.features(str(tmp_path / "nowhere")) == ()


def test_each_engine_says_what_it_is() -> None:
    for said in (numpy_runtime.describe(), torch_runtime.describe("bfloat16")):
        assert said["version"] and said["library"] in ("numpy", "torch")
        assert all(isinstance(value, str) for value in said.values())
    assert numpy_runtime.describe()["blas"] != "unknown"
    assert torch_runtime.describe("bfloat16")["precision"] == "bfloat16"


def test_forms_name_their_runtime() -> None:
    assert [runtime_of(f) for f in ("onnx-int8", "torch", "numpy")] == ["onnx", "torch", "numpy"]
    assert all(runnable(name) is None for name in RUNTIMES)
    assert "no runtime is called 'tflite'" in str(runnable("tflite-int8"))


def test_threads_are_what_was_asked_for() -> None:
    before = torch.get_num_threads()
    with torch_runtime.running("here", 2):
        assert torch.get_num_threads() == 2 and torch.is_inference_mode_enabled()
    with torch_runtime.running("here", 1):
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
    np.ones((4, 4)) @ np.ones((4, 4))
    with numpy_runtime.threads(1):
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}


def test_what_a_net_raises_is_one_line() -> None:
    with (
        pytest.raises(HedgerowError, match="here: the net cannot be run: mat1 and mat2"),
        torch_runtime.running("here", 1),
    ):
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(HedgerowError, match="as it was"), torch_runtime.running("here", 1):
        raise HedgerowError("as it was")
    with pytest.raises(KeyboardInterrupt), torch_runtime.running("here", 1):
        raise KeyboardInterrupt
