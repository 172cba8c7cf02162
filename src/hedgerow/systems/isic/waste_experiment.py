"""Does a unified industry code help to find a taker? ``python -m hedgerow.systems.isic.waste_experiment [run|tables]``.

A cell is (records, what is left out, seed); it holds every rule's scores on the same questions, and each question's
rank by its hashed name alone (the texts are not ours to hand on). a and the betas are chosen on dev wastes, whose
questions are then not scored. The control are linkages joined over the name of a treatment: they depend on the waste
alone, so no donor code can help there. The claim is tested on donor-specific records; where these are fewer than
``ENOUGH`` says, the answer is that they are too few to tell.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow import metrics
from hedgerow.errors import HedgerowError
from hedgerow.run import Result, load_results, progress, result_path, save_result
from hedgerow.systems.isic.waste_harness import ARMS, BETAS, NO_CODES, PEERS, Bench, Question, Setting, questions
from hedgerow.systems.isic.waste_seeds import Row, donor_specific, seeds
from hedgerow.systems.isic.waste_task import first_right, part_of, scores

ENOUGH = {"donors": 30, "receivers": 5}  # fewer cannot carry a claim about donors
A_GRID = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BETA_GRID = (BETAS, (1.0, 0.8, 0.5, 0.2, 0.05), (1.0, 0.4, 0.2, 0.1, 0.05), (1.0, 0.3, 0.1, 0.05, 0.01))
RULES = (*PEERS, *ARMS)
EXPERIMENT = "waste"


def cell(rows: Sequence[Row], records: str, leave: str, seed: int, predicted: Mapping[str, np.ndarray]) -> Any:
    """(metrics, items) of one cell; None when nothing can be left out that way (no record has a country, say)."""
    bench = Bench(rows, predicted)
    asked = [q for q in questions(bench.rows) if q.gold]
    if leave == "country":
        asked = [q for q in asked if q.country]
    test = [q for q in asked if part_of(q.waste, seed) != "dev"]
    dev = [q for q in asked if part_of(q.waste, seed) == "dev"]
    if not test:
        return None
    chosen = {rule: tuned(bench, dev, rule, leave, seed) for rule in ARMS}
    ranked = {r: [bench.rank(q, r, chosen.get(r, Setting(seed=seed)), leave) for q in test] for r in RULES}
    gold, donors = [q.gold for q in test], [q.donor for q in test]
    found = {rule: scores(lists, gold, donors) for rule, lists in ranked.items()}
    result = {
        "rules": found,
        "settings": {rule: {"a": s.a, "betas": list(s.betas)} for rule, s in chosen.items()},
        "counts": counts(bench, test, dev),
        "claims": claims(ranked, test, found),
    }
    items = [
        {"id": hashlib.sha256(f"{q.donor}\t{q.waste}".encode()).hexdigest()[:12],
         "ranks": {rule: _place(first_right(lists[i], q.gold, False)) for rule, lists in ranked.items()}}
        for i, q in enumerate(test)
    ]  # fmt: skip
    return result, items


def _place(rank: float) -> int:
    return 0 if np.isinf(rank) else int(rank)  # 0: not in the list


def tuned(bench: Bench, dev: Sequence[Question], rule: str, leave: str, seed: int) -> Setting:
    """a and betas with the best mean reciprocal rank on dev; ties take the smaller a. Without dev the usual ones."""
    if not dev:
        return Setting(seed=seed)
    best: tuple[float, float] = (-1.0, 0.0)
    setting = Setting(seed=seed)
    for betas, a in itertools.product(BETA_GRID, A_GRID):
        tried = Setting(a, betas, seed)
        ranks = [first_right(bench.rank(q, rule, tried, leave), q.gold, False) for q in dev]
        value = (round(float(np.mean(1 / np.array(ranks))), 6), -a)
        if value > best:
            best, setting = value, tried
    return setting


def counts(bench: Bench, test: Sequence[Question], dev: Sequence[Question]) -> dict[str, int]:
    """How much there is to tell from."""
    return {
        "records": len(bench.rows),
        "test": len(test),
        "dev": len(dev),
        "donors": len({q.donor for q in test}),
        "wastes": len({q.waste for q in test}),
        "receivers": len({c for q in test for c in q.gold}),
        "recovery": sum(any(not c.startswith("38") for c in q.gold) for q in test),
    }


def claims(
    ranked: Mapping[str, Sequence[Sequence[str]]], test: Sequence[Question], found: Mapping[str, Any]
) -> dict[str, Any]:
    """hit@5: predicted and gold ISIC minus raw text; recovery only: ours over the best peer without codes."""
    n = len({q.donor for q in test})
    few = n < ENOUGH["donors"] or len({c for q in test for c in q.gold}) < ENOUGH["receivers"]
    out: dict[str, Any] = {"few": few, "donors": n}
    hits = {r: _hits(lists, test, False) for r, lists in ranked.items()}
    groups = [q.donor for q in test]
    if n > 1:
        for name in ("ours, predicted ISIC", "ours"):
            difference = metrics.paired_bootstrap(hits[name], hits["ours, raw text"], groups, metrics.mean, 1000)
            out[f"{name} - ours, raw text"] = difference.score(len(test))
    keeps = [q for q in test if any(not c.startswith("38") for c in q.gold)]
    if len({q.donor for q in keeps}) > 1:
        best = max(NO_CODES, key=lambda r: found[r]["hit5_recovery"]["value"])
        at = [i for i, q in enumerate(test) if q in keeps]
        ours = _hits([ranked["ours"][i] for i in at], keeps, True)
        theirs = _hits([ranked[best][i] for i in at], keeps, True)
        out["best peer without codes"] = best
        if theirs.sum() > 0:
            pair = np.stack([ours, theirs], 1)
            out["ratio"] = metrics.group_bootstrap(pair, [q.donor for q in keeps], metrics.ratio, 1000).score(
                len(keeps)
            )
    return out


def _hits(ranked: Sequence[Sequence[str]], asked: Sequence[Question], drop: bool) -> np.ndarray:
    golds = [frozenset(c for c in q.gold if not (drop and c.startswith("38"))) for q in asked]
    return np.array([first_right(r, g, drop) <= 5 for r, g in zip(ranked, golds)], np.float64)


def predictions(classifier: Path, rows: Sequence[Row]) -> tuple[dict[str, np.ndarray], str]:
    """Class probabilities [419] of every donor text by a classifier Pack, the five most probable kept; its digest."""
    from hedgerow import kinds
    from hedgerow.systems.isic.waste_harness import isic_tree

    model = kinds.open(classifier)
    index = isic_tree().index
    donors = sorted({r[0].donor_text for r in rows if r[0].donor_text})
    out: dict[str, np.ndarray] = {"": np.zeros(len(index))}
    for text, answer in zip(donors, model.predict(donors, top=5)):
        p = np.zeros(len(index))
        for candidate in answer["candidates"]:
            p[index[candidate["code"]]] = candidate["p"]
        out[text] = p
    return out, model.pack.digest


def run(classifier: Path, root: Path, store: str, seed_list: Sequence[int]) -> None:
    """Every cell that is not there yet; prints the counts of the filters first."""
    rows, counted = seeds()
    for c in counted:
        print(f"{c.what}: {c.before:,} -> {c.after:,}")
    sets = {"control": [r for r in rows if not donor_specific(r[0])],
            "donor-specific": [r for r in rows if donor_specific(r[0])]}  # fmt: skip
    if store:
        from hedgerow.systems.isic.waste import stored

        sets["own"] = [r for r in stored(store) if donor_specific(r[0])]
    everything = [r for found in sets.values() for r in found]
    predicted, digest = predictions(classifier, everything)
    wanted = [(n, leave, s) for n in sets for leave in ("donor", "waste", "country") for s in seed_list]
    with progress("isic: takers", len(wanted)) as tick:
        for name, leave, seed in wanted:
            config = {"records": name, "leave": leave, "classifier": digest[:12]}
            if not result_path(root, "isic", EXPERIMENT, config, seed).exists():
                started = time.time()
                done = cell(sets[name], name, leave, seed, predicted)
                if done is not None:
                    save_result(root, "isic", EXPERIMENT, config, seed, done[0], done[1], started)
            tick(1)


# --- tables ----------------------------------------------------------------------------------------------------------
METRICS = ("hit1", "hit5", "hit10", "mrr")


def tables(root: Path) -> str:
    """Markdown of every (records, leave) that was run, drawn from the cells alone."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in load_results(root, "isic", EXPERIMENT):
        groups.setdefault((str(result.config["records"]), str(result.config["leave"])), []).append(result)
    parts = [_table(*key, found) for key, found in sorted(groups.items(), key=lambda g: (g[0][0] == "control", g[0]))]
    return "\n\n".join(parts) + "\n"


