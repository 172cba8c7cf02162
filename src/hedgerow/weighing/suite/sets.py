"""What is asked: the groups of the survey, question sets written out as the harness's own tasks, and the user's own.

A prepared test is a folder that lm-evaluation-harness reads by itself (``lm_eval --include_path FOLDER --tasks NAME``):
a YAML of the task and JSON lines of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data import suite as data
from hedgerow.data.fetch import Progress
from hedgerow.data.fetch import source as source_of
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record, check

# Of the survey's sets (arXiv 2409.15790), Winogrande, ARC and Minerva MATH are in no package that we know; SocialIQA
# and LogiQA are ours beside it, ASDiv stands for easier mathematics, HumanEval for the coding that nobody found scored.
GROUPS: dict[str, tuple[str, ...]] = {
    "commonsense": ("hellaswag", "truthfulqa_mc1", "commonsense_qa", "piqa", "openbookqa", "boolq", "social_iqa"),
    "problem-solving": ("mmlu", "logiqa"),
    "in-context": ("hellaswag", "mmlu", "truthfulqa_mc1", "commonsense_qa", "piqa", "openbookqa"),
    "mathematics": ("gsm8k", "asdiv"),
    "coding": ("humaneval",),
}
ALSO = {"math": "mathematics", "icl": "in-context", "problem_solving": "problem-solving", "all": "all"}
LADDER = (0, 1, 5)  # examples in the prompt, for the group in-context
OWN = "own"
# the score that stands for a set where one is asked for: the last that the harness lists for it
NORMALISED = frozenset({"hellaswag", "piqa", "openbookqa", "logiqa"})
CODE_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
_WORD = r"^\s*(.*?)\s*$"
_NUMBER = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"


@dataclass(frozen=True)
class Asked:
    """One test to be asked: the harness's task and how the result is read."""

    name: str
    group: str
    folder: Path
    shape: str  # choice, answer, code, or 'other' for somebody else's YAML
    shots: int
    headline: str  # the score that stands for it; '' where only the result can tell
    licence: str
    tests: Mapping[str, tuple[str, str]]  # id -> (prompt, tests), of programs


class ChoiceRow(Record):
    """A line of a user's file: which of the choices follows the context."""

    id: str | int
    context: str
    choices: tuple[str, ...]
    gold: int | str
    group: str | None = None


class AnswerRow(Record):
    """A line of a user's file: what is written after the prompt must equal the target."""

    id: str | int
    prompt: str
    target: str
    group: str | None = None


class CodeRow(Record):
    """A line of a user's file: what is written after the prompt must pass the tests (Python)."""

    id: str | int
    prompt: str
    tests: str
    group: str | None = None


def wanted(words: str, shots: int | None) -> list[tuple[str, str, int]]:
    """(group, set, shots) of each test that a list such as 'commonsense,gsm8k' names, each once.

    ``shots`` None: 0, except for in-context, which is asked with 0, 1 and 5. Raises HedgerowError for an unknown name.
    """
    found: dict[tuple[str, str, int], None] = {}
    for word in (w.strip() for w in words.split(",") if w.strip()):
        name = ALSO.get(word, word)
        groups = list(GROUPS) if name == "all" else [name] if name in GROUPS else []
        for group in groups:
            for one in GROUPS[group]:
                for k in LADDER if group == "in-context" and shots is None else (shots or 0,):
                    found[group, one, k] = None
        if not groups:
            if name not in data.SETS:
                known = [*GROUPS, *data.SETS]
                raise HedgerowError(f"the suite has no group or set '{word}'{did_you_mean(word, known)}")
            home = next((group for group, sets in GROUPS.items() if name in sets), OWN)
            found[home, name, shots or 0] = None
    if not found:
        raise HedgerowError(f"--suite names no group; there are {', '.join(GROUPS)}")
    return list(found)


