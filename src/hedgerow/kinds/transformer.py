"""Transformers of a Pack: which architectures may be built, whether their arrays fit, loading and saving.

``model.json`` holds the configuration as transformers writes it, and nothing of it is run: the architecture must be
one of the literal table below, keys that lead to code or to a hub are dropped, and the net is first built without
memory (on the meta device) and compared with the arrays before anything is allocated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.cost import Geometry as Geometry  # the sizes of every transformer; also reached from here
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.arrays import Header, headers, need, need_finite
from hedgerow.schema import check

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Family:
    """One architecture: its classes in transformers, and how its configuration names the sizes."""

    config: str
    body: str
    head: str = ""  # class with a language-model head
    layers: str = "num_hidden_layers"
    width: str = "hidden_size"
    heads: str = "num_attention_heads"
    ffn: str = "intermediate_size"
    positions: str = "max_position_embeddings"
    embedding: str = "word_embeddings.weight"
    gated: bool = False
    spare: int = 0  # positions at the start that no token uses
    fused: bool = True  # transformers has fused attention for it
    pooler: bool = True  # the body would build a pooling layer, which we leave out


ENCODERS = {
    "bert": Family("BertConfig", "BertModel"),
    "roberta": Family("RobertaConfig", "RobertaModel", spare=2),
    "xlm-roberta": Family("XLMRobertaConfig", "XLMRobertaModel", spare=2),
    "mpnet": Family("MPNetConfig", "MPNetModel", spare=2, fused=False),
    "distilbert": Family(
        config="DistilBertConfig",
        body="DistilBertModel",
        layers="n_layers",
        width="dim",
        heads="n_heads",
        ffn="hidden_dim",
        pooler=False,
    ),
}
DECODERS = {
    name: Family(
        f"{cls}Config", f"{cls}Model", f"{cls}ForCausalLM", embedding="embed_tokens.weight", gated=True, pooler=False
    )
    for name, cls in {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}.items()
} | {
    "gpt2": Family(
        config="GPT2Config",
        body="GPT2Model",
        head="GPT2LMHeadModel",
        layers="n_layer",
        width="n_embd",
        heads="n_head",
        ffn="n_inner",
        positions="n_positions",
        embedding="wte.weight",
        pooler=False,
    )
}
_FAMILIES = {**ENCODERS, **DECODERS}
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h)\.(\d+)\.")
_LARGEST = 10_000_000  # no size in a configuration of a small model is larger; vocabularies end at a few 100,000

# Not taken from a stranger: keys that name code, a hub, a kernel or a quantiser, and those that are ours to say.
_CODE_OR_HUB = (
    "auto_map quantization_config dtype torch_dtype attn_implementation experts_implementation architectures "
    "chunk_size_feed_forward model_type transformers_version custom_pipelines custom_generate kernel_config "
    "use_kernels sub_configs output_attentions output_hidden_states return_dict torchscript id2label label2id "
    "num_labels problem_type"
)
_DROPPED = frozenset(_CODE_OR_HUB.split())


# --- checking, without torch -----------------------------------------------------------------------------------------
def family(config: Mapping[str, Any], allowed: Mapping[str, Family], where: str) -> Family:
    """The family of a configuration; HedgerowError when it is not one that this kind builds."""
    name = config.get("model_type")
    if not isinstance(name, str) or name not in allowed:
        hint = did_you_mean(str(name), allowed)
        raise HedgerowError(f"{where}: the architecture {name!r} is not one that this kind builds{hint}")
    return allowed[name]


def geometry(config: Mapping[str, Any], allowed: Mapping[str, Family], where: str) -> Geometry:
    """Sizes of a configuration; HedgerowError for one that is missing, absurd, or does not fit the others."""
    kin = family(config, allowed, where)
    _bounded(config, where)

    def size(key: str, default: int | None = None) -> int:
        value = config.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise HedgerowError(f"{where}: '{key}' must be a whole number above 0 (got {value!r})")
        return value

    width, heads = size(kin.width), size(kin.heads)
    if width % heads and config.get("head_dim") is None:
        raise HedgerowError(f"{where}: '{kin.width}' {width} is not divisible by '{kin.heads}' {heads}")
    kv_heads = size("num_key_value_heads", heads)
    if heads % kv_heads:
        raise HedgerowError(f"{where}: {heads} heads cannot share {kv_heads} key-value heads")
    sizes = {
        "layers": size(kin.layers),
        "width": width,
        "heads": heads,
        "kv_heads": kv_heads,
        "head": size("head_dim", width // heads),
        "ffn": size(kin.ffn, 4 * width if kin.ffn == "n_inner" else None),
        "gated": kin.gated,
        "vocabulary": size("vocab_size"),
        "tied": bool(config.get("tie_word_embeddings", True)),
        "positions": size(kin.positions) - kin.spare,
        "architecture": str(config["model_type"]),
    }
    return check(Geometry, sizes, where)


def check_arrays(
    found: Mapping[str, Header], config: Mapping[str, Any], allowed: Mapping[str, Family], where: str
) -> None:
    """Whether the arrays can be those of the configuration, as far as names and the two main sizes tell."""
    sizes = geometry(config, allowed, where)
    embedding = family(config, allowed, where).embedding
    name = next((n for n in found if n.endswith(embedding)), None)
    if name is None:
        raise HedgerowError(f"{where} holds no array '…{embedding}', which its net needs")
    need({name: found[name]}, {name: (sizes.vocabulary, sizes.width)}, where)
    numbers = {int(m.group(1)) for m in map(_LAYER.search, found) if m}
    if numbers != set(range(len(numbers))) or len(numbers) != sizes.layers:
        raise HedgerowError(f"{where} holds the arrays of {len(numbers)} layers, its net has {sizes.layers}")


def _bounded(value: Any, where: str, key: str = "") -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _bounded(inner, where, str(name))
    elif isinstance(value, list):
        for inner in value[:1000]:
            _bounded(inner, where, key)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise HedgerowError(f"{where}: '{key}' is {value}, which no small model has; refused")


# --- building, with torch --------------------------------------------------------------------------------------------
def make_config(config: Mapping[str, Any], allowed: Mapping[str, Family], where: str) -> Any:
    """The configuration object of transformers; only keys that its class knows are taken over."""
    geometry(config, allowed, where)
    return _config(config, allowed, where)


def _config(config: Mapping[str, Any], allowed: Mapping[str, Family], where: str) -> Any:
    import transformers

    cls = getattr(transformers, family(config, allowed, where).config)
    known = set(cls().to_dict()) | {"rope_theta", "rope_scaling", "head_dim"}
    kept = {k: v for k, v in config.items() if k in known and k not in _DROPPED and not k.startswith("_")}
    try:
        return cls(**kept)
    except Exception as e:  # its validators raise classes of several libraries
        raise HedgerowError(f"{where}: transformers refuses this configuration: {_one_line(e)}") from e


def saved_config(config: Any) -> dict[str, Any]:
    """A configuration object as ``model.json`` keeps it: numbers and names that shape the net, nothing else."""
    return {
        key: value
        for key, value in config.to_dict().items()
        if key == "model_type" or (key not in _DROPPED and not key.startswith("_"))
    }


def skeleton(config: Any, *, head: bool) -> Any:
    """The net without memory: right names and shapes, no values."""
    import torch

    cls, extra = _net_class(config, head)
    with torch.device("meta"):
        return cls(config, **extra)


def expected(config: Any, *, head: bool) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every array that the net of ``config`` is saved with."""
    shapes = {name: tuple(value.shape) for name, value in skeleton(config, head=head).state_dict().items()}
    if head and config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    return shapes


