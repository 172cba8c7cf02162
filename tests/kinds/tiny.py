"""A tiny Pack of each kind with random weights, made in well under a second: the floor under the conformance test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hedgerow.pack import Info, Pack, Source

SOURCE = Source(name="random weights", licence="CC0-1.0")


def info(name: str, kind: str, **more: object) -> Info:
    return Info(name=name, kind=kind, summary="random weights, for tests", data=(SOURCE,), seed=0, **more)


def tokenizer(*, encoder: bool) -> str:
    """A byte-level tokenizer.json that reads any text: 256 bytes and four special tokens, one token a byte."""
    from tokenizers.pre_tokenizers import ByteLevel

    special = ["<pad>", "<start>", "<end>", "<unk>"]
    vocabulary = {token: number for number, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    around = [
        {"SpecialToken": {"id": "<start>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "<end>", "type_id": 0}},
    ]
    template = {
        "type": "TemplateProcessing",
        "single": around,
        "pair": [*around, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [vocabulary[t]], "tokens": [t]} for t in ("<start>", "<end>")},
    }
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{"id": vocabulary[t], "content": t, **flags} for t in special],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": template if encoder else None,
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": "<unk>"},
        }
    )


VOCABULARY = 260


def _seeded() -> None:
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)  # transformers draws its first weights from torch's global stream


def bert(**more: object):
    """A random BERT body of two layers."""
    from transformers import BertConfig, BertModel

    _seeded()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(**{"vocab_size": VOCABULARY, "max_position_embeddings": 128, **sizes, **more})
    return BertModel(config, add_pooling_layer=False).eval()


def llama(**more: object):
    """A random Llama of two layers, with grouped key-value heads and tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    _seeded()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True}
    room = {"vocab_size": VOCABULARY, "intermediate_size": 64, "max_position_embeddings": 512}
    # wide first weights, so that the logits differ by more than rounding
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **special, **room, "initializer_range": 0.3, **more})).eval()


def encoder(tmp: Path) -> Pack:
    from hedgerow.kinds.encoder import save_encoder

    body = bert()
    return save_encoder(tmp / "encoder", info("tiny-encoder", "encoder"), body, tokenizer(encoder=True), max_tokens=128)


def decoder_lm(tmp: Path) -> Pack:
    from hedgerow.kinds.decoder_lm import save_decoder

    return save_decoder(tmp / "decoder", info("tiny-decoder", "decoder-lm"), llama(), tokenizer(encoder=False))


def static_encoder(tmp: Path) -> Pack:
    """A second net of the kind encoder, which needs numpy only."""
    from hedgerow.kinds.encoder import save_static

    table = np.random.default_rng(0).normal(size=(VOCABULARY, 16)).astype(np.float32)
    return save_static(tmp / "static", info("tiny-static", "encoder"), table, tokenizer(encoder=True))


def image_classifier(tmp: Path) -> Pack:
    from hedgerow.kinds.image_classifier import ImageModel, save_image_classifier
    from hedgerow.nets.convnet import ConvNet

    _seeded()
    model = ImageModel(channels=3, widths=(8, 12), height=17, width=16)
    labels = ["oak", "hazel", "hawthorn"]
    net = ConvNet(model.channels, model.widths, len(labels))
    return save_image_classifier(tmp / "images", info("tiny-images", "image-classifier"), model, labels, net)


def segmenter(tmp: Path) -> Pack:
    from hedgerow.kinds.segmenter import SegmenterModel, save_segmenter
    from hedgerow.nets.unet import UNet

    _seeded()
    model = SegmenterModel(channels=1, width=4, depth=2)
    labels = ["ground", "hedge", "sky"]
    net = UNet(model.channels, len(labels), model.width, model.depth)
    return save_segmenter(tmp / "masks", info("tiny-masks", "segmenter"), model, labels, net)


