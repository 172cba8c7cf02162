"""One test, one form: asked, written down as it goes, scored, and put into the Pack's evidence."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from hedgerow import __version__, files, kinds
from hedgerow.errors import HedgerowError
from hedgerow.kinds import Model
from hedgerow.pack import Pack
from hedgerow.run import Run, open_run, plain
from hedgerow.weighing import sandbox
from hedgerow.weighing.device import measured_device
from hedgerow.weighing.suite import harness, items
from hedgerow.weighing.suite.control import random_weights
from hedgerow.weighing.suite.harness import Built, Scorer, Test
from hedgerow.weighing.suite.journal import Journal
from hedgerow.weighing.suite.sets import GROUPS, LADDER, Asked

Tell = Callable[[str, int, int], None]  # (what, done, all)
KS = (1, 5, 10, 100)  # of pass@k, where there are that many answers
Line = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What a run of the suite ends with; ``left_out`` says in one line each what was not asked, and why."""

    lines: list[Line]
    left_out: list[tuple[str, str]]


def run_suite(
    model: Model,
    tests: Sequence[Asked],
    limit: int | None = None,
    root: Path = Path("runs"),
    control: bool = True,
    tell: Tell = lambda what, done, total: None,
) -> Found:
    """Ask one form every test; each finished test is a score line in the Pack's evidence.

    Everything is resumed: finished tests are read, an interrupted one goes on inside. ``limit`` takes the first rows,
    a fixed sample. With ``control`` a model of the same shape with random weights is asked the same, once per Pack.
    Raises HedgerowError for a form that neither scores nor writes text, and when every test had to be left out.
    """
    scorer = _scorer(model)
    lines: list[Line] = []
    left_out: list[tuple[str, str]] = []
    for asked in tests:
        try:
            lines.append(_one(model, scorer, asked, limit, root, control, tell))
        except HedgerowError as e:
            left_out.append((f"{asked.name}, {asked.shots} shots", str(e)))
    if tests and not lines:
        raise HedgerowError(left_out[0][1] + (f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""))
    return Found(lines, left_out)


def _scorer(model: Model) -> Scorer:
    engine = model.engine
    if not isinstance(engine, Scorer):
        raise HedgerowError(
            f"{model.pack.path} as '{model.variant}' neither scores nor writes text; the suite asks language models"
        )
    return engine


def _one(model: Model, scorer: Scorer, asked: Asked, limit: int | None, root: Path, control: bool, tell: Tell) -> Line:
    if asked.shape == "code" and (why := sandbox.refused()) is not None:
        raise HedgerowError(why)
    built = harness.build(Test(asked.name, asked.folder, asked.shots, limit))
    if asked.shape == "other" and built.output == "multiple_choice":
        asked = _as_choice(asked)
    beside: dict[str, Any] = {}
    if control:
        beside["random_weights"] = _random(model, asked, built, root, tell)
    found = _items(model, scorer, asked, built, root, tell)
    line = _line(model, asked, built, found, limit, {**items.beside(found), **beside})
    _keep(model.pack, line)
    return line


def _as_choice(asked: Asked) -> Asked:
    return Asked(**{**asked.__dict__, "shape": "choice", "headline": "accuracy"})


def _random(model: Model, asked: Asked, built: Built, root: Path, tell: Tell) -> dict[str, Any]:
    """Scores of the random model of the same shape, in its base form; or why there are none."""
    try:
        pack = random_weights(model.pack)
        twin = kinds.open(pack, threads=model.threads)
        found = _items(twin, _scorer(twin), asked, built, root, tell)
    except HedgerowError as e:
        return {"why": str(e)}
    return {"metrics": items.scores(found)}


def _items(model: Model, scorer: Scorer, asked: Asked, built: Built, root: Path, tell: Tell) -> list[items.Item]:
    """One row an item, from the run folder where the test is finished, else asked; written to ``items.jsonl``."""
    run = open_run(root, "suite", _identity(model, asked, built), 0, quiet=True)
    path = run.folder / "items.jsonl"
    if (run.folder / "finished.json").is_file():
        return files.read_jsonl(path)
    what = f"{model.pack.info.name} {model.variant}: {asked.name}, {asked.shots} shots"
    journal = Journal(run.folder)
    samples = harness.ask(built, scorer, journal, lambda done, total: tell(what, done, total))
    if asked.shape == "choice":
        found = items.choice_items(samples, journal.all("loglikelihood"))
    elif asked.shape == "code":
        found = items.code_items(samples, _judge(asked, run), KS)
    else:
        found = items.other_items(samples)
    if not found or not items.metric_names(found):
        raise HedgerowError(f"{asked.folder}: task '{asked.name}' gives no score of its items that we can read")
    files.write_text(path, "".join(files.canonical(plain(item)) + "\n" for item in found))
    files.write_json(run.folder / "finished.json", {"rows": len(found), "digest": built.digest})
    return files.read_jsonl(path)


