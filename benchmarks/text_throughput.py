"""Throughput of text classifiers against the bare library calls, on the same texts, side by side in one run.

    python benchmarks/text_throughput.py PACK... [--texts FILE.csv] [--count 3000] [--rounds 9] [--out FILE.json]

Ours is ``Model.predict`` as it is asked by default (decision, candidates, records), ``hedgerow use --in FILE --out
FILE.csv`` without the start of its process, and both with the search for the nearest examples that single answers
have. Bare is scikit-learn's ``transform`` and ``predict_proba`` for TF-IDF; for a trunk,
``tokenizers`` and ONNX Runtime in batches of 32 texts of like length. With neighbours it is the product of sparse or
dense matrices and a partition on top. Both sides hold the same weights, and must give the same probabilities before
anything is timed.

Both sides take turns, each on one thread; the ratio is the median over the rounds of (time bare) / (time ours), so
1.0 means as fast, 2.0 twice as fast. Without a PACK one is made from the MIT coded texts with weights drawn at random
(419 classes, 27,000 features, 11,000 examples): speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import hedgerow as hr
from hedgerow import files, run
from hedgerow.kinds import Model
from hedgerow.kinds.hierarchy import Label
from hedgerow.kinds.text_classifier import load_trunk, save_text_classifier
from hedgerow.kinds.text_features import normalise
from hedgerow.kinds.text_members import Batch, Member, TfidfLinear, TrunkLinear
from hedgerow.pack import Info, Pack

BATCH = 32
Call = Callable[[], Any]


# --- the bare calls --------------------------------------------------------------------------------------------------
def sklearn_pair(member: TfidfLinear, record: Member) -> tuple[Any, Any]:
    """scikit-learn's vectorisers and regression with the member's vocabulary and weights."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion

    settings = member.tfidf.settings
    if settings.norm != "block":
        raise SystemExit("only blocks that are normed apart have a bare counterpart in scikit-learn")
    parts, start = [], 0
    for block in settings.blocks:
        terms = record.tables[block.name]
        vectoriser = TfidfVectorizer(
            analyzer=block.analyser,
            ngram_range=block.ngrams,
            vocabulary={t: i for i, t in enumerate(terms)},
            sublinear_tf=settings.sublinear,
            lowercase=settings.lowercase,
        )
        vectoriser.idf_ = member.arrays["idf"][start : start + len(terms)].astype(np.float64)
        parts.append((block.name, vectoriser))
        start += len(terms)
    head = LogisticRegression()
    head.coef_ = np.asarray(record.arrays["coef"], np.float64)
    head.intercept_ = np.asarray(record.arrays["intercept"], np.float64)
    head.classes_ = np.arange(len(head.coef_))
    head.n_features_in_ = start
    return FeatureUnion(parts), head


def bare_tfidf(model: Model, record: Member, texts: Sequence[str]) -> tuple[Call, Call]:
    """Calls for probabilities, and for probabilities and the three nearest examples."""
    engine: Any = model.engine
    member = next(m for m in engine.parts.members if isinstance(m, TfidfLinear))
    union, head = sklearn_pair(member, record)
    stored = union.transform([normalise(x.text) for x in engine.parts.examples]) if engine.parts.examples else None
    length = np.sqrt(np.asarray(stored.multiply(stored).sum(1))).ravel() if stored is not None else None

    def probabilities() -> Any:
        return head.predict_proba(union.transform(texts))

    def with_nearest() -> Any:
        rows = union.transform(texts)
        p = head.predict_proba(rows)
        for start in range(0, rows.shape[0], 256):
            cosines = (rows[start : start + 256] @ stored.T).toarray() / length
            np.argpartition(-cosines, 3, axis=1)[:, :3]
        return p

    return probabilities, with_nearest