def prepare(group: str, name: str, shots: int, progress: Progress | None = None) -> Asked:
    """One of our sets as a folder for the harness, in the user's cache. Raises HedgerowError when it cannot be had."""
    it = data.SETS[name]
    rows = data.read_set(name, progress)
    if shots > len(rows.dev):
        raise HedgerowError(f"{name}: {shots} examples are asked for, its dev rows are {len(rows.dev)}")
    folder = _written(name, it.shape, rows.test, rows.dev)
    terms = f"{it.licence} ({it.licence_from}); in {source_of(it.source).package}"
    headline = _headline(it.shape, name in NORMALISED)
    tests = {row["id"]: (row["prompt"], row["tests"]) for row in rows.test} if it.shape == "code" else {}
    return Asked(name, group, folder, it.shape, shots, headline, terms, tests)


def prepare_own(path: Path, shots: int | None) -> list[Asked]:
    """The user's JSON lines file, or folder of lm-eval YAML. Raises HedgerowError naming file and line of a fault."""
    if path.is_dir():
        return _folder(path, shots or 0)
    shape, rows = _read(path)
    if shape == "code":
        test, dev = list(rows), []
    elif shots:
        test, dev = (list(part) for part in data.split(path.stem, rows))
    else:
        test, dev = list(rows), []
    if shots and (shots > len(dev) or not test):
        raise HedgerowError(
            f"{path}: {shots} examples are asked for; one row in ten is kept for them, which gives {len(dev)} here"
        )
    name = "".join(c if c.isalnum() else "_" for c in path.stem.lower()) or "own"
    folder = _written(name, shape, test, dev)
    tests = {str(row["id"]): (row["prompt"], row["tests"]) for row in test} if shape == "code" else {}
    return [Asked(name, OWN, folder, shape, shots or 0, _headline(shape, False), "the user's own", tests)]


def _headline(shape: str, normalised: bool) -> str:
    if shape == "choice":
        return "accuracy_per_char" if normalised else "accuracy"
    return "pass_at_1" if shape == "code" else "exact_match"


def _read(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """(shape, rows) of a JSON lines file; all lines must have one shape."""
    shapes: dict[str, type[Record]] = {"choice": ChoiceRow, "answer": AnswerRow, "code": CodeRow}
    rows: list[dict[str, Any]] = []
    lines: dict[str, int] = {}
    first = ""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise HedgerowError(f"{path} cannot be read as UTF-8 text: {_why(e)}") from e
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as e:
            raise HedgerowError(f"{where}: not a JSON object: {_why(e)}") from e
        if not isinstance(value, dict):
            raise HedgerowError(f"{where}: not a JSON object")
        shape = "choice" if "choices" in value or "context" in value else "code" if "tests" in value else "answer"
        first = first or shape
        if shape != first:
            raise HedgerowError(f"{where}: a row to be {_DONE[shape]}, among rows to be {_DONE[first]}")
        row = check(shapes[shape], value, where).model_dump()
        row["id"] = str(row["id"])
        if row["id"] in lines:
            raise HedgerowError(f"{where}: the id '{row['id']}' stands on line {lines[row['id']]} already")
        lines[row["id"]] = number
        row["group"] = row["group"] or row["id"]
        rows.append(_checked(row, shape, where))
    if not rows:
        raise HedgerowError(f"{path} holds no row; a row is {{id, context, choices, gold}} or {{id, prompt, target}}")
    return first, rows


_DONE = {"choice": "chosen", "answer": "answered", "code": "tested"}


def _checked(row: dict[str, Any], shape: str, where: str) -> dict[str, Any]:
    if shape == "choice":
        choices, gold = list(row["choices"]), row["gold"]
        if len(choices) < 2 or not all(choices):
            raise HedgerowError(f"{where}: 'choices' must hold two texts or more, none of them empty")
        if isinstance(gold, str):
            if gold not in choices:
                raise HedgerowError(f"{where}: 'gold' is '{gold}', which is none of the choices")
            gold = choices.index(gold)
        if not 0 <= gold < len(choices):
            raise HedgerowError(f"{where}: 'gold' is {gold}; the choices are numbered 0 to {len(choices) - 1}")
        return {**row, "choices": choices, "gold": gold}
    answer = "target" if shape == "answer" else "tests"
    if not row[answer].strip():
        raise HedgerowError(f"{where}: '{answer}' is empty")
    return row


def _why(e: Exception) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:160]


