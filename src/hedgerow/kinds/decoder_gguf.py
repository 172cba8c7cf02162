"""Decoders in llama.cpp: the forms ``gguf-f16``, ``gguf-q8_0``, ``gguf-q4_0`` … of a Pack, and bare GGUF files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from hedgerow.cost import Geometry, Memory, Weights, configs, formulas
from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_phases, transformer
from hedgerow.kinds.arrays import answers_finite
from hedgerow.kinds.base import Flops, Held, Phase, Size
from hedgerow.kinds.decoder_engine import BATCH_TOKENS, Body, Likelihood, answered, choose, exact_prompts, flops_of
from hedgerow.runtimes.llama import Llama, Options, open_gguf

FILE = "model.gguf"
_GRAIN = 256  # contexts are made in steps of this, so that one serves the next text too


class GgufDecoder:
    """A model in llama.cpp: generation, likelihoods, vectors."""

    def __init__(self, body: Body, llama: Llama, settings: Mapping[str, Any], sha256: str = "") -> None:
        self._body, self._llama, self._settings = body, llama, dict(settings)
        contents = llama.contents
        self.geometry: Geometry = configs.from_gguf(contents.fields, contents.shapes, body.where)
        self.weights: Weights = contents.weights
        self._sha256 = sha256
        self.runtime = llama.describe()
        held = llama.buffers
        self.weights_bytes = (held.weights or contents.bytes) + (held.repacked or 0)

    # --- vectors -----------------------------------------------------------------------------------------------------
    def encode(self, inputs: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n, d] float32: the mean of the last hidden states of each text's tokens."""
        tokens = [ids[: self._body.max_tokens] or [self._body.padding] for ids in self._body.tokens(inputs)]
        if not tokens:
            return np.zeros((0, self._body.sizes.width), dtype=np.float32)
        self._room(max(map(len, tokens)), hidden=True)
        return answers_finite(self._llama.vectors(tokens), self._body.where)

    # --- generation --------------------------------------------------------------------------------------------------
    def generate(
        self, prompts: Sequence[str], new: int, temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[str, int, int, str]]:
        """(text, prompt tokens, new tokens, 'end' or 'length') per prompt, as the torch form gives it."""
        body = self._body
        if not 1 <= new < body.max_tokens:
            raise HedgerowError(f"'new' must lie between 1 and {body.max_tokens - 1} for this model (got {new})")
        if not temperature >= 0:
            raise HedgerowError(f"'temperature' must be 0 or more (got {temperature})")
        random = np.random.default_rng(seed)
        start = [] if body.start is None else [body.start]
        out = []
        for ids in body.tokens(prompts):
            prompt = (ids or start or [body.padding])[-(body.max_tokens - new) :]
            self._room(len(prompt) + new)
            made, ended = self._continue(prompt, new, temperature, random)
            out.append((body.tokens.decode(made), len(prompt), len(made), "end" if ended else "length"))
        return out

    def _continue(
        self, prompt: list[int], new: int, temperature: float, random: np.random.Generator
    ) -> tuple[list[int], bool]:
        self._llama.clear()
        logits = self._llama.prefill(prompt)
        made: list[int] = []
        for step in range(new):
            token = int(choose(answers_finite(logits[None], self._body.where), temperature, random)[0])
            if token in self._body.ends:
                return made, True
            made.append(token)
            if step < new - 1:
                self._llama.step([token], len(prompt) + step)
                logits = self._llama.last()
        return made, False

    # --- likelihood --------------------------------------------------------------------------------------------------
    def loglikelihood(self, pairs: Sequence[tuple[str, str]], batch_tokens: int = BATCH_TOKENS) -> list[Likelihood]:
        """How likely each continuation is after its prompt; both are cut into tokens as one text."""
        out = []
        for prompt, continuation in pairs:
            ids, count = self._body.pair(prompt, continuation)
            self._room(len(ids))
            logp, greedy = self._llama.logprobs(ids, count)
            total = float(answers_finite(np.asarray(logp.sum()), self._body.where))
            out.append(Likelihood(total, bool(greedy.all()), count))
        return out

    def _room(self, tokens: int, hidden: bool = False) -> None:
        """A context that holds ``tokens`` of one sequence."""
        now = self._llama.options
        if now.context < tokens or now.hidden != hidden or now.sequences != 1:
            wanted = max(now.context, -(-tokens // _GRAIN) * _GRAIN)
            self._llama.adapt(context=wanted, sequences=1, hidden=hidden)

    # --- the interface -----------------------------------------------------------------------------------------------
    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One generated text per prompt."""
        return answered(self.generate, inputs, options)

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """ttft, prefill and decode, see :mod:`hedgerow.kinds.decoder_phases`."""
        needed = size.get("depth", 0) + size["prompt"] + size["new"]
        context = max(int(self._settings.get("context", 0)), size.get("context", 0), -(-needed // _GRAIN) * _GRAIN)
        self._llama.adapt(context=context, sequences=len(inputs), hidden=False)
        return decoder_phases.phases(
            _Stepper(self._llama), lambda count: exact_prompts(self._body, inputs, count), size, self._held()
        )

    def _held(self) -> Held:
        now = self._llama.options
        options: dict[str, str | int | float | bool] = {
            "context": now.context,
            "ubatch": now.ubatch,
            "cache_k": now.cache_k,
            "cache_v": now.cache_v,
        }
        return Held(options, self.memory, self.geometry, self.weights, self._sha256)

    def memory(self) -> dict[str, Memory]:
        """Weights, cache and compute buffer by formula, and as the engine's log prints them."""
        now, held = self._llama.options, self._llama.buffers
        repacked = tuple(self.runtime["repacked"].split(", ")) if held.repacked else ()
        formula = formulas.memory(
            self.geometry,
            self.weights,
            now.context * now.sequences,
            cache_k=now.cache_k,
            cache_v=now.cache_v,
            ubatch=now.ubatch,
            repacked=repacked,
        )
        told = [held.weights, held.kv, held.compute, held.repacked, held.output]
        other = sum(v for v in (held.repacked, held.output) if v is not None)
        printed = Memory(
            weights=held.weights,
            kv=held.kv,
            compute=held.compute,
            other=other,
            total=sum(v for v in told if v is not None),
        )
        return {"formula": formula, "printed": printed}

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula; a decode step at the mean depth of those that are timed."""
        return flops_of(self._body.sizes, phase, size, batch)


class _Stepper:
    """llama.cpp by positions."""

    def __init__(self, llama: Llama) -> None:
        self._llama, self._at = llama, 0

    def restart(self, past: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._llama.clear()
        self._at = past.shape[1]
        if self._at:
            self._llama.feed(past.tolist(), 0, "none")

    def back(self, position: int) -> None:
        """See :class:`decoder_phases.Stepper`."""
        if position == 0:
            self._llama.clear()
        else:
            self._llama.rewind(position)
        self._at = position

    def fill(self, ids: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._llama.feed(ids.tolist(), self._at)
        self._at += ids.shape[1]

    def step(self, tokens: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._llama.step(tokens.tolist(), self._at)
        self._at += 1

    def sample(self) -> np.ndarray:
        """See :class:`decoder_phases.Stepper`."""
        return np.asarray([int(self._llama.last(s).argmax()) for s in range(self._llama.options.sequences)])


def load(body: Body, path: Path, threads: int, settings: Mapping[str, Any], sha256: str = "") -> GgufDecoder:
    """Open the file as a form of a Pack; ``settings``: cache_k, cache_v, ubatch, context, repack, flash."""
    options = replace(Options(threads=threads, context=_GRAIN), **settings)
    llama = open_gguf(path, options)
    if llama.vocabulary != body.sizes.vocabulary:
        raise HedgerowError(f"{path} has {llama.vocabulary} tokens, the Pack's net {body.sizes.vocabulary}")
    return GgufDecoder(body, llama, settings, sha256)


class FileTokens:
    """The tokenizer inside a GGUF file, as a Pack's ``texts.Tokens`` is asked."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama
        self.size = llama.vocabulary

    def __call__(self, given: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """Token numbers of each text; with ``special`` a start token where the file asks for one."""
        return [self._llama.tokenize(text, start=special, special=True) for text in given]

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """Token numbers, and for each the place in the text where it ends (0 for a start token)."""
        ids = self._llama.tokenize(text, special=True)
        first = len(ids) - len(self._llama.tokenize(text, start=False, special=True))
        ends = [len(self._llama.text(ids[first : i + 1])) for i in range(first, len(ids))]
        added = max(0, ends[-1] - len(text)) if ends else 0  # some tokenizers put a space before each text
        return ids, [0] * first + [max(0, end - added) for end in ends]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers."""
        return self._llama.text(ids)


def open_file(path: Path, threads: int, settings: Mapping[str, Any] | None = None) -> GgufDecoder:
    """Open a bare GGUF file, with its own tokenizer; a file without one answers to numbers only."""
    given = dict(settings or {})
    llama = open_gguf(path, replace(Options(threads=threads, context=_GRAIN), **given))
    fields = llama.contents.fields
    whole = configs.from_gguf(fields, llama.contents.shapes, str(path))
    heads, kv, ffn = (max(v) if isinstance(v, tuple) else v for v in (whole.heads, whole.kv_heads, whole.ffn))
    sizes = transformer.Geometry(
        layers=whole.layers, width=whole.width, heads=heads, kv_heads=kv, head=whole.head, ffn=ffn, gated=whole.gated,
        vocabulary=llama.vocabulary, tied=whole.tied, positions=whole.positions,
    )  # fmt: skip
    start, end, pad = (_token(fields, name, llama.vocabulary) for name in ("bos", "eos", "padding"))
    words: Any = FileTokens(llama) if fields.get("tokenizer.ggml.tokens") else Numbers(llama.vocabulary)
    ends = frozenset() if end is None else frozenset({end})
    body = Body(str(path), words, sizes, sizes.positions, pad or 0, start, ends)
    return GgufDecoder(body, llama, given)


def _token(fields: Mapping[str, Any], name: str, vocabulary: int) -> int | None:
    """A special token's number; None where the header names none that there is."""
    number = fields.get(f"tokenizer.ggml.{name}_token_id")
    return number if type(number) is int and 0 <= number < vocabulary else None


class Numbers:
    """Stands for the tokenizer of a file that has none (random weights): a word becomes some number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, given: Sequence[str], *, special: bool = True) -> list[list[int]]:
        """One token a word."""
        return [[crc32(word.encode()) % self.size for word in text.split()] for text in given]

    def spans(self, text: str) -> tuple[list[int], list[int]]:
        """One token a word, with where it ends."""
        found = [(crc32(m[0].encode()) % self.size, m.end()) for m in re.finditer(r"\S+", text)]
        return [n for n, _ in found], [end for _, end in found]

    def decode(self, ids: Sequence[int]) -> str:
        """The numbers themselves."""
        return " ".join(map(str, ids))