def bare_trunk(model: Model, record: Member, texts: Sequence[str]) -> tuple[Call, Call]:
    """The same with tokenizers, ONNX Runtime and the linear head."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    trunk = model.pack.trunk()
    tokenizer = Tokenizer.from_file(str(trunk.file("tokenizer.json")))
    tokenizer.enable_truncation(trunk.json("model.json")["max_tokens"])
    tokenizer.enable_padding(pad_id=trunk.json("model.json")["padding"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = next(trunk.variant_folder(model.variant).glob("*.onnx"))
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    engine: Any = model.engine
    head = next(m for m in engine.parts.members if isinstance(m, TrunkLinear))
    weights, intercept = head.arrays["weights"], head.arrays["intercept"]
    unit = bool(record.settings.get("unit"))
    stored = engine.parts.store.vectors if engine.parts.store is not None else None

    def vectors() -> np.ndarray:
        parts = []
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(texts), BATCH):
            encoded = tokenizer.encode_batch([texts[i] for i in order[start : start + BATCH]])
            feeds = {
                "input_ids": np.array([e.ids for e in encoded], np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], np.int64),
            }
            parts.append(session.run(None, feeds)[0])
        h = np.concatenate(parts)[np.argsort(order)]
        return h / np.linalg.norm(h, axis=1, keepdims=True) if unit else h

    def answer(h: np.ndarray) -> np.ndarray:
        scores = h @ weights + intercept
        p = np.exp(scores - scores.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def with_nearest() -> Any:
        h = vectors()
        np.argpartition(-(h @ stored.T), 3, axis=1)[:, :3]
        return answer(h)

    return lambda: answer(vectors()), with_nearest


# --- side by side ----------------------------------------------------------------------------------------------------
def turns(ours: Call, bare: Call, texts: int, rounds: int) -> dict[str, Any]:
    """Both sides in turn, the order changing each round; microseconds a text and ratios."""
    ours(), bare()
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(rounds):
        for side, call in [("ours", ours), ("bare", bare)][:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            call()
            times[side].append((time.perf_counter() - start) / texts * 1e6)
    ratios = sorted(b / o for o, b in zip(times["ours"], times["bare"], strict=True))
    return {
        "ours_us": round(min(times["ours"]), 1),
        "bare_us": round(min(times["bare"]), 1),
        "ratio": round(median(ratios), 3),
        "ratio_low": round(ratios[0], 3),
        "ratio_high": round(ratios[-1], 3),
    }


def compare(pack: Pack, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """All comparisons of one Pack; SystemExit when ours and bare do not agree."""
    model = open_light(pack)
    engine: Any = model.engine
    members = records(pack)
    wanted = "trunk-linear" if model.variant.startswith("onnx") else "tfidf-linear"
    place = next((i for i, m in enumerate(members) if m.type == wanted), None)
    if place is None:
        raise SystemExit(f"{pack.path} has no member {wanted} to compare with in form '{model.variant}'")
    make = bare_trunk if wanted == "trunk-linear" else bare_tfidf
    probabilities, with_nearest = make(model, members[place], texts)
    classes = members[place].arrays.get("classes")
    encode = load_trunk(pack.trunk(), model.variant).encode if pack.info.trunk else None
    mine, _ = engine.parts.members[place].probabilities(Batch([normalise(t) for t in texts], encode))
    theirs = np.asarray(probabilities())
    apart = float(np.abs((mine if classes is None else mine[:, classes]) - theirs).max())
    if apart > 5e-3:
        raise SystemExit(f"the two sides give different probabilities (up to {apart:.4f}): nothing to compare")
    found = {
        "probabilities": turns(lambda: engine.probabilities(texts), probabilities, len(texts), rounds),
        "answers": turns(lambda: model.predict(texts), probabilities, len(texts), rounds),
    }
    with tempfile.TemporaryDirectory() as folder:
        table = file_to_file(model, texts, Path(folder))
        found["use --in, file to file"] = turns(table, probabilities, len(texts), rounds)
    if engine.parts.examples:
        explained = partial(model.predict, texts, **model.kind.explains)
        found["answers with nearest"] = turns(explained, with_nearest, len(texts), rounds)
        found["answers with nearest, bare without"] = turns(explained, probabilities, len(texts), rounds)
    return {
        "pack": pack.digest,
        "name": pack.info.name,
        "members": [m.type for m in members],
        "variant": model.variant,
        "texts": len(texts),
        "words": round(sum(len(t.split()) for t in texts) / len(texts), 1),
        "examples": len(engine.parts.examples),
        "largest_difference": apart,
        "rounds": rounds,
        "results": found,
    }


def file_to_file(model: Model, texts: Sequence[str], folder: Path) -> Call:
    """A call that does what ``use --in texts.csv --out coded.csv`` does in its settings by default."""
    import csv

    from hedgerow.cli.batch import CsvSink, answer_all, open_rows, output

    source = folder / "texts.csv"
    with open(source, "w", encoding="utf-8", newline="") as f:
        csv.writer(f).writerows([["text"], *([t] for t in texts)])

    def call() -> None:
        with open_rows(source, model.kind.needs) as table, output(folder / "coded.csv", sys.stdout) as out:
            sink = CsvSink(out, model, table.columns)
            for done in answer_all(model, table, table.base, {}):
                sink.write(done)

    return call


def open_light(pack: Pack) -> Model:
    """The Pack in its ONNX form where it has one, otherwise numpy."""
    forms = hr.kinds.kind(pack.info.kind).variants(pack)
    return hr.open(pack, variant=next((f for f in forms if f.startswith(("onnx", "numpy"))), None), threads=1)


def records(pack: Pack) -> list[Member]:
    """The members as they were saved."""
    from hedgerow.kinds.text_store import read_members

    return read_members(pack)[0]


# --- texts and a Pack where none is given ----------------------------------------------------------------------------
def random_pack(path: Path, texts: Sequence[str], features: tuple[int, int] = (12_000, 15_000)) -> Pack:
    """TF-IDF of real texts, 419 classes, weights at random."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    words = TfidfVectorizer(ngram_range=(1, 2), max_features=features[0], sublinear_tf=True).fit(texts)
    characters = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), max_features=features[1], min_df=2, sublinear_tf=True
    ).fit(texts)
    labels = [
        Label(code=f"{i:04}", title=f"class {i}", group=f"{i:04}"[:3], division=f"{i:04}"[:2]) for i in range(419)
    ]
    width = len(words.vocabulary_) + len(characters.vocabulary_)
    member = Member(
        "tfidf-linear",
        {
            "blocks": [
                {"name": "word", "analyser": "word", "ngrams": [1, 2]},
                {"name": "char", "analyser": "char_wb", "ngrams": [3, 5]},
            ]
        },
        {
            "idf": np.concatenate([words.idf_, characters.idf_]),
            "coef": rng.normal(size=(len(labels), width)).astype(np.float16),
            "intercept": rng.normal(size=len(labels)),
        },
        {n: list(v.get_feature_names_out()) for n, v in (("word", words), ("char", characters))},
    )
    examples = [{"text": t, "code": labels[i].code} for t, i in zip(texts, rng.integers(0, len(labels), len(texts)))]
    info = Info(name="random weights", kind="text-classifier")
    return save_text_classifier(path, info, labels, [member], {"rule": "mean", "weights": [1.0]}, examples)


def real_texts() -> list[str]:
    """The MIT coded texts, shuffled by a fixed seed."""
    from hedgerow.data.texts import coded_texts

    texts = sorted({normalise(t.text) for t in coded_texts()})
    np.random.default_rng(0).shuffle(texts)
    return texts


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON object a Pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs", nargs="*", type=Path)
    parser.add_argument("--texts", type=Path, help="a CSV or JSON Lines file with a column 'text'")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args(arguments)
    run.set_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if chosen.texts:
        from hedgerow.data.texts import read_user

        texts = [normalise(row.text) for row in read_user(chosen.texts)]
    else:
        texts = real_texts()
    with tempfile.TemporaryDirectory() as folder:
        packs = [hr.pack.open_pack(p) for p in chosen.packs] or [random_pack(Path(folder) / "p", texts[:11_000])]
        asked = texts[-chosen.count :]
        found = [compare(pack, asked, chosen.rounds) for pack in packs]
    whole = {"environment": run.environment(), "when": run.now(), "packs": found}
    if chosen.out:
        files.write_json(chosen.out, whole)
    print(json.dumps(whole, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
