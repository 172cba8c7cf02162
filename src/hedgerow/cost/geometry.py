"""The sizes of a transformer decoder: all that its arrays, operations and memory follow from.

Symbols as in the survey of small language models (arXiv 2409.15790) and in the docs: L layers, d width, H query heads,
K key-value heads, h head size, f FFN width, V vocabulary. H, K and f may differ from layer to layer (OpenELM).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from hedgerow.schema import Record

LARGEST = 10_000_000  # no size of a small model is larger: vocabularies end at a few 100,000, contexts at a million
Count = Annotated[int, Field(ge=1, le=LARGEST)]
PerLayer = Count | Annotated[tuple[Annotated[int, Field(ge=0, le=LARGEST)], ...], Field(max_length=4096)]


class Latent(Record):
    """Multi-head latent attention (MLA): keys and values are made from one short vector a token."""

    rank: Count  # r_kv: values cached for each token and layer, with ``rope`` more
    rope: Count  # part of a key that carries the position, shared by the heads
    nope: Count  # part of a head's key without position
    value: Count  # values of a head
    query_rank: int = Field(default=0, ge=0, le=LARGEST)  # 0: the queries are made directly

    @property
    def cached(self) -> int:
        """Numbers cached for each token and layer when the engine keeps the latent."""
        return self.rank + self.rope


class Geometry(Record):
    """One decoder. ``kv_heads``: H is MHA, 1 is MQA, between them GQA; with ``latent`` it is MLA (kv_heads = H)."""

    layers: Annotated[int, Field(ge=1, le=4096)]  # L
    width: Count  # d
    heads: PerLayer  # H
    kv_heads: PerLayer  # K
    head: Count  # h; need not be d / H
    ffn: PerLayer  # f
    gated: bool  # gate and up projection: three matrices in the FFN instead of two
    vocabulary: Count  # V
    tied: bool  # the head shares the embedding's matrix
    positions: Count = 2048  # longest sequence
    learned_positions: int = Field(
        default=0, ge=0, le=LARGEST
    )  # rows of a learned table of positions; 0: rotary, ALiBi
    window: int | None = Field(default=None, ge=1, le=LARGEST)  # tokens that a layer with a sliding window sees
    windowed: tuple[int, ...] | None = None  # which layers have it; None: all, if there is a window
    latent: Latent | None = None
    shared_ffn: bool = False  # one FFN used by all layers: stored once, computed in each
    biases: bool = False
    norm: str = ""  # layernorm, rmsnorm, …
    activation: str = ""  # silu, gelu, gelu_tanh, relu, …
    architecture: str = ""  # llama, qwen2, gpt2, … as GGUF names it

    @model_validator(mode="before")
    @classmethod
    def _no_bool(cls, data: Any) -> Any:
        """True is no size, though Python counts it as 1."""
        if isinstance(data, dict):
            for key in ("layers", "width", "heads", "kv_heads", "head", "ffn", "vocabulary", "positions"):
                if isinstance(data.get(key), bool):
                    raise ValueError(f"'{key}' must be a whole number above 0")
        return data

    @model_validator(mode="after")
    def _fits(self) -> Geometry:
        for name in ("heads", "kv_heads", "ffn"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.layers:
                raise ValueError(f"'{name}' states {len(value)} layers, the model has {self.layers}")
        if any(k == 0 < h or (k and h % k) for h, k in zip(self.heads_of, self.kv_heads_of, strict=True)):
            raise ValueError("key-value heads must divide the query heads")
        if any(not 0 <= layer < self.layers for layer in self.windowed or ()):
            raise ValueError(f"'windowed' names a layer beyond the {self.layers}")
        return self

    @property
    def heads_of(self) -> tuple[int, ...]:
        """H of every layer."""
        return self._each(self.heads)

    @property
    def kv_heads_of(self) -> tuple[int, ...]:
        """K of every layer."""
        return self._each(self.kv_heads)

    @property
    def ffn_of(self) -> tuple[int, ...]:
        """f of every layer."""
        return self._each(self.ffn)

    def _each(self, value: int | tuple[int, ...]) -> tuple[int, ...]:
        return value if isinstance(value, tuple) else (value,) * self.layers

    def window_of(self, layer: int) -> int | None:
        """The sliding window of a layer, None where it sees everything."""
        return self.window if self.windowed is None or layer in self.windowed else None

    @property
    def attention(self) -> str:
        """'mha', 'gqa', 'mqa' or 'mla'."""
        if self.latent is not None:
            return "mla"
        if self.heads_of == self.kv_heads_of:
            return "mha"
        return "mqa" if set(self.kv_heads_of) <= {0, 1} else "gqa"

    @property
    def attention_body(self) -> int:
        """Parameters in the matrix products of attention: Σ over layers of 2dHh + 2dKh; for MLA its projections."""
        if self.latent is None:
            return sum(
                2 * self.width * self.head * (h + k) for h, k in zip(self.heads_of, self.kv_heads_of, strict=True)
            )
        m = self.latent
        total = 0
        for heads in self.heads_of:
            query = heads * (m.nope + m.rope)
            queries = m.query_rank * (self.width + query) if m.query_rank else self.width * query
            keys = self.width * m.cached + m.rank * heads * (m.nope + m.value)
            total += queries + keys + heads * m.value * self.width
        return total

    @property
    def ffn_body(self) -> int:
        """Parameters in the matrix products of the FFNs, a shared one once for each layer: Σ g d f."""
        return sum((3 if self.gated else 2) * self.width * f for f in self.ffn_of)

    @property
    def body(self) -> int:
        """B: what one token is multiplied by in all layers, attention and FFN."""
        return self.attention_body + self.ffn_body

    @property
    def score_width(self) -> int:
        """Σ over layers of H·h, the unit of attention over positions: 4 operations a unit and pair of positions.

        For MLA the mean of key and value size takes the place of h.
        """
        if self.latent is None:
            return sum(self.heads_of) * self.head
        return sum(self.heads_of) * (self.latent.nope + self.latent.rope + self.latent.value) // 2