def load(
    config: Mapping[str, Any],
    weights: Path,
    allowed: Mapping[str, Family],
    *,
    head: bool,
    precision: str = "float32",
    attention: str = "sdpa",
) -> Any:
    """The net of a Pack in evaluation mode, in ``precision``, with its arrays checked one by one first.

    ``attention`` is 'sdpa' or 'eager'; the FLOP counter of torch sees only the latter.
    """
    import torch
    from safetensors.torch import load_file

    if precision not in PRECISIONS:
        raise HedgerowError(f"no precision is called '{precision}'{did_you_mean(precision, PRECISIONS)}")
    where = str(weights.parent / "model.json")
    made = make_config(config, allowed, where)
    try:
        shapes = expected(made, head=head)
    except Exception as e:
        raise HedgerowError(f"{where}: transformers cannot build this net: {_one_line(e)}") from e
    need(headers(weights), shapes, str(weights))
    cls, extra = _net_class(made, head)
    if not family(config, allowed, where).fused:
        attention = "eager"
    state = load_file(weights)
    need_finite(state, str(weights))
    with _quiet():
        # handing over the state keeps transformers from drawing random weights first, and from looking on any hub
        net = cls.from_pretrained(
            None,
            config=made,
            state_dict=state,
            dtype=getattr(torch, precision),
            attn_implementation=attention,
            **extra,
        )
    return net.eval()