def _written(name: str, shape: str, test: Sequence[Mapping[str, Any]], dev: Sequence[Mapping[str, Any]]) -> Path:
    """The folder of a task in the cache, made once: its name is the digest of all that is in it."""
    settings = _settings(name, shape, test)
    digest = files.digest([settings, list(test), list(dev)])[:12]
    folder = files.cache_dir() / "suite" / "tasks" / f"{name}-{digest}"
    if not (folder / f"{name}.yaml").is_file():
        with files.new_folder(folder, replace=True) as fresh:
            files.write_text(fresh / "test.jsonl", _lines(test))
            files.write_text(fresh / "dev.jsonl", _lines(dev))
            given = {"test": str(folder / "test.jsonl")} | ({"dev": str(folder / "dev.jsonl")} if dev else {})
            where = {"dataset_path": "json", "dataset_kwargs": {"data_files": given}, "test_split": "test"}
            shown = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}} if dev else {}
            # JSON is YAML
            files.write_json(fresh / f"{name}.yaml", {"task": name, **where, **shown, **settings})
    return folder


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _settings(name: str, shape: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All of the harness's YAML that says how the rows are asked and answers are read."""
    mean = {"aggregation": "mean", "higher_is_better": True}
    if shape == "choice":
        metrics = [{"metric": m, **mean} for m in ("acc", "acc_norm")]
        asked = {"doc_to_text": "context", "doc_to_choice": "choices", "doc_to_target": "gold"}
        return {"output_type": "multiple_choice", **asked, "metric_list": metrics, "metadata": {"version": 1.0}}
    out: dict[str, Any] = {"output_type": "generate_until", "doc_to_text": "prompt", "metadata": {"version": 1.0}}
    if shape == "code":
        greedy = {"until": list(CODE_STOPS), "max_gen_toks": 512, "do_sample": False}
        return {**out, "doc_to_target": "tests", "generation_kwargs": greedy, "metric_list": [{"metric": "bypass"}]}
    numeric = name in ("gsm8k", "asdiv")
    long = any("\n" in row["target"] for row in rows)
    until, budget = (["Question:"], 256) if name == "gsm8k" else (["\n\n" if long else "\n"], 64)
    pattern = {"function": "regex", "regex_pattern": _NUMBER, "group_select": -1}
    if not numeric:
        pattern = {"function": "regex", "regex_pattern": f"(?s){_WORD}" if long else _WORD}
    exact = {"metric": "exact_match", **mean, "ignore_case": False, "ignore_punctuation": False}
    if numeric:
        exact["regexes_to_ignore"] = [",", "\\$", "\\.$"]
    return {
        **out,
        "doc_to_target": "target",
        "generation_kwargs": {"until": until, "max_gen_toks": budget, "do_sample": False},
        "filter_list": [{"name": "answer", "filter": [pattern, {"function": "take_first"}]}],
        "metric_list": [exact],
    }


def _folder(path: Path, shots: int) -> list[Asked]:
    """The tasks of a folder of lm-eval YAML; Python in it is not run."""
    from hedgerow.weighing.suite.harness import names_in
    from hedgerow.weighing.suite.own_yaml import refuse_code

    refuse_code(path)
    names = names_in(path)
    if not names:
        raise HedgerowError(f"{path} holds no lm-eval task (a YAML with 'task:')")
    return [Asked(name, OWN, path, "other", shots, "", "the user's own", {}) for name in names]