_ABOUT = {
    "control": "Control: the taker follows from the waste alone",
    "donor-specific": "Donor-specific explicit links",
    "own": "Donor-specific exchanges of a user's store",
}


def _table(records: str, leave: str, found: Sequence[Result]) -> str:
    n = found[0].metrics["counts"]
    head = (
        f"**{_ABOUT.get(records, records)}, leave one {leave} out.** {n['records']:,} records; {n['test']:,} questions "
        f"of {n['donors']:,} donors with {n['wastes']} wastes and {n['receivers']} receiver classes (seed "
        f"{found[0].seed}). Per cent with the 95 % interval over donors, value and ends averaged over "
        f"{len(found)} seeds."
    )
    if found[0].metrics["claims"]["few"]:
        return f"{head}\n\n{_said(found)}"
    lines = [head, "", "| rule | hit@1 | hit@5 | hit@10 | MRR | hit@5, without 38xx |", "|---|---|---|---|---|---|"]
    for rule in RULES:
        cells = [_cell(found, rule, m) for m in METRICS] + [_cell(found, rule, "hit5_recovery")]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _said(found)])


def _cell(found: Sequence[Result], rule: str, metric: str) -> str:
    values = [r.metrics["rules"][rule].get(metric) for r in found]
    known = [v for v in values if v is not None]
    if not known:
        return "no such record"
    value, low, high = (100 * float(np.mean([v[key] for v in known])) for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _said(found: Sequence[Result]) -> str:
    """The answer in words, from the first seed's intervals."""
    claim = found[0].metrics["claims"]
    if claim["few"]:
        alike = found[0].metrics["counts"]["receivers"] == 1
        return (
            f"*Too few records to tell* whether a code helps: {claim['donors']} donors; at least {ENOUGH['donors']} "
            f"and {ENOUGH['receivers']} receiver classes would be needed."
            + (" All go to one class, so every rule, a random one too, names it." if alike else "")
        )
    said = []
    for name, words in (("ours, predicted ISIC", "Predicted ISIC"), ("ours", "Gold ISIC")):
        d = claim.get(f"{name} - ours, raw text")
        if d is not None:
            verdict = "helps" if d["low"] > 0 else "hurts" if d["high"] < 0 else "cannot be told from raw text"
            points = f"{100 * d['value']:+.1f} points of hit@5 [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
            said.append(f"{words} against raw donor text: {points}: it {verdict}.")
    if "ratio" in claim:
        r = claim["ratio"]
        said.append(
            f"Recovery only, hit@5 is {r['value']:.2f} × [{r['low']:.2f}, {r['high']:.2f}] that of the best peer that "
            f"knows no codes ({claim['best peer without codes']})."
        )
    return " ".join(said)


def main(arguments: Sequence[str] | None = None) -> int:
    """``run`` the cells that are missing, or draw the ``tables`` from those that are there."""
    parser = argparse.ArgumentParser(prog="python -m hedgerow.systems.isic.waste_experiment", description=__doc__)
    parser.add_argument("what", choices=("run", "tables"))
    parser.add_argument("--classifier", type=Path, default=Path("packs/isic"), help="Pack for the predicted codes")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--records", default="", help="URL of a store: its donor-specific records are a set more")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    try:
        if chosen.what == "run":
            run(chosen.classifier, chosen.results, chosen.records, range(chosen.seeds))
        from hedgerow import files

        files.write_text(chosen.results / "isic" / EXPERIMENT / "tables.md", tables(chosen.results))
    except HedgerowError as e:
        print(f"waste_experiment: {e}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
