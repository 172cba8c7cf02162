"""llama.cpp through ``cyllama``: a wheel that needs no compiler. Its small gaps are filled here."""

from __future__ import annotations

import atexit
import json
import weakref
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.runtimes.cpu import described
from hedgerow.runtimes.llama import MOST, Options

# The binding cannot say for which CPU it was compiled. Found by disassembling the x86-64 wheels: no register wider
# than 256 bits is used. Others are 'not told'.
_COMPILED = {"0.2.18": "AVX AVX2 FMA F16C"}


_heard: list[Callable[[int, str], object]] = []
_open: weakref.WeakSet[_Handle] = weakref.WeakSet()


def _leave(library: Any) -> None:
    """At the interpreter's end: close what is open, then no more log."""
    for handle in list(_open):
        handle.close()
    library.disable_logging()


class Cyllama:
    """The binding."""

    def __init__(self, listen: Callable[[int, str], object]) -> None:
        from cyllama.llama import llama_cpp

        self._library: Any = llama_cpp
        if not _heard:  # a callback that outlives the interpreter ends the process with a fault
            atexit.register(_leave, llama_cpp)
        _heard[:] = [listen]
        llama_cpp.set_log_callback(lambda level, text: _heard[0](level, text))

    def about(self) -> dict[str, str]:
        """Library, version, llama.cpp's build and what it was compiled for."""
        import platform

        import cyllama

        config = json.loads((Path(cyllama.__file__).parent / "build_config.json").read_text(encoding="utf-8"))
        number = version("cyllama")
        compiled = _COMPILED.get(number, "not told") if platform.machine() == "x86_64" else "not told"
        build = str(config.get("versions", {}).get("llama_cpp_version", "unknown"))
        return described("llama.cpp", build, binding=f"cyllama {number}", compiled_for=compiled)

    def open(self, path: Path, options: Options) -> _Handle:
        """Load a file that was checked."""
        return _Handle(self._library, path, options)

    def quantise(self, source: Path, target: Path, ftype: int, threads: int, again: bool) -> None:
        """Write ``target`` in another format."""
        params = self._library.LlamaModelQuantizeParams()
        params.ftype, params.nthread, params.allow_requantize = ftype, threads, again
        self._library.model_quantize(str(source), str(target), params)


class _Handle:
    def __init__(self, library: Any, path: Path, options: Options) -> None:
        self._library = library
        self._model = _model(library, path, options)
        self._words = self._model.get_vocab()
        self.vocabulary = int(self._words.n_vocab)
        self._model.n_vocab = self.vocabulary
        self.adds_start, self.start = bool(self._words.get_add_bos()), int(self._words.token_bos())
        self._context: Any = None
        self.remake(options)
        _open.add(self)

    def remake(self, options: Options) -> None:
        """Another context for the same model."""
        if self._context is not None:
            self._context.close()
            self._context = None
        self._context = self._library.LlamaContext(self._model, options.fill(self._library.LlamaContextParams()))
        self._batch = self._library.LlamaBatch(n_tokens=max(MOST, options.ubatch), embd=0, n_seq_max=1)
        self._sequences = options.sequences
        self._sets = [[s] for s in range(options.sequences)]

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token numbers without the start token."""
        return list(self._words.tokenize(text, False, special))

    def text(self, ids: Sequence[int]) -> str:
        """The text of token numbers as it follows other text.

        The binding strips what a text begins with (a space, a line's end), so a letter stands before it and is cut off.
        """
        letter = list(self._words.tokenize("a", False, False))
        whole = str(self._words.detokenize([*letter, *ids]))
        return whole[len(str(self._words.detokenize(letter))) :]

    def decode(self, tokens: Sequence[int], at: Sequence[int], of: Sequence[int], wanted: Sequence[bool]) -> None:
        """One batch with explicit positions (after a cleared cache the binding's own are refused)."""
        batch, sets = self._batch, self._sets
        batch.clear()
        for token, position, sequence, want in zip(tokens, at, of, wanted, strict=True):
            batch.add(token, position, sets[sequence], want)
        self._context.decode(batch)
        self._context.synchronize()

    def logits(self, place: int) -> np.ndarray:
        """[V] float32; the binding hands them over as a list."""
        return np.asarray(self._context.get_logits_ith(place), dtype=np.float32)

    def hidden(self, place: int) -> np.ndarray:
        """[d] float32 of one token."""
        return np.asarray(self._context.get_embeddings_ith(place), dtype=np.float32)

    def clear(self) -> None:
        """Forget all sequences, without wiping the buffer."""
        self._context.kv_cache_clear(False)

    def cut(self, position: int) -> None:
        """Forget what lies at ``position`` and after it."""
        for sequence in range(self._sequences):
            if not self._context.memory_seq_rm(sequence, position, -1):
                raise ValueError("this model's cache cannot be cut")

    def save(self, sequence: int) -> bytes:
        """The cache of one sequence."""
        return bytes(self._context.get_state_seq_data(sequence))

    def restore(self, sequence: int, state: bytes) -> None:
        """Put a saved cache back."""
        self._context.set_state_seq_data(state, sequence)

    def close(self) -> None:
        """Give the memory back."""
        if self._context is not None:
            self._context.close()
            self._model.close()
            self._context = None


def _model(library: Any, path: Path, options: Options) -> Any:
    """The model, of a class that knows its vocabulary: the binding's logits ask for that name and do not have it."""

    class Model(library.LlamaModel):  # type: ignore[misc]  # the binding has no types
        n_vocab = 0

    params = library.LlamaModelParams()
    params.use_mmap, params.use_extra_bufts, params.n_gpu_layers = options.mmap, options.repack, 0
    return Model(str(path), params)
