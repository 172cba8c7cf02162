"""Vectors of a frozen trunk, computed once a text and kept in the user's cache.

One forward pass a text serves all splits, seeds and heads. The cache holds shards: safetensors files in which the texts
themselves travel beside their vectors, so a vector can never be paired with another text (we once saved keys apart, in
an order that hung on Python's hash seed, and nothing failed). A broken run loses one shard at most.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import files
from hedgerow.data import fetch
from hedgerow.errors import HedgerowError
from hedgerow.kinds import kind
from hedgerow.kinds import open as open_model
from hedgerow.kinds.text_features import normalise
from hedgerow.pack import Info, Pack, Source, keep_trunk, open_pack, read_arrays, trunk_cache, write_arrays
from hedgerow.run import Tick, progress
from hedgerow.runtimes import runnable

SHARD = 2048  # texts in one file: about 3 MB of MiniLM vectors, under a minute of SmolLM2

Encode = Callable[[list[str]], np.ndarray]


def shard_folder(digest: str, form: str) -> Path:
    """Where the vectors of one form of one trunk are kept."""
    return files.cache_dir() / "features" / f"{digest[:16]}-{form}"


def weights_digest(trunk: Pack) -> str:
    """Digest of what decides a trunk's vectors; another attribution in pack.toml makes another Pack, not others."""
    return files.digest([files.sha256(trunk.file(n)) for n in ("model.json", "tokenizer.json", "weights.safetensors")])


def load(folder: Path) -> tuple[list[str], np.ndarray]:
    """All cached texts and their vectors [n, d]; an unreadable shard is dropped, it is only a cache."""
    texts: list[str] = []
    parts: list[np.ndarray] = []
    for path in sorted(folder.glob("*.safetensors")):
        shard = _shard(path)
        if shard is None:
            path.unlink(missing_ok=True)
            continue
        texts += shard[0]
        parts.append(shard[1])
    return texts, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def _shard(path: Path) -> tuple[list[str], np.ndarray] | None:
    """Texts and vectors of one shard; None where it is not whole."""
    try:
        arrays = read_arrays(path)
        keys, vectors = json.loads(arrays["texts"].tobytes().decode()), arrays["vectors"].astype(np.float32)
    except (HedgerowError, KeyError, ValueError):
        return None
    return (keys, vectors) if len(keys) == len(vectors) else None


def compute(folder: Path, texts: Sequence[str], encode: Encode, tick: Tick | None = None) -> np.ndarray:
    """Vectors [n, d] float32 of ``texts`` in their order, taken from the shards in ``folder`` or computed and kept.

    New texts are sorted by (length, text): batches are of even length, and the order does not hang on a hash seed.
    """
    known, vectors = load(folder)
    have = {text: row for row, text in enumerate(known)}
    fresh = sorted({t for t in texts if t not in have}, key=lambda t: (len(t), t))
    if tick:
        tick(len(texts) - len(fresh))
    parts = [vectors] if len(known) else []
    for start in range(0, len(fresh), SHARD):
        chunk = fresh[start : start + SHARD]
        made = np.asarray(encode(chunk), np.float32)
        name = files.digest(chunk)[:16]
        keys = np.frombuffer(json.dumps(chunk, ensure_ascii=False).encode(), np.uint8)
        write_arrays(folder / f"{name}.safetensors", {"vectors": made, "texts": keys})
        rows = sum(map(len, parts))  # not len(have): two runs at once may have kept a text in two shards
        have.update({text: rows + i for i, text in enumerate(chunk)})
        parts.append(made)
        if tick:
            tick(len(chunk))
    stacked = np.concatenate(parts) if len(parts) > 1 else parts[0]
    return stacked[[have[t] for t in texts]]


class Frozen:
    """``frozen(trunk, texts) -> float32 [n, d]``: cached vectors of frozen trunks, by name; the texts are normalised.

    ``bf16`` names the trunks that run under autocast, three times as fast here. The precision is part of the cache's
    key, since vectors of two precisions differ in the third digit.
    """

    def __init__(
        self,
        trunks: Mapping[str, Pack],
        *,
        bf16: Collection[str] = (),
        threads: int = 1,
        quiet: bool = False,
    ) -> None:
        self.trunks, self._bf16, self._threads, self._quiet = dict(trunks), bf16, threads, quiet
        self._known: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, trunk: str, texts: Sequence[str]) -> np.ndarray:
        """Vectors of some texts by one of the trunks."""
        asked = [normalise(t) for t in texts]
        known = self._known.setdefault(trunk, {})
        missing = sorted({t for t in asked if t not in known})
        if missing:
            known |= dict(zip(missing, self._compute(trunk, missing)))
        return np.stack([known[t] for t in asked]) if asked else np.zeros((0, 1), np.float32)

    def _compute(self, trunk: str, texts: Sequence[str]) -> np.ndarray:
        pack, low = self.trunks[trunk], trunk in self._bf16
        form = next(f for f in kind(pack.info.kind).variants(pack) if runnable(f) is None)
        engine: list[Any] = []  # loaded when the first text is missing from the cache, not before

        def encode(chunk: list[str]) -> np.ndarray:
            if not engine:
                engine.append(open_model(pack, variant=form, threads=self._threads).engine)
            with _autocast(low):
                return np.asarray(engine[0].encode(chunk), np.float32)

        with progress(f"vectors of {trunk}", len(texts), self._quiet) as tick:
            return compute(shard_folder(weights_digest(pack), form + ("-bf16" if low else "")), texts, encode, tick)


