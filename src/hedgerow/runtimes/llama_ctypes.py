"""llama.cpp through ``llama-cpp-python``, which is built from source and so compiled for the machine it runs on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.runtimes.cpu import described
from hedgerow.runtimes.llama import MOST, Options

_heard: list[Any] = []  # the callback, which must outlive the library's use of it


class LlamaCpp:
    """The binding."""

    def __init__(self, listen: Callable[[int, str], object]) -> None:
        import llama_cpp

        self._library: Any = llama_cpp

        def hear(level: int, text: bytes, data: Any) -> None:
            listen(level, text.decode("utf-8", errors="replace"))

        _heard[:] = [self._library.llama_log_callback(hear)]
        self._library.llama_log_set(_heard[0], ctypes.c_void_p(0))
        self._library.llama_backend_init()

    def about(self) -> dict[str, str]:
        """Library, version, and the features that the build says it uses."""
        told = self._library.llama_print_system_info().decode("utf-8", errors="replace")
        used = [
            word.split("=")[0].strip() for word in told.replace("CPU :", "").split("|") if word.strip().endswith("1")
        ]
        number = str(self._library.__version__)
        return described("llama.cpp", number, binding=f"llama-cpp-python {number}", compiled_for=" ".join(used))

    def open(self, path: Path, options: Options) -> _Handle:
        """Load a file that was checked."""
        return _Handle(self._library, path, options)

    def quantise(self, source: Path, target: Path, ftype: int, threads: int, again: bool) -> None:
        """Write ``target`` in another format."""
        params = self._library.llama_model_quantize_default_params()
        params.ftype, params.nthread, params.allow_requantize = ftype, threads, again
        if self._library.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params)):
            raise ValueError("quantising failed")


class _Handle:
    def __init__(self, library: Any, path: Path, options: Options) -> None:
        self._library = library
        params = library.llama_model_default_params()
        params.use_mmap, params.use_extra_bufts, params.n_gpu_layers = options.mmap, options.repack, 0
        self._model = library.llama_model_load_from_file(bytes(path), params)
        if not self._model:
            raise ValueError("the model was refused")
        self._context: Any = None
        self._words = library.llama_model_get_vocab(self._model)
        self.vocabulary = int(library.llama_vocab_n_tokens(self._words))
        self.width = int(library.llama_model_n_embd(self._model))
        self.adds_start = bool(library.llama_vocab_get_add_bos(self._words))
        self.start = int(library.llama_vocab_bos(self._words))
        self._batch: Any = None
        self.remake(options)

    def remake(self, options: Options) -> None:
        """Another context for the same model."""
        self._drop()
        self._context = self._library.llama_init_from_model(
            self._model, options.fill(self._library.llama_context_default_params())
        )
        if not self._context:
            raise ValueError("no context could be made for it")
        self._batch = self._library.llama_batch_init(max(MOST, options.ubatch), 0, 1)
        self._memory = self._library.llama_get_memory(self._context)
        self._sequences = options.sequences

    def _drop(self) -> None:
        if self._context:
            self._library.llama_batch_free(self._batch)
            self._library.llama_free(self._context)
            self._context = None

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token numbers without the start token."""
        raw = text.encode()
        room = (ctypes.c_int32 * (len(raw) + 16))()
        count = self._library.llama_tokenize(self._words, raw, len(raw), room, len(room), False, special)
        if count < 0:
            raise ValueError("the text has more tokens than bytes")
        return list(room[:count])

    def text(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        given = (ctypes.c_int32 * len(ids))(*ids)
        size = 32 * len(ids) + 64
        for _ in range(2):  # a second time with the length that the first asked for
            room = ctypes.create_string_buffer(size)
            count = self._library.llama_detokenize(self._words, given, len(ids), room, size, False, False)
            if count >= 0:
                return room.raw[:count].decode("utf-8", errors="replace")
            size = -count
        raise ValueError("the tokens have no text")

    def decode(self, tokens: Sequence[int], at: Sequence[int], of: Sequence[int], wanted: Sequence[bool]) -> None:
        """One batch with explicit positions."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence, want) in enumerate(zip(tokens, at, of, wanted, strict=True)):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, position, 1
            batch.seq_id[i][0], batch.logits[i] = sequence, want
        code = self._library.llama_decode(self._context, batch)
        if code:
            raise ValueError(f"llama_decode ended with {code}")
        self._library.llama_synchronize(self._context)

    def logits(self, place: int) -> np.ndarray:
        """[V] float32, copied: the library's own row changes with the next decode."""
        return self._copied(self._library.llama_get_logits_ith(self._context, place), self.vocabulary)

    def hidden(self, place: int) -> np.ndarray:
        """[d] float32 of one token."""
        return self._copied(self._library.llama_get_embeddings_ith(self._context, place), self.width)

    def _copied(self, pointer: Any, count: int) -> np.ndarray:
        if not pointer:
            raise ValueError("that token was computed without an answer")
        return np.ctypeslib.as_array(pointer, shape=(count,)).astype(np.float32, copy=True)

    def clear(self) -> None:
        """Forget all sequences, without wiping the buffer."""
        self._library.llama_memory_clear(self._memory, False)

    def cut(self, position: int) -> None:
        """Forget what lies at ``position`` and after it."""
        for sequence in range(self._sequences):
            if not self._library.llama_memory_seq_rm(self._memory, sequence, position, -1):
                raise ValueError("this model's cache cannot be cut")

    def save(self, sequence: int) -> bytes:
        """The cache of one sequence."""
        size = self._library.llama_state_seq_get_size(self._context, sequence)
        room = (ctypes.c_uint8 * size)()
        return bytes(room[: self._library.llama_state_seq_get_data(self._context, room, size, sequence)])

    def restore(self, sequence: int, state: bytes) -> None:
        """Put a saved cache back."""
        given = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if not self._library.llama_state_seq_set_data(self._context, given, len(state), sequence):
            raise ValueError("the saved cache does not fit")

    def close(self) -> None:
        """Give the memory back."""
        self._drop()
        if self._model:
            self._library.llama_model_free(self._model)
            self._model = None
