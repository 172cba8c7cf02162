"""What small models can do, as far as it can be measured here: ``python -m hedgerow.weighing.suite.experiment PACK…``.

Every form of every Pack that runs here (or those of ``--forms``) is asked every set of the suite without examples and
with five (the in-context sets with one, too), beside a model of the same shape with random weights. One finished set is
one JSON below ``results/slm/suite/``; the same command goes on where it stopped, also inside a set. It prints how many
hours it will take before it starts; ``--hours`` only prints them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow import files, kinds, run
from hedgerow.data import suite as data
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model
from hedgerow.run import Result
from hedgerow.runtimes import runnable
from hedgerow.weighing.suite import harness, items, show
from hedgerow.weighing.suite.harness import Built, Scorer, Test
from hedgerow.weighing.suite.running import run_suite
from hedgerow.weighing.suite.sets import GROUPS, LADDER, OWN, Asked, prepare

SYSTEM, EXPERIMENT = "slm", "suite"
LIMIT = 300  # rows of each set: ± 5 to 6 points
_TEXT = "A hedge is a row of shrubs and trees, planted to mark the border of a field and to keep animals in. "


def plan(shots: Sequence[int] = (0, 5)) -> list[tuple[str, str, int]]:
    """(group, set, shots) of the whole grid, each set and number of examples once."""
    found: dict[tuple[str, int], str] = {}
    for group, sets in GROUPS.items():
        ladder = LADDER if group == "in-context" else shots
        for name in sets:
            for k in ladder if data.SETS[name].shape != "code" else (0,):
                found.setdefault((name, k), group)
    return [(group, name, k) for (name, k), group in found.items()]


def hours(scorer: Scorer, tests: Sequence[Built]) -> float:
    """A guess from a minute's trial: characters to be read, and the most tokens that may be written."""
    began = time.perf_counter()
    scorer.loglikelihood([(_TEXT * 4, " oak")] * 4)
    per_character = (time.perf_counter() - began) / (4 * 4 * len(_TEXT))
    began = time.perf_counter()
    scorer.generate([_TEXT] * 4, 8)
    per_token = (time.perf_counter() - began) / (4 * 8)
    read = sum(test.characters for test in tests)
    return (read * per_character + sum(test.to_write for test in tests) * per_token) / 3600


def run_all(
    models: Sequence[Model], grid: Sequence[tuple[str, str, int]], limit: int, results: Path, runs: Path, only: bool
) -> None:
    """Ask what is missing, set by set with the models in turn; ``only`` prints the hours and stops."""
    tests: dict[tuple[str, str, int], tuple[Asked, Built]] = {}
    for cell in grid:
        try:
            asked = prepare(*cell)
            tests[cell] = asked, harness.build(Test(asked.name, asked.folder, asked.shots, limit))
        except HedgerowError as e:
            print(f"not run: {cell[1]}, {cell[2]} shots: {e}", flush=True)
    total = 0.0
    for model in models:
        left = [built for cell, (_, built) in tests.items() if not _path(results, model, cell, built, limit).exists()]
        engine = model.engine
        if isinstance(engine, Scorer) and left:
            total += 2 * hours(engine, left)  # the random model of the same shape is asked the same
    print(f"about {total:.1f} hours on one core for what is missing", flush=True)
    if only:
        return
    for cell, (asked, built) in tests.items():
        for model in models:
            path = _path(results, model, cell, built, limit)
            if path.exists():
                continue
            started = time.time()
            try:
                (line,) = run_suite(model, [asked], limit, runs).lines
            except HedgerowError as e:
                print(f"not run: {model.pack.info.name} {model.variant}, {cell[1]}: {e}", flush=True)
                continue
            kept = {key: line[key] for key in ("metrics", "beside", "suite", "task", "environment")}
            config = _config(model, cell, built, limit)
            run.save_result(results, SYSTEM, EXPERIMENT, config, 0, kept, line["items"], started)
            score = line["metrics"][line["suite"]["headline"]]
            print(f"{config['model']} {config['form']}, {cell[1]}, {cell[2]} shots: {score['value']:.3f}", flush=True)


