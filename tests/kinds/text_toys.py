"""A small text classifier for tests: eight classes, invented texts, heads of scikit-learn, a trunk of 12 values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.kinds.encoder import save_static
from hedgerow.kinds.hierarchy import Label, LabelsFile
from hedgerow.kinds.text_classifier import save_text_classifier
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import Member
from hedgerow.pack import Info, Pack

LABELS = LabelsFile(
    scheme="ISIC Rev.4",
    labels=tuple(
        Label(code=c, title=t, group=c[:3], division=c[:2], section=s)
        for c, t, s in [
            ("0111", "Growing of cereals", "A"),
            ("0112", "Growing of rice", "A"),
            ("0141", "Raising of cattle", "A"),
            ("1071", "Manufacture of bakery products", "C"),
            ("1075", "Manufacture of prepared meals", "C"),
            ("1313", "Finishing of textiles", "C"),
            ("6201", "Computer programming", "J"),
            ("6202", "Computer consultancy", "J"),
        ]
    ),
    titles={"section": {"A": "Agriculture", "C": "Manufacturing", "J": "Information"}, "division": {"01": "Crops"}},
)
CODES = [label.code for label in LABELS.labels]
ROWS = [
    ("0111", "growing of wheat and barley"),
    ("0111", "cereal farm, maize and oats"),
    ("0111", "wheat fields on rented land"),
    ("0112", "growing of rice in paddies"),
    ("0112", "irrigated rice farm"),
    ("0112", "Reisanbau auf überfluteten Feldern"),
    ("0141", "raising of dairy cattle"),
    ("0141", "cattle farm producing raw milk"),
    ("0141", "élevage de vaches laitières"),
    ("1071", "bakery making bread and rolls"),
    ("1071", "production of biscuits and cakes"),
    ("1071", "industrial bread bakery"),
    ("1075", "frozen pizza and ready meals"),
    ("1075", "production of prepared dishes for hospitals"),
    ("1075", "canteen kitchen making ready meals"),
    ("1313", "dyeing and bleaching of cotton fabric"),
    ("1313", "printing on textiles"),
    ("1313", "finishing of woven fabrics"),
    ("6201", "writing of software on order"),
    ("6201", "mobile app development"),
    ("6201", "programming of web sites"),
    ("6202", "advice on computer hardware"),
    ("6202", "computer consultancy for companies"),
    ("6202", "planning of computer networks"),
]
TEXTS = [text for _, text in ROWS]
EXAMPLES = [{"text": text, "code": code, "source": "toy"} for code, text in ROWS]
CROSSWALK = {"NACE2": {"01.11": ["0111", "0112"], "62.01": ["6201"]}, "SSIC2020": {"10712": ["1071"]}}
BLOCKS = {
    "blocks": [
        {"name": "word", "analyser": "word", "ngrams": [1, 2]},
        {"name": "char", "analyser": "char_wb", "ngrams": [3, 5]},
    ]
}


@cache
def fitted() -> tuple[Any, Any]:
    """scikit-learn's two vectorisers side by side, and its regression on top."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    both = FeatureUnion([("word", words), ("char", characters)])
    rows = both.fit_transform([normalise(t) for t in TEXTS])
    return both, LogisticRegression(C=10.0).fit(rows, [CODES.index(c) for c, _ in ROWS])


def tfidf_linear(dtype: type = np.float32) -> Member:
    """The fitted pair as a member."""
    both, head = fitted()
    parts = [v for _, v in both.transformer_list]
    arrays = {
        "idf": np.concatenate([v.idf_ for v in parts]),
        "coef": head.coef_.astype(dtype),
        "intercept": head.intercept_,
    }
    return Member(
        "tfidf-linear", BLOCKS, arrays, {n: list(v.get_feature_names_out()) for n, v in both.transformer_list}
    )


def info(**more: Any) -> Info:
    return Info(name="toy", kind="text-classifier", summary="a toy", **more)


def trunk(tmp: Path, dim: int = 12, seed: int = 0) -> Pack:
    """A table of random token vectors over the words of the texts."""
    words = sorted({w for t in TEXTS for w in normalise(t).lower().split()} | {label.title for label in LABELS.labels})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    table = np.random.default_rng(seed).normal(size=(len(vocabulary), dim)).astype(np.float32)
    return save_static(
        tmp / f"trunk-{dim}-{seed}", Info(name="toy trunk", kind="encoder"), table, json.dumps(tokenizer)
    )


def text_classifier(tmp: Path, name: str = "toy", **changes: Any) -> Pack:
    """A Pack of the word and character regression alone; ``changes`` replace arguments of save_text_classifier."""
    arguments: dict[str, Any] = {
        "labels": LABELS,
        "members": [tfidf_linear()],
        "combine": {"rule": "mean", "weights": [1.0]},
        "examples": EXAMPLES,
        "crosswalk": CROSSWALK,
        "calibration": {"temperature": 0.8, "thresholds": {"0.90": 0.5, "0.95": 0.8}, "fitted_on": "dev", "n": 24},
    }
    return save_text_classifier(tmp / name, info(), **{**arguments, **changes})


def trunk_members(dim: int = 12) -> list[Member]:
    """Every member that reads a trunk, with random heads."""
    rng = np.random.default_rng(7)
    k = len(CODES)
    head = {
        "W": rng.normal(size=(k, dim)),
        "b": rng.normal(size=k),
        "mean": rng.normal(size=dim),
        "scale": rng.uniform(0.5, 2.0, size=dim),
    }
    titles = {"vectors": rng.normal(size=(k, dim)).astype(np.float16)}
    return [
        Member("trunk-linear", {}, head),
        Member("trunk-knn", {"k": 5, "tau": 0.1}),
        Member("trunk-titles", {"scale": 10.0}, titles),
    ]


def trunk_classifier(tmp: Path, name: str = "toy-trunk", **changes: Any) -> Pack:
    """A Pack of words, characters and all trunk members."""
    changes = {"trunk": trunk(tmp), "members": [tfidf_linear(), *trunk_members()], **changes}
    weights = [1.0, 0.5, 2.0, 0.25]
    return text_classifier(tmp, name, **{"combine": {"rule": "mean", "weights": weights}, **changes})


def codes_of(answer: Mapping[str, Any]) -> list[str]:
    return [c["code"] for c in answer["candidates"]]