def _identity(model: Model, asked: Asked, built: Built) -> dict[str, Any]:
    """What an answer depends on: another build of the runtime is another run."""
    pack, runtime = model.pack, dict(model.engine.runtime)
    form = pack.variant(model.variant).digest if model.variant in pack.variants else ""  # exported again: another run
    who = {"pack": pack.digest, "variant": model.variant, "form": form, "threads": model.threads, "runtime": runtime}
    return {**who, "task": asked.name, "shots": asked.shots, "limit": built.test.limit, "digest": built.digest}


def _judge(asked: Asked, run: Run) -> Callable[[str, int, str], dict[str, Any]]:
    """Runs a program once; its outcome is kept, so that an interrupted test goes on."""
    path = run.folder / "programs.jsonl"
    known = {(row["id"], row["number"]): row for row in files.read_jsonl(path)}

    def judge(identity: str, number: int, text: str) -> dict[str, Any]:
        if (identity, number) not in known:
            prompt, tests = asked.tests[identity]
            outcome = sandbox.run(f"{prompt}{text}\n\n{tests}\n")
            row = {"id": identity, "number": number, "passed": outcome.passed, "how": outcome.how}
            files.append_jsonl(path, row)
            known[identity, number] = row
        return known[identity, number]

    return judge


def _line(
    model: Model, asked: Asked, built: Built, found: list[items.Item], limit: int | None, beside: dict[str, Any]
) -> Line:
    """The score line; ``items`` in it lets two lines of one digest be compared item by item."""
    metrics = items.scores(found)
    headline = asked.headline if asked.headline in metrics else next(iter(metrics))
    options = {"shots": asked.shots, "limit": limit}
    return {
        "variant": model.variant,
        "task": {
            "name": f"suite/{asked.name}",
            "options": options,
            "digest": built.digest,
            "split": "test",
            "n": len(found),
        },
        "metrics": metrics,
        "suite": {
            "group": asked.group,
            "shots": asked.shots,
            "headline": headline,
            "licence": asked.licence,
            "ids": files.digest([item["id"] for item in found])[:16],
        },
        "beside": beside,
        "items": items.packed(found),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "hedgerow": __version__,
            "lm-eval": metadata.version("lm-eval"),
            "python": platform.python_version(),
            "device": measured_device().fingerprint,
            "threads": str(model.threads),
            **model.engine.runtime,
        },
    }


def _keep(pack: Pack, line: Line) -> None:
    """Into the evidence, unless the same result is there: a suite that is run again adds nothing."""
    same = ("variant", "task", "metrics", "items", "beside")
    for held in pack.scores:
        if all(held.get(key) == plain(line[key]) for key in same):
            return
    pack.add_evidence("scores.jsonl", plain(line))


# ---- what stands over several tests --------------------------------------------------------------------------------


def group_means(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """``{group, shots, value, half, n, sets}`` of each group whose sets all ran with equal shots and limit.

    The mean of the headline scores, each set counting once as in the survey; ``half`` is half of its 95 % interval, as
    for a sum of independent scores.
    """
    out = []
    for group, sets in GROUPS.items():
        if len(sets) == 1:
            continue
        for shots in sorted({line["suite"]["shots"] for line in lines}):
            of = {
                line["task"]["name"].removeprefix("suite/"): line
                for line in lines
                if line["suite"]["group"] == group and line["suite"]["shots"] == shots
            }
            if set(of) != set(sets) or len({line["task"]["options"]["limit"] for line in of.values()}) > 1:
                continue
            found = [line["metrics"][line["suite"]["headline"]] for line in of.values()]
            half = sum(((f["high"] - f["low"]) / 2) ** 2 for f in found) ** 0.5 / len(found)
            value = sum(f["value"] for f in found) / len(found)
            n = sum(line["task"]["n"] for line in of.values())
            out.append({"group": group, "shots": shots, "value": value, "half": half, "n": n, "sets": len(sets)})
    return out


def gains(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What examples in the prompt change: ``{name, shots, metric, difference}`` against 0 shots, on the same items."""
    out = []
    base = {line["task"]["name"]: line for line in lines if line["suite"]["shots"] == 0}
    done = set()
    for line in lines:
        name, shots = line["task"]["name"], line["suite"]["shots"]
        other = base.get(name)
        if other is None or shots not in LADDER[1:] or (name, shots) in done:
            continue
        if other["suite"]["ids"] == line["suite"]["ids"]:
            metric = line["suite"]["headline"]
            difference = items.paired(line["items"], other["items"], metric)
            if difference is not None:
                done.add((name, shots))
                out.append({"name": name, "shots": shots, "metric": metric, "difference": difference})
    return out
