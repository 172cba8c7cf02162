"""lm-evaluation-harness as the engine: offline, quiet, and through three methods of its model class.

Everything that decides a number (prompts, examples, filters, metrics) is the harness's own; ours are the answers, which
come from any loaded form that scores and writes text, through a :class:`~hedgerow.weighing.suite.journal.Journal`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.weighing.suite.journal import Arguments, Journal

OFFLINE = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
}
_SEED = 1234  # the harness's own default for the choice of examples
_FIRST_TRY = 32  # new tokens; answers that have not stopped by then are written again with the whole budget
_PIECE = 400  # characters of a rolling text that are scored at once, after as much of the text before as fits
_BEFORE = 8000


class Likely(Protocol):
    """How likely a continuation is after its prompt (the decoder's ``Likelihood``)."""

    @property
    def logprob(self) -> float:
        """Natural logarithm, summed over the continuation's tokens."""
        ...

    @property
    def greedy(self) -> bool:
        """Whether each of its tokens is the likeliest."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens of the continuation."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """A loaded form that scores and writes text: every form of a decoder that can generate is one."""

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Likely]:
        """One answer per (prompt, continuation); the space between them begins the continuation."""
        ...

    def generate(
        self, prompts: Sequence[str], new: int, temperature: float = 0.0, seed: int = 0
    ) -> Sequence[tuple[str, int, int, str]]:
        """(text, prompt tokens, new tokens, 'end' or 'length') per prompt."""
        ...


@dataclass(frozen=True)
class Test:
    """One test as the harness will ask it: which YAML, with how many examples, on how many rows."""

    __test__ = False  # its name is no invitation to pytest

    name: str  # the harness's name of the task
    folder: Path  # that holds its YAML
    shots: int
    limit: int | None


@dataclass(frozen=True)
class Built:
    """A test with its requests: what it consists of, before any model was asked."""

    test: Test
    digest: str  # SHA-256 of every prompt, continuation, setting and target: equal digests mean equal tests
    output: str  # multiple_choice, generate_until, loglikelihood, loglikelihood_rolling
    count: int  # rows
    characters: int  # of all prompts and continuations: what has to be read
    to_write: int  # tokens at most


def missing() -> str | None:
    """One line when the extra is not installed, else None."""
    import importlib.util

    if importlib.util.find_spec("lm_eval") is None:
        return "the capability suite needs lm-eval: pip install 'hedgerow[eval]'"
    return None


def build(test: Test) -> Built:
    """Read the YAML and its data and make every request. Raises HedgerowError naming file and line of a fault."""
    with _quiet():
        task = _task(test)
        try:
            task.build_all_requests(limit=test.limit, rank=0, world_size=1)
        except Exception as e:  # templates, columns and choices of other people fail in as many ways as there are
            raise HedgerowError(f"{test.folder}: task '{test.name}' cannot be asked: {_line(e)}") from e
        config = {
            k: v for k, v in task.dump_config().items() if k not in ("dataset_kwargs", "dataset_path", "metadata")
        }
        rows: list[Any] = []
        for number, (_, doc) in enumerate(task.doc_iterator(rank=0, limit=test.limit, world_size=1)):
            rows.append([_identity(doc, number), _target(task, doc, number, test)])
        asked = [[list(instance.args), instance.repeats] for instance in task.instances]
    digest = files.digest([test.name, test.shots, _plain(config), rows, _plain(asked)])
    characters = sum(len(text) for request, _ in asked for text in request if isinstance(text, str))
    budget = int((task.config.generation_kwargs or {}).get("max_gen_toks", 256))
    writes = sum(repeats or 1 for _, repeats in asked) * budget if task.OUTPUT_TYPE == "generate_until" else 0
    return Built(test, digest, str(task.OUTPUT_TYPE), len(rows), characters, writes)


def ask(
    built: Built, scorer: Scorer, journal: Journal, tell: Callable[[int, int], None] = lambda done, total: None
) -> list[dict[str, Any]]:
    """The harness's samples, one a row and filter: ``doc, target, arguments, resps, filtered_resps, filter`` and its
    metrics. Answers that the journal holds are not asked again.
    """
    visible = sys.stderr
    with _quiet():
        from lm_eval.evaluator import evaluate

        task = _task(built.test)
        model = _model(scorer, journal, _shown(tell, visible))
        found = evaluate(
            lm=model,
            task_dict={"tasks": {built.test.name: task}},
            limit=built.test.limit,
            bootstrap_iters=0,
            log_samples=True,
        )
    samples: list[dict[str, Any]] = found["samples"][built.test.name]
    return samples


def names_in(folder: Path) -> list[str]:
    """The tasks that the YAML files below a folder define, groups left out."""
    with _quiet():
        from lm_eval.tasks import TaskManager

        try:
            return list(TaskManager(include_path=str(folder), include_defaults=False).all_subtasks)
        except Exception as e:  # other people's YAML fails in as many ways as there are
            raise HedgerowError(f"{folder} is no folder of lm-eval tasks: {type(e).__name__} {_line(e)}") from e


def _shown(tell: Callable[[int, int], None], stream: Any) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        with contextlib.redirect_stderr(stream):
            tell(done, total)

    return told


def _task(test: Test) -> Any:
    """The harness's task, with its examples set; a fault of its YAML or data is one line."""
    from lm_eval.tasks import TaskManager

    try:
        manager = TaskManager(include_path=str(test.folder), include_defaults=False)
        task = manager.load([test.name])["tasks"][test.name]
    except HedgerowError:
        raise
    except Exception as e:
        raise HedgerowError(f"{test.folder}: task '{test.name}' cannot be read: {type(e).__name__} {_line(e)}") from e
    if test.shots and task.get_config("num_fewshot") == 0:
        raise HedgerowError(f"task '{test.name}' of {test.folder} allows no examples in its prompt; use --shots 0")
    task.set_config(key="num_fewshot", value=test.shots)
    task.set_fewshot_seed(seed=_SEED)
    return task


def _target(task: Any, doc: Mapping[str, Any], number: int, test: Test) -> Any:
    """The right answer of a row; one that is missing or outside of the choices is an error with file and line."""
    try:
        target = task.doc_to_target(doc)
        choices = task.doc_to_choice(doc) if task.OUTPUT_TYPE == "multiple_choice" else None
    except Exception as e:
        raise HedgerowError(f"{_where(task, test, number)}: the answer cannot be read: {_line(e)}") from e
    if target is None or target == "" or target == []:
        raise HedgerowError(f"{_where(task, test, number)}: the answer is missing")
    if choices is not None and isinstance(target, int) and not 0 <= target < len(choices):
        raise HedgerowError(f"{_where(task, test, number)}: the answer is {target}, of {len(choices)} choices")
    return _plain(target)


def _where(task: Any, test: Test, number: int) -> str:
    """File and line of a row where the task reads JSON lines, else the task and the number of the row."""
    given = (task.config.dataset_kwargs or {}).get("data_files")
    split = task.config.test_split or task.config.validation_split
    file = given.get(split) if isinstance(given, Mapping) else given
    if isinstance(file, str) and task.config.process_docs is None:
        return f"{file}, line {number + 1}"
    return f"{test.folder}, task '{test.name}', row {number + 1}"


def _identity(doc: Mapping[str, Any], number: int) -> str:
    return str(doc["id"]) if "id" in doc else str(number)


def _plain(value: Any) -> Any:
    """JSON of the harness's settings; functions by name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float | bool) else type(value).__name__


def _line(e: Exception) -> str:
    return (str(e).strip().splitlines() or [""])[0][:200]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The harness offline, with templates that cannot reach Python, and without its logs and bars."""
    why = missing()
    if why is not None:
        raise HedgerowError(why)
    os.environ.update(OFFLINE)
    os.environ["HF_DATASETS_CACHE"] = str(files.cache_dir() / "suite" / "arrow")
    with contextlib.redirect_stderr(io.StringIO()):
        import datasets
        import lm_eval.utils
        from jinja2 import BaseLoader, StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        datasets.config.HF_DATASETS_OFFLINE = True
        datasets.config.HF_DATASETS_CACHE = Path(os.environ["HF_DATASETS_CACHE"])
        own = SandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
        own.filters.update(lm_eval.utils.env.filters)
        lm_eval.utils.env = own
        yield


def _model(scorer: Scorer, journal: Journal, tell: Callable[[int, int], None]) -> Any:
    """The harness's model class over a loaded form."""
    from lm_eval.api.model import LM
    from lm_eval.models.utils import normalize_gen_kwargs

    class Form(LM):  # type: ignore[misc]
        """Three methods, each through the journal."""

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            def block(pairs: Sequence[Arguments], number: int) -> list[dict[str, Any]]:
                found = scorer.loglikelihood([(str(p), str(c)) for p, c in pairs])
                return [{"logprob": f.logprob, "greedy": f.greedy, "tokens": f.tokens} for f in found]

            rows = journal.answers("loglikelihood", _arguments(requests), _names(requests), block, tell)
            return [(row["logprob"], row["greedy"]) for row in rows]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            def block(given: Sequence[Arguments], number: int) -> list[dict[str, Any]]:
                return [rolling(scorer, str(text)) for (text,) in given]

            rows = journal.answers("rolling", _arguments(requests), _names(requests), block, tell)
            return [row["logprob"] for row in rows]

        def generate_until(self, requests: list[Any]) -> list[str]:
            def block(given: Sequence[Arguments], number: int) -> list[dict[str, Any]]:
                settings = normalize_gen_kwargs(dict(given[0][1]))
                if any(dict(other) != dict(given[0][1]) for _, other in given):
                    return [one for pair in given for one in block([pair], number)]
                return [{"text": t} for t in written(scorer, [str(p) for p, _ in given], settings, number)]

            rows = journal.answers("generate", _arguments(requests), _names(requests), block, tell)
            return [row["text"] for row in rows]

    return Form()


def _arguments(requests: Sequence[Any]) -> list[Arguments]:
    return [tuple(request.args) for request in requests]


def _names(requests: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"id": _identity(r.doc, r.doc_id), "choice": r.idx} for r in requests]