def _config(model: Model, cell: tuple[str, str, int], built: Built, limit: int) -> dict[str, Any]:
    form = model.pack.variant(model.variant).digest[:12] if model.variant in model.pack.variants else ""
    who = {"model": model.pack.info.name, "form": model.variant, "pack": model.pack.digest[:12], "made": form}
    who["build"] = files.digest(dict(model.engine.runtime))[:12]  # another build is asked again
    return {**who, "set": cell[1], "shots": cell[2], "limit": limit, "task": built.digest[:16]}


def _path(results: Path, model: Model, cell: tuple[str, str, int], built: Built, limit: int) -> Path:
    return run.result_path(results, SYSTEM, EXPERIMENT, _config(model, cell, built, limit), 0)


# ---- from results to a page ----------------------------------------------------------------------------------------


def lines_of(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Score lines again, in each group that a set belongs to (in-context repeats sets of other groups)."""
    return [line for result in found for line in _lines_of(result)]


def _lines_of(result: Result) -> Iterator[dict[str, Any]]:
    line = {**result.metrics, "items": result.items, "model": result.config["model"], "form": result.config["form"]}
    homes = [group for group, sets in GROUPS.items() if result.config["set"] in sets] or [OWN]
    for group in homes:
        yield {**line, "suite": {**result.metrics["suite"], "group": group}}


def page(results: Path) -> str:
    """Markdown for docs/slm.md: a table a model and form, then the paired differences between them."""
    found = run.load_results(results, SYSTEM, EXPERIMENT)
    if not found:
        return "*not run*\n"
    lines = lines_of(found)
    parts = []
    for model, form in sorted({(line["model"], line["form"]) for line in lines}):
        own = [line for line in lines if (line["model"], line["form"]) == (model, form)]
        parts.append(f"**{model}, {form}**\n\n{show.markdown(own)}")
    return "\n".join([*parts, differences(found)])


def differences(found: Sequence[Result]) -> str:
    """Markdown: each form against the first of its set and examples, on the same items; '' when there is one form."""
    rows = []
    for key in sorted({(r.config["set"], r.config["shots"], r.config["task"]) for r in found}):
        same = [r for r in found if (r.config["set"], r.config["shots"], r.config["task"]) == key]
        first, *others = sorted(same, key=lambda r: (r.config["model"], "-" in r.config["form"], r.config["form"]))
        for other in others:
            metric = first.metrics["suite"]["headline"]
            difference = items.paired(other.items, first.items, metric)
            if difference is not None:
                rows.append([key[0], str(key[1]), _name(other.config), _name(first.config), *_said(difference)])
    if not rows:
        return ""
    heads = ("set", "shots", "", "against", "difference", "n", "")
    lines = ["| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines) + "\n"


def _name(config: Mapping[str, Any]) -> str:
    return f"{config['model']}, {config['form']}"


def _said(difference: Mapping[str, Any]) -> list[str]:
    return [show.difference(difference), str(difference["n"]), "" if difference["shown"] else "no difference shown"]


def main(words: Sequence[str] | None = None) -> None:
    """Run the grid, or a part of it."""
    parser = argparse.ArgumentParser(prog="python -m hedgerow.weighing.suite.experiment", description=__doc__)
    parser.add_argument("packs", nargs="+", type=Path, help="Packs of language models")
    parser.add_argument("--forms", nargs="*", help="only these forms; all that run here otherwise")
    parser.add_argument("--sets", nargs="*", help="only these sets or groups")
    parser.add_argument("--shots", nargs="*", type=int, default=[0, 5])
    parser.add_argument("--limit", type=int, default=LIMIT, help="rows of each set")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--hours", action="store_true", help="only print how long it would take")
    given = parser.parse_args(words)
    run.set_threads(1)
    models = [model for path in given.packs for model in _models(path, given.forms)]
    wanted = set(given.sets or GROUPS)
    grid = [cell for cell in plan(given.shots) if {cell[0], cell[1]} & wanted]
    run_all(models, grid, given.limit, given.results, given.runs, given.hours)


def _models(path: Path, forms: Sequence[str] | None) -> list[Model]:
    first = kinds.open(path)
    have = [form for form in first.kind.variants(first.pack) if runnable(form) is None and not form.startswith("onnx")]
    return [kinds.open(first.pack, form) for form in forms or have]


if __name__ == "__main__":
    main()