def text_classifier(tmp: Path) -> Pack:
    """Every member at once, on a random BERT as trunk."""
    from hedgerow.kinds.hierarchy import Label, LabelsFile
    from hedgerow.kinds.text_classifier import save_text_classifier
    from hedgerow.kinds.text_members import Member

    rng = np.random.default_rng(0)
    upper = [("0111", "A"), ("0112", "A"), ("1071", "C"), ("1313", "C"), ("6201", "J")]
    labels = [Label(code=c, title=f"class {c}", group=c[:3], division=c[:2], section=s) for c, s in upper]
    words = ["of", "rice", "growing", "wholesale", "growing of", "repair"]
    pieces = [" of", "ing", "rep", "ric", "ing ", "rice "]
    blocks = [
        {"name": "word", "analyser": "word", "ngrams": [1, 2]},
        {"name": "char", "analyser": "char_wb", "ngrams": [3, 5]},
    ]
    linear = {"idf": rng.uniform(1, 3, 12), "coef": rng.normal(size=(5, 12)), "intercept": rng.normal(size=5)}
    head = {"W": rng.normal(size=(5, 32)) / 3, "b": rng.normal(size=5), "mean": rng.normal(size=32)}
    members = [
        Member("exact", tables={"table": {"growing of rice": ["0112"]}}),
        Member("tfidf-linear", {"blocks": blocks}, linear, {"word": words, "char": pieces}),
        Member("trunk-linear", {}, {**head, "scale": rng.uniform(1, 2, 32)}),
        Member("trunk-knn", {"k": 3, "tau": 0.5}),
        Member("trunk-titles", {"scale": 2.0}, {"vectors": rng.normal(size=(5, 32))}),
        Member("prior", arrays={"p": rng.uniform(1, 2, 5)}),
    ]
    texts = ["rice fields", "barley farm", "bread bakery", "dyeing of cotton", "web sites", "paddy rice"]
    codes = ["0112", "0111", "1071", "1313", "6201", "0112"]
    return save_text_classifier(
        tmp / "texts",
        info("tiny-texts", "text-classifier"),
        LabelsFile(scheme="ISIC Rev.4", labels=tuple(labels), titles={"section": {"A": "farms"}}),
        members,
        {"rule": "mean", "weights": [0, 1, 1, 1, 1, 0.1], "exact_first": True},
        [{"text": t, "code": c, "source": "made up"} for t, c in zip(texts, codes, strict=True)],
        trunk=encoder(tmp),
        calibration={"temperature": 1.2, "thresholds": {"0.90": 0.4}, "fitted_on": "nothing", "n": 6},
        crosswalk={"NACE2": {"01.1": ["0111", "0112"]}},
    )


def recommender(tmp: Path) -> Pack:
    """Five invented records behind the classifier with every member."""
    from hedgerow.kinds.recommender import save_recommender
    from hedgerow.kinds.recommender_source import Kept
    from hedgerow.records.exchange import Exchange

    said = {"kind": "user", "source": "invented", "licence": "CC0-1.0", "shareable": True}
    rows = [
        ("rice mill", "husks of rice", "barley farm", "0112:1", "0111:1"),
        ("bakery", "stale bread", "bakery of toast", "1071:1", "1071:0.5 0111:0.5"),
        ("dye works", "coloured water", "landfill", "1313:1", "6201:1"),
        ("barley farm", "straw", "", "0111:0.5 0112:0.5", ""),
        ("", "growing bread", "dye works", "", "1313:1"),
    ]
    kept = []
    for number, (donor, waste, receiver, donor_isic, receiver_isic) in enumerate(rows):
        texts = {"donor_text": donor, "waste_text": waste, "receiver_text": receiver, "source_id": str(number)}
        x = Exchange.model_validate({**said, **texts})
        kept.append(Kept(digest=x.digest, exchange=x, donor=donor_isic, receiver=receiver_isic))
    return save_recommender(tmp / "takers", info("tiny-takers", "recommender"), text_classifier(tmp), kept)


MAKERS = {
    "text-classifier": text_classifier,
    "encoder": encoder,
    "decoder-lm": decoder_lm,
    "image-classifier": image_classifier,
    "segmenter": segmenter,
    "recommender": recommender,
}


# --- what the conformance test asks of each kind ---------------------------------------------------------------------
def image_row(tmp: Path) -> dict[str, str]:
    np.save(tmp / "picture.npy", np.random.default_rng(1).integers(0, 256, (12, 9, 3), dtype=np.uint8))
    return {"image": "picture.npy"}


# one good row of a file of inputs; file names in it are relative to the folder given
ROWS = {
    "text-classifier": lambda tmp: {"text": "growing of rice"},
    "encoder": lambda tmp: {"text": "growing of rice"},
    "decoder-lm": lambda tmp: {"prompt": "Rice is grown"},
    "image-classifier": image_row,
    "segmenter": image_row,
    # one text on the command line holds both, so that the same row serves there, too
    "recommender": lambda tmp: {"donor_text": "growing of rice :: straw", "waste_text": "straw"},
}

# the numbers behind the answers, which must agree between forms: (loaded form, inputs) -> array
NUMBERS = {
    "text-classifier": lambda engine, inputs: engine.probabilities(inputs),
    "encoder": lambda engine, inputs: engine.encode(inputs),
    "decoder-lm": lambda engine, inputs: engine.encode(inputs),
    "image-classifier": lambda engine, inputs: engine.probabilities(inputs),
    "segmenter": lambda engine, inputs: np.stack([engine.logits(i) for i in inputs]),
    "recommender": lambda engine, inputs: engine.scores(inputs),
}
