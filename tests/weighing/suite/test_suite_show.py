"""Tables and the page: grouped as in the survey, chance and control beside, differences that are not shown said so."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from hedgerow.data.suite import SETS
from hedgerow.run import save_result
from hedgerow.weighing.suite import experiment, show
from hedgerow.weighing.suite.sets import GROUPS


def line(name: str, group: str, value: float, shots: int = 0, hits: str = "01" * 20) -> dict[str, Any]:
    score = {"value": value, "low": value - 0.07, "high": value + 0.07, "n": len(hits)}
    return {
        "task": {"name": f"suite/{name}", "digest": f"{name}-{shots}", "options": {"limit": None}, "n": len(hits)},
        "metrics": {"accuracy": score, "accuracy_per_char": score, "accuracy_per_token": score},
        "suite": {"group": group, "shots": shots, "headline": "accuracy", "ids": name},
        "beside": {"chance": 0.25, "majority": None, "random_weights": {"metrics": {"accuracy": {"value": 0.222}}}},
        "items": {"hits": {"accuracy": hits}, "groups": None},
    }


def drawn(table: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=220).print(table)
    return out.getvalue()


def test_sets_stand_in_their_groups_with_chance_and_control_beside() -> None:
    lines = [
        line("logiqa", "problem-solving", 0.5),
        line("piqa", "commonsense", 0.6),
        line("mmlu", "problem-solving", 0.3),
    ]
    text = drawn(show.suite_table(lines, "title"))
    order = [text.index(word) for word in ("commonsense", "piqa", "problem-solving", "mmlu", "logiqa", "mean of 2")]
    assert order == sorted(order)
    row = next(one for one in text.splitlines() if "piqa" in one)
    assert "0.600 [0.530, 0.670]" in row and "0.250" in row and "0.222" in row and "–" in row
    mean = next(one for one in text.splitlines() if "mean of 2" in one)
    assert "0.400 ± 0.049" in mean and "80" in mean  # half of 0.14 over the root of two; both ns
    assert "mean of 7" not in text, "commonsense is not whole"


def test_a_control_that_was_not_run_says_so() -> None:
    one = line("piqa", "commonsense", 0.6)
    one["beside"]["random_weights"] = {"why": "no torch here"}
    assert "not run" in drawn(show.suite_table([one], "title"))


def test_examples_that_change_nothing_are_said_to() -> None:
    lines = [line("piqa", "in-context", 0.5), line("piqa", "in-context", 0.5, shots=5)]
    table = show.gains_table(lines)
    assert table is not None and "no difference shown" in drawn(table)
    assert show.gains_table(lines[:1]) is None


def save(root: Path, form: str, name: str, hits: str) -> None:
    one = line(name, "commonsense", hits.count("1") / len(hits), hits=hits)
    config = {"model": "small", "form": form, "set": name, "shots": 0, "limit": None, "task": name}
    kept = {key: one[key] for key in ("metrics", "beside", "suite", "task")}
    save_result(root, "slm", "suite", config, 0, kept, one["items"], time.time())


def test_the_page_is_drawn_from_results_alone(tmp_path: Path) -> None:
    assert experiment.page(tmp_path) == "*not run*\n"
    save(tmp_path, "torch", "piqa", "1" * 30 + "0" * 10)
    save(tmp_path, "gguf-q4_0", "piqa", "1" * 29 + "0" * 11)
    save(tmp_path, "gguf-q2_k", "piqa", "0" * 40)
    text = experiment.page(tmp_path)
    assert "**small, torch**" in text and "**small, gguf-q4_0**" in text
    assert "| in-context | piqa | 0 | 40 | 0.750 [0.680, 0.820] |" in text, "a set of two groups stands in both"
    pairs = [one for one in text.splitlines() if "| small, torch |" in one]
    assert len(pairs) == 2
    near = next(one for one in pairs if "q4_0" in one)
    assert "-0.025" in near and "no difference shown" in near
    assert "no difference shown" not in next(one for one in pairs if "q2_k" in one)
    assert all(
        one.count("|") == text.splitlines()[2].count("|") for one in text.splitlines() if one.startswith("| commons")
    )


def test_the_grid_asks_each_set_once_a_number_of_examples() -> None:
    grid = experiment.plan()
    assert len({(name, shots) for _, name, shots in grid}) == len(grid)
    assert {shots for _, name, shots in grid if name == "piqa"} == {0, 1, 5}
    assert {shots for _, name, shots in grid if name == "humaneval"} == {0}
    assert {name for _, name, _ in grid} == {name for sets in GROUPS.values() for name in sets} <= set(SETS)
