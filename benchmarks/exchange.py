"""How fast the exchange is: import without coding, and recommendations out of a million live records.

    python benchmarks/exchange.py --classifier packs/isic [--records 1000000] [--wastes 20000] [--postgres URL]

Records are synthetic: wastes are three to five words of a made-up vocabulary with the frequencies of Zipf's law, donors
and receivers are drawn from ISIC's classes. Printed as JSON: rows a second of the import (records checked, digested and
written in one transaction, no coding), the latencies of questions with a donor's class given (p50, p95) and with its
text classified, and the recall of the ten receivers against the full scan. The machine and its load stand beside them.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import kinds
from hedgerow.data import schemes
from hedgerow.kinds.recommender import save_recommender
from hedgerow.kinds.recommender_engine import Recommender
from hedgerow.kinds.recommender_source import Kept, Snapshot
from hedgerow.pack import Info, open_pack
from hedgerow.records import Coding, Exchange, open_store
from hedgerow.weighing.device import measured_device

SYLLABLES = ("ash", "mud", "lime", "slag", "whey", "oil", "fibre", "dust", "peel", "husk", "sand", "salt", "wax", "tar")


def wordings(count: int, rng: np.random.Generator) -> list[str]:
    words = [f"{a}{b}" for a in SYLLABLES for b in SYLLABLES] + [f"{a} {b}" for a in SYLLABLES for b in SYLLABLES]
    found: dict[str, None] = {}
    while len(found) < count:
        chosen = rng.zipf(1.3, size=int(rng.integers(3, 6))) % len(words)
        found[" ".join(words[i] for i in chosen)] = None
    return list(found)


def rows(count: int, wastes: list[str], seed: int, coded: bool) -> Iterator[tuple[Exchange, Coding, Coding]]:
    """Each class takes the wastes of its own kind more often: a record's receiver follows its waste's number."""
    rng = np.random.default_rng(seed)
    codes = [label["code"] for label in schemes.isic_labels()]
    given = {c: Coding(isic=((c, 1.0),), how="given") for c in codes} if coded else {}
    nothing = Coding()
    for start in range(0, count, 10_000):
        n = min(10_000, count - start)
        waste = np.minimum(rng.zipf(1.2, size=n) - 1, 10**9) % len(wastes)
        donor = rng.integers(len(codes), size=n)
        taker = (waste * 7 + rng.integers(12, size=n)) % len(codes)
        for i in range(n):
            item = Exchange(
                kind="user", source="synthetic", licence="CC0-1.0", source_id=str(start + i),
                donor_text=f"firm {start + i}", waste_text=wastes[waste[i]], receiver_text=f"taker {start + i}",
            )  # fmt: skip
            a, b = codes[donor[i]], codes[taker[i]]
            yield item, given.get(a, nothing), given.get(b, nothing)


def quantiles(seconds: list[float]) -> dict[str, float]:
    ms = 1000 * np.array(seconds)
    return {"p50_ms": float(np.median(ms)), "p95_ms": float(np.quantile(ms, 0.95)), "n": len(ms)}


def measure(url: str, args: argparse.Namespace, engine: Recommender, wastes: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    with open_store(url) as store:
        plain = args.plain
        started = time.perf_counter()
        store.add(rows(plain, wastes, 1, coded=False), name="plain", digest="plain")
        out["import_rows_per_second"] = plain / (time.perf_counter() - started)
        started = time.perf_counter()
        store.add(rows(args.records, wastes, 2, coded=True), name="coded", digest="coded")
        out["import_with_given_codes_rows_per_second"] = args.records / (time.perf_counter() - started)
    started = time.perf_counter()
    engine.source(url)
    out["index_seconds"] = time.perf_counter() - started
    rng = np.random.default_rng(3)
    codes = engine.tree.codes
    asked = [
        {"donor_text": "", "waste_text": " ".join(rng.permutation(wastes[int(rng.integers(len(wastes)))].split())[:3]),
         "donor_isic": codes[int(rng.integers(len(codes)))]}
        for _ in range(args.questions)
    ]  # fmt: skip
    options = {**kinds.kind("recommender").options, "records": url}
    texts = [{**q, "donor_isic": "", "donor_text": "firm that makes lime"} for q in asked]
    for name, questions in (("given class", asked), ("text", texts)):
        times = []
        for q in questions[:5]:
            engine.predict([q], options)
        for q in questions:
            started = time.perf_counter()
            engine.predict([q], options)
            times.append(time.perf_counter() - started)
        out[name] = quantiles(times)
    whole = engine.model.model_copy(update={"wastes": 100_000, "most": 100_000})
    full = Recommender(whole, engine.classifier, None, engine.snapshot, "full scan")
    found = []
    for q in asked[: args.scans]:
        a = {r["code"] for r in engine.predict([q], options)[0]["receivers"]}
        b = {r["code"] for r in full.predict([q], options)[0]["receivers"]}
        found.append(len(a & b) / max(1, len(b)))
    out["recall_at_10_against_full_scan"] = {
        "mean": float(np.mean(found)),
        "least": float(np.min(found)),
        "n": len(found),
    }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--plain", type=int, default=100_000, help="rows of the import without codes")
    parser.add_argument("--wastes", type=int, default=20_000)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--postgres", default="", help="URL of an empty database, to measure it as well")
    args = parser.parse_args()
    wastes = wordings(args.wastes, np.random.default_rng(0))
    device = measured_device()
    report: dict[str, Any] = {"device": device.fingerprint, "load": os.getloadavg(), "records": args.records,
                              "wastes": args.wastes}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        one = next(iter(rows(1, wastes, 0, coded=True)))
        kept = [Kept(digest=one[0].digest, exchange=one[0], donor="0111:1", receiver="0112:1")]
        info = Info(name="bench", kind="recommender")
        pack = save_recommender(Path(folder) / "pack", info, open_pack(args.classifier), kept)
        engine: Any = kinds.open(pack).engine
        plain = Recommender(engine.model, engine.classifier, None, Snapshot(kept, engine.tree), "bench")
        report["sqlite"] = measure(f"sqlite:///{folder}/records.sqlite", args, plain, wastes)
        if args.postgres:
            report["postgresql"] = measure(args.postgres, args, plain, wastes)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