def rolling(scorer: Scorer, text: str) -> dict[str, Any]:
    """Log-likelihood of a whole text: piece after piece, each after as much of what stands before it as the form reads.

    Cut at spaces, which begin the next piece. The harness's own models cut by tokens into windows that share one token;
    up to one piece (400 characters) the two agree, beyond it ours reads more context.
    """
    pieces: list[tuple[str, str]] = []
    start = 0
    while start < len(text):
        end = min(start + _PIECE, len(text))
        if end < len(text):
            space = text.rfind(" ", start + 1, end)
            end = space if space > start else end
        pieces.append((text[max(0, start - _BEFORE) : start], text[start:end]))
        start = end
    found = scorer.loglikelihood(pieces) if pieces else []
    return {"logprob": sum(f.logprob for f in found), "tokens": sum(f.tokens for f in found)}


def written(scorer: Scorer, prompts: Sequence[str], settings: Mapping[str, Any], seed: int) -> list[str]:
    """Texts up to the first of ``settings['until']``; most answers are short, so a short try comes first."""
    stops = [settings["until"]] if isinstance(settings.get("until"), str) else list(settings.get("until") or [])
    budget = int(settings.get("max_gen_toks", 256))
    heat = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
    first = budget if heat or not stops else min(_FIRST_TRY, budget)
    made = list(scorer.generate(prompts, first, temperature=heat, seed=seed))
    rest = [i for i, one in enumerate(made) if one[3] != "end" and first < budget and cut(one[0], stops) == one[0]]
    if rest:
        for i, one in zip(rest, scorer.generate([prompts[i] for i in rest], budget, seed=seed), strict=True):
            made[i] = one
    return [cut(one[0], stops) for one in made]


def cut(text: str, stops: Sequence[str]) -> str:
    """``text`` up to the first stop that is in it."""
    places = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(places)] if places else text
