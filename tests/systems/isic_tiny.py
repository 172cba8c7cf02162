"""Tiny trunks with random weights, as local Hugging Face folders, and a run to build in."""

from __future__ import annotations

import json
from pathlib import Path

from hedgerow.run import Run, open_run

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer() -> str:
    """One token a character, over the letters that the toy texts use."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = [chr(c) for c in range(32, 0x250)]
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(SPECIAL + letters)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(made.to_str())


VOCABULARY = len(SPECIAL) + 0x250 - 32


def encoder_folder(path: Path) -> Path:
    """A BERT of one layer."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(path)
    (path / "tokenizer.json").write_text(tokenizer())
    return path


def decoder_folder(path: Path) -> Path:
    """A Llama of one layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, pad_token_id=0, bos_token_id=2, eos_token_id=3,
        tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    (path / "tokenizer.json").write_text(tokenizer())
    return path


def a_run(tmp: Path, config: object = None, seed: int = 0) -> Run:
    return open_run(
        tmp / "runs", "isic", {"config": json.loads(json.dumps(config or {}, default=str))}, seed, quiet=True
    )