def _autocast(on: bool) -> Any:
    if not on:
        return nullcontext()
    import torch

    return torch.autocast("cpu", torch.bfloat16)


def trunk(name: str, *, offline: bool = False) -> Pack:
    """The trunk Pack of a source (minilm, smollm2, fuse, e5) or of a local Hugging Face folder, made once and cached.

    A folder may hold an encoder or a decoder language model (a GPT-2, say); which of both, its config.json says.
    """
    folder = Path(name)
    own = (folder / "config.json").is_file()
    path = folder if own else fetch.obtain(name, offline=offline)
    version = _folder_digest(folder) if own else fetch.source(name).sha256
    note = files.cache_dir() / "trunks" / f"{folder.name if own else name}-{version[:12]}.json"
    if note.is_file():
        kept = trunk_cache(files.read_json(note)["digest"])
        try:
            return open_pack(kept, verify=False)
        except HedgerowError:  # swept away, damaged, or of another version: it is only a cache
            shutil.rmtree(kept, ignore_errors=True)
    with files.new_folder(files.cache_dir() / "trunks" / f".making-{version[:12]}", replace=True) as temporary:
        made = _make(path, temporary / "pack", _own_info(folder) if own else _info(name))
        kept = keep_trunk(made)
    files.write_json(note, {"digest": kept.name})
    return open_pack(kept, verify=False)


def _make(path: Path, target: Path, info: Info) -> Pack:
    from hedgerow.kinds import decoder_lm, encoder, transformer

    if path.suffix == ".gguf":
        return decoder_lm.from_gguf(path, target, info)
    if path.suffix == ".bin":
        return _make_e5(path, target, info)
    if (path / "sp.model").is_file():
        return encoder.from_use(path, target, info)
    if files.read_json(path / "config.json").get("model_type") in transformer.ENCODERS:
        return encoder.from_folder(path, target, info)
    return decoder_lm.from_folder(path, target, info)


def _make_e5(path: Path, target: Path, info: Info) -> Pack:
    """multilingual-e5-small out of its 4-bit file, kept in half precision."""
    import torch
    from transformers import BertConfig, BertModel

    from hedgerow.data.e5 import read_e5
    from hedgerow.kinds.encoder import save_encoder

    found = read_e5(path)
    body = BertModel(BertConfig(**found.config), add_pooling_layer=False)
    body.load_state_dict({name: torch.from_numpy(array) for name, array in found.arrays.items()})
    return save_encoder(target, info, body, found.tokenizer, max_tokens=512, dtype="float16")


def _info(name: str) -> Info:
    source = fetch.source(name)
    data = (source.provenance(),)
    return Info(name=name, kind="encoder", summary=source.note, data=data, shareable=source.shareable)


def _own_info(folder: Path) -> Info:
    data = Source(name=folder.name, licence="yours to say", shareable=False)
    return Info(name=folder.name, kind="encoder", summary="a local model", data=(data,), shareable=False)


def _folder_digest(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise HedgerowError(
            f"{folder} holds no .safetensors file; convert its weights first (pickled ones are not read)"
        )
    return files.digest([files.sha256(p) for p in (folder / "config.json", *weights)])


def remembered(encoders: Mapping[str, Encode]) -> Callable[[str, Sequence[str]], np.ndarray]:
    """``(trunk, texts) -> vectors`` by encoders in memory, each text once: for a trunk that was just trained."""
    known: dict[str, dict[str, np.ndarray]] = {name: {} for name in encoders}

    def vectors(trunk: str, texts: Sequence[str]) -> np.ndarray:
        asked, have = [normalise(t) for t in texts], known[trunk]
        missing = sorted({t for t in asked if t not in have}, key=lambda t: (len(t), t))
        if missing:
            have.update(zip(missing, encoders[trunk](missing)))
        return np.stack([have[t] for t in asked]) if asked else np.zeros((0, 1), np.float32)

    return vectors
