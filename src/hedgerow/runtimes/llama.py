"""llama.cpp as an engine: one small interface over whichever Python binding is installed.

A source-built ``llama-cpp-python`` is taken where it is installed (it knows this machine's CPU); else ``cyllama``, a
wheel that needs no compiler. Both give raw decode, logits, cache states, quantising and the engine's log. Two builds
are two engines: :meth:`Llama.describe` names library, version, build and what it repacks, and rows carry it.

Positions are always explicit. ``feed`` returns when the work is done, so that a clock around it is honest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from hedgerow.cost.formats import CACHES, known
from hedgerow.cost.formulas import repacked_bytes
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import gguf_header, llama_log

MISSING = "llama.cpp is not installed: pip install 'hedgerow[llama]'"
FTYPES = {  # name of a quantisation -> llama.cpp's number of it (llama_ftype)
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11, "q3_k_m": 12,
    "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "bf16": 32,
}  # fmt: skip
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30}
FLASH = {"auto": -1, "off": 0, "on": 1}
Rows = Literal["none", "last", "all"]


@dataclass(frozen=True)
class Options:
    """How a file is opened; what decides time and memory beside the file itself."""

    context: int = 2048  # tokens of each sequence
    sequences: int = 1
    ubatch: int = 512  # tokens that are computed at a time
    cache_k: str = "f16"
    cache_v: str = "f16"
    flash: str = "auto"  # fused attention: auto, on, off
    threads: int = 1
    repack: bool = True  # let the build keep a second copy in the layout of its wide instructions
    mmap: bool = True
    hidden: bool = False  # answer with the last hidden state of each token, not with logits

    def checked(self) -> Options:
        """Itself; HedgerowError for an unknown cache type or a size below 1."""
        known(self.cache_k, CACHES), known(self.cache_v, CACHES)
        if self.flash not in FLASH:
            raise HedgerowError(f"fused attention is auto, on or off, not '{self.flash}'")
        if min(self.context, self.sequences, self.ubatch, self.threads) < 1:
            raise HedgerowError("context, sequences, micro-batch and threads are at least 1")
        return self

    def fill(self, params: Any) -> Any:
        """``params`` of a new context (``llama_context_params``, whatever the binding), set to these options."""
        params.n_ctx = self.context * self.sequences
        params.n_batch, params.n_ubatch = max(MOST, self.ubatch), self.ubatch
        params.n_seq_max = self.sequences
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k, params.type_v = TYPES[self.cache_k], TYPES[self.cache_v]
        params.flash_attn_type = FLASH[self.flash]
        params.no_perf = True
        if self.hidden:  # LLAMA_POOLING_TYPE_NONE: one vector a token
            params.embeddings, params.pooling_type = True, 0
        return params


class Handle(Protocol):
    """A model with one context, as a binding offers it."""

    vocabulary: int
    adds_start: bool  # whether the file asks for its start token before each text
    start: int  # number of that token, -1 when there is none

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token numbers, without the start token; ``special``: markup such as '<|im_start|>' is one token."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        ...

    def decode(self, tokens: Sequence[int], at: Sequence[int], of: Sequence[int], wanted: Sequence[bool]) -> None:
        """Compute tokens at positions ``at`` of sequences ``of``, and wait; logits where ``wanted``."""
        ...

    def logits(self, place: int) -> np.ndarray:
        """[V] float32 of the token at that place of the last decode."""
        ...

    def hidden(self, place: int) -> np.ndarray:
        """[d] float32: the last hidden state of the token at that place of the last decode."""
        ...

    def clear(self) -> None:
        """Forget all sequences."""
        ...

    def cut(self, position: int) -> None:
        """Forget what lies at ``position`` and after it, in all sequences."""
        ...

    def save(self, sequence: int) -> bytes:
        """The cache of one sequence."""
        ...

    def restore(self, sequence: int, state: bytes) -> None:
        """Put a saved cache back."""
        ...

    def remake(self, options: Options) -> None:
        """Another context for the same model; how the weights are held stays."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


class Binding(Protocol):
    """A Python binding of llama.cpp."""

    def about(self) -> dict[str, str]:
        """library, version, build, and the CPU features that it was compiled for."""
        ...

    def open(self, path: Path, options: Options) -> Handle:
        """Load a file that was checked."""
        ...

    def quantise(self, source: Path, target: Path, ftype: int, threads: int, again: bool) -> None:
        """Write ``target`` in another format; ``again``: also from a file that is quantised already."""
        ...


def binding() -> Binding:
    """The binding to use; HedgerowError says what to install when there is none."""
    if find_spec("llama_cpp") is not None:
        from hedgerow.runtimes.llama_ctypes import LlamaCpp

        return LlamaCpp(llama_log.hear)
    if find_spec("cyllama") is not None:
        from hedgerow.runtimes.llama_cyllama import Cyllama

        return Cyllama(llama_log.hear)
    raise HedgerowError(MISSING)


