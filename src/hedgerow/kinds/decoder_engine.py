"""Loaded decoder language models: prefill and decode with a cache, generation, likelihoods, vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hedgerow.cost import configs
from hedgerow.errors import HedgerowError
from hedgerow.kinds import decoder_phases, texts
from hedgerow.kinds.arrays import answers_finite
from hedgerow.kinds.base import Flops, Held, Phase, Size
from hedgerow.kinds.transformer import Geometry, held_bytes
from hedgerow.kinds.transformer_flops import flops

BATCH_TOKENS = 512
MOST_TEXTS = 64
_NO_CACHE = (
    "the ONNX form of a language model turns texts into vectors only (its graph holds no key-value cache yet); "
    "open the Pack in its torch form to generate or score text"
)


@dataclass(frozen=True)
class Body:
    """What all forms share: where the Pack lies, its tokens, sizes and special token numbers."""

    where: str
    tokens: texts.Tokens
    sizes: Geometry
    max_tokens: int
    padding: int
    start: int | None
    ends: frozenset[int]

    def vectors(self, inputs: Sequence[str], forward: Callable[[Any, Any], np.ndarray], budget: int) -> np.ndarray:
        """[n, d] float32 in the order given."""
        out = np.zeros((len(inputs), self.sizes.width), dtype=np.float32)
        tokens = [ids[: self.max_tokens] for ids in self.tokens(inputs)]
        for batch in texts.batches(tokens, self.padding, budget, MOST_TEXTS):
            vectors = forward(batch.ids, batch.mask)
            if vectors.shape != (len(batch.rows), self.sizes.width):
                raise HedgerowError(f"{self.where}: the net answers with vectors of the wrong length")
            out[batch.rows] = vectors
        return answers_finite(out, self.where)

    def pair(self, prompt: str, continuation: str) -> tuple[list[int], int]:
        """Token numbers of both, and how many at the end are the continuation's."""
        if not continuation:
            raise HedgerowError("the continuation is empty")
        ids, ends = self.tokens.spans(prompt + continuation)
        first = next((i for i, end in enumerate(ends) if end > len(prompt)), len(ids))
        count = len(ids) - first
        if first == 0:  # nothing to predict the first token from
            ids = [self.padding if self.start is None else self.start, *ids]
        if count >= self.max_tokens:
            raise HedgerowError(f"the continuation has {count} tokens; this model reads {self.max_tokens}")
        return ids[-self.max_tokens :], count


@dataclass(frozen=True)
class Likelihood:
    """How likely a continuation is after its prompt."""

    logprob: float  # natural logarithm, summed over the continuation's tokens
    greedy: bool  # whether each of its tokens is the likeliest
    tokens: int


class Decoder(Protocol):
    """A loaded decoder; ``encode`` works in each form."""

    runtime: dict[str, str]
    weights_bytes: int

    def encode(self, inputs: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n, d] float32: the mean of the last hidden states of each text's tokens."""
        ...

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``{prompt, text, prompt_tokens, new_tokens, stop}`` per prompt."""
        ...

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """Prefill and decode, or encode."""
        ...

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula."""
        ...


