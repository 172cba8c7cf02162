"""A model of the same shape with random weights: what the shape, the tokenizer and the prompts give by themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.pack import Info, Pack, Source, create, open_pack, write_arrays

_WEIGHTS = "weights.safetensors"
_SPREAD = 0.02  # standard deviation of the first weights of GPT-2 and of most models since


def random_weights(pack: Pack, seed: int = 0) -> Pack:
    """The Pack's files with every matrix drawn anew, normal with deviation 0.02; scales are 1 and biases 0.

    Kept in the user's cache by digest. Says nothing about capability: it is what a score must rise above. Raises
    HedgerowError for a Pack with a trunk, or without weights of its own.
    """
    if pack.info.trunk is not None or not pack.has(_WEIGHTS):
        raise HedgerowError(f"{pack.path} has no weights of its own, so no random model of its shape can be made")
    path = files.cache_dir() / "suite" / "random" / f"{pack.digest[:16]}-s{seed}"
    if not (path / "pack.toml").is_file():
        info = Info(
            name=f"{pack.info.name}, random weights",
            kind=pack.info.kind,
            summary="every matrix drawn anew: what the shape alone scores",
            data=(Source(name="random weights", licence="CC0-1.0"),),
            seed=seed,
        )
        with create(path, info) as folder:
            _copy(pack, folder)
            write_arrays(folder / _WEIGHTS, _drawn(pack.arrays(_WEIGHTS), seed))
    return open_pack(path, verify=False)


def _copy(pack: Pack, folder: Path) -> None:
    for name in sorted(files.read_json(pack.path / "manifest.json")["files"]):
        if name not in (_WEIGHTS, "pack.toml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(pack.file(name), folder / name)


def _drawn(arrays: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    out = {}
    for name, array in sorted(arrays.items()):
        if array.ndim >= 2:
            out[name] = (random.standard_normal(array.shape, dtype=np.float32) * _SPREAD).astype(array.dtype)
        else:
            out[name] = np.full_like(array, 0.0 if name.endswith("bias") else 1.0)
    return out