def held_bytes(net: Any) -> int:
    """Bytes of the parameters and buffers of a torch module, shared ones once."""
    seen = {t.data_ptr(): t.numel() * t.element_size() for t in (*net.parameters(), *net.buffers())}
    return sum(seen.values())


def state_arrays(net: Any, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Arrays of a net as they are saved: what :func:`expected` names, in ``dtype`` (float32 or float16)."""
    import torch

    wanted = expected(net.config, head=net.get_output_embeddings() is not None)
    arrays = {}
    for name, value in net.state_dict().items():
        if name in wanted:
            array = value.detach().to(torch.float32).cpu().numpy()
            if dtype == "float16" and np.abs(array).max(initial=0.0) > np.finfo(np.float16).max:
                raise HedgerowError(f"array '{name}' holds values too large for float16; save it as float32")
            arrays[name] = array.astype(dtype)
    return arrays


def from_folder(folder: Path, allowed: Mapping[str, Family], *, head: bool) -> tuple[Any, str]:
    """Net and tokenizer.json text of a local folder in the layout of Hugging Face; nothing is run or downloaded."""
    from hedgerow import files

    where = str(folder / "config.json")
    given = files.read_json(folder / "config.json")
    family(given, allowed, where)
    _bounded(given, where)
    config = _config(given, allowed, where)  # a published file leaves out what equals the class's defaults
    geometry(config.to_dict(), allowed, where)
    if not any(folder.glob("*.safetensors")):
        raise HedgerowError(
            f"{folder} holds no .safetensors file; convert its weights first (pickled ones are not read)"
        )
    cls, extra = _net_class(config, head)
    try:
        with _quiet():
            net = cls.from_pretrained(
                folder, config=config, local_files_only=True, use_safetensors=True, dtype="float32", **extra
            )
    except Exception as e:
        raise HedgerowError(f"{folder} cannot be read by transformers: {_one_line(e)}") from e
    return net.eval(), tokenizer_text(folder)


def from_gguf(file: Path) -> tuple[Any, str]:
    """Language model and tokenizer.json text of a GGUF file whose architecture was checked."""
    from transformers import AutoModelForCausalLM

    try:
        with _quiet():
            net: Any = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype="float32", local_files_only=True, trust_remote_code=False
            )
    except Exception as e:
        raise HedgerowError(f"{file} cannot be read by transformers: {_one_line(e)}") from e
    family(net.config.to_dict(), DECODERS, str(file))
    return net.eval(), _converted_tokenizer(file.parent, gguf_file=file.name)


def tokenizer_text(folder: Path) -> str:
    """``tokenizer.json`` of a folder, converted by transformers from its older forms when it is absent."""
    file = folder / "tokenizer.json"
    return file.read_text(encoding="utf-8") if file.is_file() else _converted_tokenizer(folder)


_VOCABULARIES = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "*.gguf")


def _converted_tokenizer(folder: Path, **more: Any) -> str:
    from transformers import AutoTokenizer

    if not any(file for name in _VOCABULARIES for file in folder.glob(name)):  # else an empty one would be made up
        raise HedgerowError(f"{folder} holds no tokenizer.json, nor a vocabulary that one could be made from")

    try:
        with _quiet():
            fast = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **more)
        return str(fast.backend_tokenizer.to_str())
    except BaseException as e:  # tokenizers' Rust panics at a vocabulary that does not fit its merges: no Exception
        if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
            raise
        raise HedgerowError(f"{folder} holds no tokenizer.json, and none can be made: {_one_line(e)}") from e


def _net_class(config: Any, head: bool) -> tuple[Any, dict[str, Any]]:
    import transformers

    kin = _FAMILIES[config.model_type]
    if head:
        return getattr(transformers, kin.head), {}
    return getattr(transformers, kin.body), {"add_pooling_layer": False} if kin.pooler else {}


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and load reports of transformers inside the block."""
    from transformers.utils import logging as any_logging

    logging: Any = any_logging  # some of its functions have no types

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