class OnnxDecoder:
    """The body in ONNX Runtime: texts to vectors."""

    def __init__(
        self, body: Body, forward: Callable[[Any, Any], np.ndarray], runtime: dict[str, str], held: int
    ) -> None:
        self._body, self._forward, self.runtime, self.weights_bytes = body, forward, runtime, held

    def encode(self, inputs: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n, d] float32, see :class:`Decoder`."""
        return self._body.vectors(inputs, self._forward, batch_tokens)

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Refused in one line: no cache, so no generation."""
        raise HedgerowError(f"{self._body.where}: {_NO_CACHE}")

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """``encode``: texts of ``size['prompt']`` tokens to vectors."""
        exact = exact_prompts(self._body, inputs, size["prompt"])
        mask = np.ones_like(exact)
        return [Phase("encode", float(exact.size), partial(self._forward, exact, mask))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula; no logits."""
        return flops(self._body.sizes, batch, size["prompt"]) if phase == "encode" else None


def onnx_decoder(body: Body, path: Path, threads: int) -> OnnxDecoder:
    """Open the ONNX form."""
    from hedgerow.runtimes.onnx import open_graph

    graph = open_graph(path, threads, ("input_ids", "attention_mask"))
    return OnnxDecoder(
        body,
        lambda ids, mask: graph.run({"input_ids": ids, "attention_mask": mask})[0],
        graph.describe(),
        graph.bytes,
    )


def exact_prompts(body: Body, inputs: Sequence[str], count: int) -> np.ndarray:
    """[n, count] token numbers: each input cut, or repeated, to exactly ``count`` tokens."""
    rows = []
    for ids in body.tokens(inputs):
        filled = ids or [body.padding]
        rows.append((filled * (count // len(filled) + 1))[:count])
    return np.asarray(rows, dtype=np.int64)


def answered(
    generate: Callable[..., list[tuple[str, int, int, str]]], inputs: Sequence[Any], options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """``{prompt, text, prompt_tokens, new_tokens, stop}`` per prompt, of any form's ``generate``."""
    prompts = [texts.good_text(i) for i in inputs]
    made = generate(prompts, int(options["new"]), float(options["temperature"]), int(options["seed"]))
    names = ("prompt", "text", "prompt_tokens", "new_tokens", "stop")
    return [dict(zip(names, (prompt, *one), strict=True)) for prompt, one in zip(prompts, made, strict=True)]


def flops_of(sizes: Geometry, phase: str, size: Size, batch: int) -> Flops | None:
    """Operations of one call of a phase by formula; a decode step at the mean depth of those that are timed."""
    if phase in ("prefill", "ttft"):
        return flops(sizes, batch, size["prompt"], past=size.get("depth", 0), logits=1)
    if phase == "decode":
        return flops(sizes, batch, 1, past=decoder_phases.mean_depth(size), logits=1)
    return None


class TorchDecoder:
    """The whole model in torch, through transformers' cache."""

    def __init__(self, body: Body, net: Any, threads: int, precision: str = "float32") -> None:
        import inspect

        from hedgerow.nets.pooled import Pooled
        from hedgerow.runtimes.torch import describe

        net.config.use_cache = False  # unless asked for below: vectors and likelihoods need none
        takes = inspect.signature(net.forward).parameters
        self._cache_name = "cache" if "cache" in takes else "past_key_values"  # renamed in transformers 5.2x
        self._body, self.net, self._threads = body, net, threads
        self._pooled = Pooled(net.base_model, "mean", normalise=False).eval()
        self.runtime = describe(precision)
        self.weights_bytes = held_bytes(net)
        self.geometry = configs.from_config(net.config.to_dict(), body.where)

    # --- vectors -----------------------------------------------------------------------------------------------------
    def encode(self, inputs: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n, d] float32, see :class:`Decoder`."""
        return self._body.vectors(inputs, self._vectors, batch_tokens)

    def _vectors(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with self._running() as torch:
            vectors: np.ndarray = self._pooled(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        return vectors

    # --- prefill and decode ------------------------------------------------------------------------------------------
    def prefill(self, ids: np.ndarray, mask: np.ndarray | None = None, cache: Any = None) -> tuple[Any, Any]:
        """[n, S] token numbers -> (cache, [n, V] logits after the last token); logits of the last row only.

        Padding stands on the left, where ``mask`` is 0. After a ``cache``, the mask covers its tokens too.
        """
        from transformers import DynamicCache

        with self._running() as torch:
            keep = torch.from_numpy(np.ones_like(ids) if mask is None else mask)
            places = (keep.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            cache = DynamicCache(config=self.net.config) if cache is None else cache
            out = self.net(
                input_ids=torch.from_numpy(ids),
                attention_mask=keep,
                position_ids=places,
                use_cache=True,
                logits_to_keep=1,
                **{self._cache_name: cache},
            )
        return cache, out.logits[:, -1].float()

    def decode(self, cache: Any, last: np.ndarray, mask: np.ndarray) -> tuple[Any, Any]:
        """One step: [n] last tokens, mask [n, T] over all tokens up to these -> (cache, [n, V] logits)."""
        with self._running() as torch:
            keep = torch.from_numpy(mask)
            out = self.net(
                input_ids=torch.from_numpy(last)[:, None],
                attention_mask=keep,
                position_ids=keep.sum(dim=1, keepdim=True) - 1,
                use_cache=True,
                **{self._cache_name: cache},
            )
        return cache, out.logits[:, -1].float()

    def generate(
        self, prompts: Sequence[str], new: int, temperature: float = 0.0, seed: int = 0
    ) -> list[tuple[str, int, int, str]]:
        """(text, prompt tokens, new tokens, 'end' or 'length') per prompt.

        ``temperature`` 0 takes the likeliest token. A prompt that leaves no room for ``new`` tokens loses its start.
        """
        if not 1 <= new < self._body.max_tokens:
            raise HedgerowError(f"'new' must lie between 1 and {self._body.max_tokens - 1} for this model (got {new})")
        if not temperature >= 0:
            raise HedgerowError(f"'temperature' must be 0 or more (got {temperature})")
        start = [] if self._body.start is None else [self._body.start]
        room = self._body.max_tokens - new
        tokens = [(ids or start or [self._body.padding])[-room:] for ids in self._body.tokens(prompts)]
        out: list[tuple[str, int, int, str]] = [("", 0, 0, "length")] * len(tokens)
        random = np.random.default_rng(seed)
        for batch in texts.batches(tokens, self._body.padding, BATCH_TOKENS, MOST_TEXTS):
            made, ended = self._continue(batch, new, temperature, random)
            for i, ids, end in zip(batch.rows.tolist(), made, ended, strict=True):
                out[i] = (self._body.tokens.decode(ids), len(tokens[i]), len(ids), "end" if end else "length")
        return out

    def _continue(
        self, batch: texts.Batch, new: int, temperature: float, random: np.random.Generator
    ) -> tuple[list[list[int]], list[bool]]:
        ids, mask = _left(batch.ids, batch.mask)
        cache, logits = self.prefill(ids, mask)
        made: list[list[int]] = [[] for _ in batch.rows]
        ended = [False] * len(made)
        for step in range(new):
            last = choose(answers_finite(logits.numpy(), self._body.where), temperature, random)
            for row, token in enumerate(last.tolist()):
                ended[row] = ended[row] or token in self._body.ends
                if not ended[row]:
                    made[row].append(token)
            if all(ended) or step == new - 1:
                break
            mask = np.concatenate([mask, np.ones((len(mask), 1), dtype=np.int64)], axis=1)
            cache, logits = self.decode(cache, last, mask)
        return made, ended

    # --- likelihood --------------------------------------------------------------------------------------------------
    def loglikelihood(self, pairs: Sequence[tuple[str, str]], batch_tokens: int = BATCH_TOKENS) -> list[Likelihood]:
        """How likely each continuation is after its prompt.

        Prompt and continuation are cut into tokens as one text (so put the space between them at the start of the
        continuation); a token that reaches over the border counts to the continuation. A text that is too long loses
        the start of its prompt.
        """
        cut = [self._body.pair(prompt, continuation) for prompt, continuation in pairs]
        out: list[Likelihood] = [Likelihood(0.0, True, 0)] * len(cut)
        for batch in texts.batches([ids for ids, _ in cut], self._body.padding, batch_tokens, MOST_TEXTS):
            for i, found in zip(batch.rows.tolist(), self._score(batch, [cut[i][1] for i in batch.rows]), strict=True):
                out[i] = found
        return out

    def _score(self, batch: texts.Batch, counts: Sequence[int]) -> list[Likelihood]:
        out = []
        with self._running() as torch:
            ids = torch.from_numpy(batch.ids)
            hidden = self.net.base_model(
                input_ids=ids, attention_mask=torch.from_numpy(batch.mask), use_cache=False
            ).last_hidden_state
            for row, count in enumerate(counts):
                length = int(batch.mask[row].sum())
                # only the rows that predict the continuation go through the head
                logits = self.net.get_output_embeddings()(hidden[row, length - count - 1 : length - 1]).float()
                wanted = ids[row, length - count : length]
                logp = logits.log_softmax(-1).gather(1, wanted[:, None]).sum()
                greedy = bool((logits.argmax(-1) == wanted).all())
                out.append(Likelihood(float(answers_finite(logp.numpy(), self._body.where)), greedy, count))
        return out

    # --- the interface -----------------------------------------------------------------------------------------------
    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """One generated text per prompt."""
        return answered(self.generate, inputs, options)

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """ttft, prefill and decode, see :mod:`hedgerow.kinds.decoder_phases`."""
        return decoder_phases.phases(
            _Stepper(self), lambda count: exact_prompts(self._body, inputs, count), size, Held(geometry=self.geometry)
        )

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula; a decode step at the mean depth of those that are timed."""
        return flops_of(self._body.sizes, phase, size, batch)

    def _running(self) -> AbstractContextManager[Any]:
        from hedgerow.runtimes.torch import running

        return running(self._body.where, self._threads)


class _Stepper:
    """transformers' cache by positions."""

    def __init__(self, engine: TorchDecoder) -> None:
        self._engine = engine
        self._cache: Any = None
        self._logits: Any = None
        self._at = 0

    def restart(self, past: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._cache, self._at = None, 0
        if past.shape[1]:
            self.fill(past)

    def back(self, position: int) -> None:
        """See :class:`decoder_phases.Stepper`."""
        if position == 0:
            self._cache = None
        elif self._at > position:
            self._cache.crop(position - self._at)  # negative: that many fewer
        self._at = position

    def fill(self, ids: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._at += ids.shape[1]
        mask = np.ones((len(ids), self._at), dtype=np.int64)
        self._cache, self._logits = self._engine.prefill(ids, mask, self._cache)

    def step(self, tokens: np.ndarray) -> None:
        """See :class:`decoder_phases.Stepper`."""
        self._at += 1
        mask = np.ones((len(tokens), self._at), dtype=np.int64)
        self._cache, self._logits = self._engine.decode(self._cache, tokens, mask)

    def sample(self) -> np.ndarray:
        """See :class:`decoder_phases.Stepper`."""
        return np.asarray(self._logits.argmax(-1).numpy())


def _left(ids: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same rows with their padding on the left, so that all of them end at the last column."""
    shift = mask.shape[1] - mask.sum(axis=1)
    columns = (np.arange(mask.shape[1])[None, :] - shift[:, None]) % mask.shape[1]
    return np.take_along_axis(ids, columns, axis=1), np.take_along_axis(mask, columns, axis=1)


def choose(logits: np.ndarray, temperature: float, random: np.random.Generator) -> np.ndarray:
    """[n, V] -> [n] token numbers: the likeliest, or drawn from softmax(logits / temperature) (Gumbel's trick)."""
    if temperature == 0:
        return np.asarray(logits.argmax(axis=-1))
    return np.asarray((logits / temperature + random.gumbel(size=logits.shape)).argmax(axis=-1))