class Llama:
    """An open GGUF file. Built by :func:`open_gguf`."""

    def __init__(self, path: Path, options: Options, contents: gguf_header.Contents) -> None:
        self.path, self.options, self.contents = path, options, contents
        self._binding = binding()
        llama_log.clear()
        try:
            self._handle = self._binding.open(path, options)
        except Exception as e:  # each binding has its own
            raise HedgerowError(f"{path} cannot be opened by llama.cpp: {llama_log.why(e)}") from e
        self._log = llama_log.lines()
        self._model_log = tuple(line for line in self._log if "model buffer size" in line or "preferred buffer" in line)
        self.vocabulary = self._handle.vocabulary
        self._last: list[int] = []  # places of the last token of each sequence in the last decode

    # --- what it is --------------------------------------------------------------------------------------------------
    def adapt(self, **changes: Any) -> None:
        """Another context (``context``, ``sequences``, cache types, …) for the same loaded weights, where needed."""
        wanted = replace(self.options, **changes).checked()
        if wanted == self.options:
            return
        llama_log.clear()
        try:
            self._handle.remake(wanted)
        except Exception as e:
            raise HedgerowError(f"{self.path}: llama.cpp cannot make that context: {llama_log.why(e)}") from e
        self.options, self._log = wanted, (*self._model_log, *llama_log.lines())

    @property
    def buffers(self) -> llama_log.Buffers:
        """What the log says of memory."""
        return llama_log.buffers(self._log)

    def describe(self) -> dict[str, str]:
        """Library, version, build, CPU features, what was repacked, and how attention runs."""
        held = self.buffers
        repacked = ", ".join(_repacked(self.contents, held.repacked)) or "nothing of this file"
        fused = next((m[1] for line in self._log if (m := llama_log.FUSED.search(line))), "")
        flash = {"enabled": "on", "disabled": "off"}.get(fused, self.options.flash)
        return {**self._binding.about(), "repacked": repacked if self.options.repack else "off", "flash": flash}

    def tokenize(self, text: str, *, start: bool = True, special: bool = False) -> list[int]:
        """Token numbers; with ``start`` the start token comes first where the file asks for one."""
        first = [self._handle.start] if start and self._handle.adds_start and self._handle.start >= 0 else []
        return first + self._handle.tokenize(text, special)

    def text(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        return self._handle.text(ids)

    # --- computing ---------------------------------------------------------------------------------------------------
    def feed(self, rows: Sequence[Sequence[int]], at: int = 0, logits: Rows = "last") -> None:
        """Compute one row of tokens for each sequence, all of one length, from position ``at`` on, and wait.

        ``logits``: of the last token of each row, of all (then the rows must fit one micro-batch), or of none.
        """
        length = len(rows[0])
        if at + length > self.options.context:
            raise HedgerowError(f"{at + length} tokens do not fit the context of {self.options.context}")
        if any(len(row) != length for row in rows) or len(rows) > self.options.sequences:
            raise HedgerowError(f"{len(rows)} rows of one length do not fit {self.options.sequences} sequences")
        width = max(1, MOST // len(rows))
        for begin in range(0, length, width):
            part = [row[begin : begin + width] for row in rows]
            self._decode(part, at + begin, logits if begin + width >= length or logits == "all" else "none")

    def _decode(self, rows: Sequence[Sequence[int]], at: int, logits: Rows) -> None:
        """One batch, a sequence after the other."""
        length, count = len(rows[0]), len(rows)
        tokens = rows[0] if count == 1 else [t for row in rows for t in row]
        positions = list(range(at, at + length)) * count
        owners = [s for s in range(count) for _ in range(length)]
        wanted = [logits == "all"] * (length * count)
        self._last = [length * (s + 1) - 1 for s in range(count)]
        if logits == "last":
            for place in self._last:
                wanted[place] = True
        self._compute(tokens, positions, owners, wanted)

    def step(self, tokens: Sequence[int], at: int) -> None:
        """One token more for each sequence, at position ``at``, with logits."""
        count = len(tokens)
        self._last = list(range(count))
        self._compute(tokens, [at] * count, range(count), [True] * count)

    def _compute(self, tokens: Sequence[int], at: Sequence[int], of: Sequence[int], wanted: Sequence[bool]) -> None:
        try:
            self._handle.decode(tokens, at, of, wanted)
        except Exception as e:
            raise HedgerowError(f"{self.path} cannot be run: {llama_log.why(e)}") from e

    def last(self, sequence: int = 0) -> np.ndarray:
        """[V] float32: logits after the last token of a sequence."""
        return self._handle.logits(self._last[sequence])

    def prefill(self, ids: Sequence[int], depth: int = 0) -> np.ndarray:
        """[V] float32: logits of the last of ``ids``, computed after the ``depth`` positions that are cached."""
        self.feed([ids], depth)
        return self.last()

    def logprobs(self, ids: Sequence[int], count: int) -> tuple[np.ndarray, np.ndarray]:
        """([count] log p of each of the last ``count`` tokens after those before it, [count] whether it is likeliest).

        Only the rows that predict them get logits. The cache is emptied first, and float64 sums the exponentials.
        """
        if not 0 < count < len(ids):
            raise HedgerowError(f"{count} tokens of {len(ids)} cannot be scored: each needs one before it")
        self.clear()
        first = len(ids) - count  # the place of the first token that is scored
        if first > 1:
            self.feed([ids[: first - 1]], 0, "none")
        logp, best = np.zeros(count), np.zeros(count, dtype=bool)
        for begin in range(0, count, ROWS):
            part = ids[first - 1 + begin : first - 1 + min(count, begin + ROWS)]
            self.feed([part], first - 1 + begin, "all")
            for place in range(len(part)):
                row = self._handle.logits(place).astype(np.float64)
                token, top = ids[first + begin + place], row.max()
                logp[begin + place] = row[token] - top - np.log(np.exp(row - top).sum())
                best[begin + place] = bool(row.argmax() == token)
        return logp, best

    def vectors(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """[n, d] float32, the mean of the last hidden states of each row; needs the option ``hidden``."""
        out = []
        for ids in rows:
            self.clear()
            total = np.zeros(0)
            for begin in range(0, len(ids), self.options.ubatch):
                part = ids[begin : begin + self.options.ubatch]
                self.feed([part], begin, "all")
                held = np.stack([self._handle.hidden(place) for place in range(len(part))]).astype(np.float64).sum(0)
                total = held if begin == 0 else total + held
            out.append((total / len(ids)).astype(np.float32))
        return np.stack(out)

    # --- the cache ---------------------------------------------------------------------------------------------------
    def clear(self) -> None:
        """Forget all positions."""
        self._handle.clear()

    def rewind(self, position: int) -> None:
        """Forget ``position`` and all after it."""
        self._handle.cut(position)

    def save(self) -> list[bytes]:
        """The cache of each sequence, to be put back with :meth:`restore`."""
        return [self._handle.save(s) for s in range(self.options.sequences)]

    def restore(self, states: Sequence[bytes]) -> None:
        """Put saved caches back in place of what is there."""
        self._handle.clear()
        for sequence, state in enumerate(states):
            self._handle.restore(sequence, state)

    def close(self) -> None:
        """Give the memory back."""
        self._handle.close()


MOST = 2048  # tokens handed over at once, as llama-bench does; computed a micro-batch at a time
ROWS = 256  # rows of logits asked for at once: 256 · 150,000 · 4 bytes are 150 MB


def open_gguf(path: str | Path, options: Options | None = None) -> Llama:
    """Open a GGUF file whose header was checked first.

    Raises HedgerowError, one line, for a file that is broken, cut off or of an architecture that llama.cpp does not
    know, and when no binding is installed.
    """
    path = Path(path)
    wanted = (options or Options()).checked()
    contents = gguf_header.read(path)
    return Llama(path, wanted, contents)


def quantise(source: str | Path, target: str | Path, format: str, threads: int = 1) -> None:
    """Write ``source`` in another format, under a temporary name until it is whole.

    A source that is quantised itself is allowed: its loss stays, and the new one comes on top.
    """
    source, target = Path(source), Path(target)
    name = known(format, FTYPES)
    contents = gguf_header.read(source)
    again = any(kind not in ("f32", "f16", "bf16") for kind in contents.weights.mix)
    temporary = target.with_name(f".{target.name}.part")
    llama_log.clear()
    try:
        binding().quantise(source, temporary, FTYPES[name], threads, again)
        gguf_header.read(temporary)
        temporary.replace(target)
    except HedgerowError:
        raise
    except Exception as e:
        raise HedgerowError(f"{source} cannot be written as {name}: {llama_log.why(e)}") from e
    finally:
        temporary.unlink(missing_ok=True)


def _repacked(contents: gguf_header.Contents, size: int | None) -> tuple[str, ...]:
    """Formats that the build repacked: those whose bytes add up to what the log says (it names no format)."""
    if not size:
        return ()
    parts = contents.weights.parts
    names = sorted({n for part, held in parts.items() if part in ("attention", "ffn", "head") for n in held})
    choices = [c for count in range(1, len(names) + 1) for c in combinations(names, count)]
    return min(choices, key=lambda c: abs(repacked_bytes(contents.weights, c) - size), default=())
