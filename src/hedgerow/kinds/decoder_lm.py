"""Decoder language models: text generation, likelihoods, and one vector per text.

The torch form and those of llama.cpp (``gguf-q4_0``, …) do everything, with a key-value cache. The ONNX forms hold the
body without a cache and serve feature extraction only (``encode``); asked to generate they say so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import decoder_export, decoder_gguf, texts, transformer
from hedgerow.kinds.arrays import headers
from hedgerow.kinds.base import Unit
from hedgerow.kinds.decoder_engine import Body, Decoder, Likelihood, TorchDecoder, onnx_decoder
from hedgerow.kinds.onnx_export import FILE, FORMS, add_form, export_graph
from hedgerow.kinds.text_continuations import PAIRS
from hedgerow.kinds.text_sample import sample_text
from hedgerow.pack import Info, Pack, create, open_pack, write_arrays
from hedgerow.runtimes import gguf_header, runnable
from hedgerow.schema import Record, check


class DecoderModel(Record):
    """``model.json`` of a decoder language model."""

    net: str = Field(default="transformer", pattern="^transformer$")
    config: dict[str, Any]  # as transformers writes it
    max_tokens: int = Field(ge=1, le=1_000_000)  # longest prompt and continuation together
    padding: int = Field(default=0, ge=0)  # number of the padding token
    start: int | None = Field(default=None, ge=0)  # token before a continuation that has no prompt
    ends: tuple[int, ...] = ()  # tokens that end a generated text


class DecoderKind:
    """Prompt -> text."""

    name = "decoder-lm"
    summary = "a decoder language model: continues a prompt, tells how likely a text is, and turns texts into vectors"
    unit = Unit(
        name="token",
        sizes=({"prompt": 16, "new": 8}, {"prompt": 64, "new": 16}, {"prompt": 256, "new": 32}),
        make=lambda size, seed: sample_text(size["prompt"], seed),
        bytes_in=lambda size: 5 * size["prompt"],
        bytes_out=lambda size: 5 * size["new"],
        full=(
            ({"prompt": 50, "new": 50, "context": 2048}, 1),  # the point of the survey (arXiv 2409.15790)
            *(({"prompt": prompt, "new": 16}, 1) for prompt in (16, 50, 128, 512)),
            *(({"prompt": 128, "new": 16, "depth": depth}, 1) for depth in (512, 2048)),
            *(({"prompt": prompt, "new": 16}, 4) for prompt in (50, 128)),
        ),
        settings=("context", "ubatch", "cache_k", "cache_v", "repack", "flash"),
    )
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "answer of a decoder language model",
        "type": "object",
        "properties": {
            "prompt": {"type": "string"},
            "text": {"type": "string", "description": "what follows the prompt"},
            "prompt_tokens": {"type": "integer", "minimum": 0},
            "new_tokens": {"type": "integer", "minimum": 0},
            "stop": {"enum": ["end", "length"], "description": "an end token came, or 'new' tokens were made"},
        },
        "required": ["prompt", "text", "prompt_tokens", "new_tokens", "stop"],
    }
    options: dict[str, Any] = {"new": 32, "temperature": 0.0, "seed": 0}
    explains: dict[str, Any] = {}
    needs = ("prompt",)
    columns = ("text", "prompt_tokens", "new_tokens", "stop")
    metrics = ("accuracy",)

    def read(self, row: Mapping[str, Any], base: Path) -> str:
        """The row's ``prompt``."""
        return texts.read_text(row, "prompt")

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The generated text and its counts."""
        return {name: answer[name] for name in self.columns}

    def line(self, answer: Mapping[str, Any]) -> str:
        """Prompt and continuation as one text."""
        return f"{answer['prompt']}{answer['text']}"

    def check(self, pack: Pack) -> None:
        """Whether model.json, tokenizer and arrays can belong together."""
        model = _model(pack)
        pack.file("tokenizer.json")
        weights = pack.file("weights.safetensors")
        transformer.check_arrays(headers(weights), model.config, transformer.DECODERS, str(weights))
        sizes = transformer.geometry(model.config, transformer.DECODERS, str(pack.path / "model.json"))
        if model.max_tokens > sizes.positions:
            raise HedgerowError(
                f"{pack.path}: model.json says {model.max_tokens} tokens, its config at most {sizes.positions}"
            )
        outside = [t for t in (model.padding, model.start or 0, *model.ends) if t >= sizes.vocabulary]
        if outside:
            raise HedgerowError(f"{pack.path}: model.json names token {outside[0]} of {sizes.vocabulary}")

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """'torch', and what export added."""
        return ("torch", *(form for form in FORMS if form in pack.variants), *decoder_export.forms_of(pack))

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """The files that this form reads."""
        if variant == "torch":
            return pack.bytes
        return pack.variant_bytes(variant) + sum(pack.file(n).stat().st_size for n in ("model.json", "tokenizer.json"))

    def load(
        self, pack: Pack, variant: str, threads: int, precision: str = "float32", **settings: str | int | bool
    ) -> Decoder:
        """Load one form; ``precision`` ('bfloat16') is for torch only, ``settings`` (see unit) for llama.cpp only."""
        if variant not in self.variants(pack):
            raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, self.variants(pack))}")
        if (missing := runnable(variant)) is not None:
            raise HedgerowError(missing)
        body = _body(pack, threads)
        if variant in decoder_export.FORMS:
            entry = pack.variant(variant).files[decoder_gguf.FILE]
            file = pack.variant_folder(variant) / decoder_gguf.FILE
            return decoder_gguf.load(body, file, threads, settings, entry.sha256)
        if set(settings) - {"context"}:  # the torch form takes as long a context as it is given
            raise HedgerowError(f"'{variant}' has no setting '{min(set(settings) - {'context'})}'; llama.cpp has")
        if variant in FORMS:
            return onnx_decoder(body, pack.variant_folder(variant) / FILE, threads)
        return TorchDecoder(body, _net(pack, precision), threads, precision)

    def export(self, pack: Pack, to: str) -> Pack:
        """Add 'onnx' or 'onnx-int8' for ``encode`` (the body without cache or head), or 'gguf-FORMAT' for all."""
        if to.startswith("gguf"):

            def likelihoods(of: Pack, form: str) -> list[Likelihood]:
                loaded: Any = self.load(of, form, 1)
                return list(loaded.loglikelihood(PAIRS))

            return decoder_export.export(pack, to, _model(pack), likelihoods)
        sample = [self.unit.make(size, seed) for size in self.unit.sizes for seed in range(2)]

        def graph(path: Path) -> None:
            import torch

            from hedgerow.nets.pooled import Pooled

            inputs = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
            free = {name: {0: ("batch", 1), 1: ("tokens", 1)} for name in inputs}
            net = _net(pack, attention="eager").base_model
            net.config.use_cache = False
            export_graph(Pooled(net, "mean", normalise=False), inputs, free, path)

        def answers(path: Path | None) -> np.ndarray:
            if path is None:
                return self.load(pack, "torch", 1).encode(sample)
            return onnx_decoder(_body(pack, 1), path, 1).encode(sample)

        return add_form(pack, to, graph, answers)


def _model(pack: Pack) -> DecoderModel:
    return check(DecoderModel, pack.json("model.json"), str(pack.path / "model.json"))


def _net(pack: Pack, precision: str = "float32", attention: str = "sdpa") -> Any:
    return transformer.load(
        _model(pack).config,
        pack.file("weights.safetensors"),
        transformer.DECODERS,
        head=True,
        precision=precision,
        attention=attention,
    )


def _body(pack: Pack, threads: int) -> Body:
    model, where = _model(pack), str(pack.path)
    sizes = transformer.geometry(model.config, transformer.DECODERS, where)
    tokens = texts.Tokens(pack.file("tokenizer.json"), None, threads)
    if tokens.size > sizes.vocabulary:
        raise HedgerowError(f"{where}: the tokenizer knows {tokens.size} tokens, the net has {sizes.vocabulary}")
    return Body(where, tokens, sizes, model.max_tokens, model.padding, model.start, frozenset(model.ends))


# --- making ----------------------------------------------------------------------------------------------------------
def save_decoder(
    path: str | Path,
    info: Info,
    net: Any,
    tokenizer_json: str,
    *,
    max_tokens: int | None = None,
    dtype: Literal["float32", "float16"] = "float16",
) -> Pack:
    """Save a language model of transformers (LlamaForCausalLM, …) and its tokenizer as a Pack.

    ``dtype`` float16 halves the file and changes each weight by at most 2^-11 of itself; compute stays float32.
    """
    config = transformer.saved_config(net.config)
    sizes = transformer.geometry(config, transformer.DECODERS, f"configuration of {path}")
    ends = config.get("eos_token_id")
    model = DecoderModel(
        config=config,
        max_tokens=min(max_tokens or sizes.positions, sizes.positions),
        padding=config.get("pad_token_id") or 0,
        start=config.get("bos_token_id"),
        ends=tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
    )
    arrays = transformer.state_arrays(net, dtype)
    with create(path, info.model_copy(update={"kind": DecoderKind.name}), check=KIND.check) as folder:
        files.write_json(folder / "model.json", model.model_dump(mode="json"))
        files.write_text(folder / "tokenizer.json", tokenizer_json)
        write_arrays(folder / "weights.safetensors", arrays)
    return open_pack(path, verify=False)


def from_folder(
    folder: str | Path, path: str | Path, info: Info, dtype: Literal["float32", "float16"] = "float16"
) -> Pack:
    """A Pack from a local folder in the layout of Hugging Face (config.json, *.safetensors, tokenizer.json)."""
    net, tokenizer = transformer.from_folder(Path(folder), transformer.DECODERS, head=True)
    return save_decoder(path, info, net, tokenizer, dtype=dtype)


def from_gguf(
    file: str | Path,
    path: str | Path,
    info: Info,
    dtype: Literal["float32", "float16"] = "float16",
    *,
    keep: bool = False,
) -> Pack:
    """A Pack from a GGUF file; quantised blocks are expanded, so the weights are those of the file and no better.

    Takes some seconds and twice the memory of the float32 weights; convert once and keep the Pack. With ``keep`` the
    file itself is a form of the Pack too (``gguf-q4_1``, say).
    """
    file = Path(file)
    architecture = _gguf_architecture(file)
    if architecture not in transformer.DECODERS:
        hint = did_you_mean(architecture, transformer.DECODERS)
        raise HedgerowError(f"{file}: the architecture '{architecture}' is not one that this kind builds{hint}")
    # a quantised file cannot be saved by transformers itself (its configuration refuses), but its arrays can be taken
    net, tokenizer = transformer.from_gguf(file)
    pack = save_decoder(path, info, net, _within(tokenizer, net.config.vocab_size), dtype=dtype)
    return decoder_export.keep(pack, file) if keep else pack


def _within(tokenizer: str, vocabulary: int) -> str:
    """The tokenizer without the special tokens that transformers adds of its own, for which the net has no vector."""
    whole = json.loads(tokenizer)
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["id"] < vocabulary]
    return json.dumps(whole, ensure_ascii=False)


def _gguf_architecture(file: Path) -> str:
    if find_spec("gguf") is None:
        raise HedgerowError("reading the weights of a GGUF file needs gguf: pip install 'hedgerow[build]'")
    return str(gguf_header.read(file).fields.get("general.architecture", ""))


KIND = DecoderKind()
