"""The sweep over random shapes: cells in turns, resumed after the last whole round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hedgerow import files
from hedgerow.cost import Cost, fitting
from hedgerow.errors import HedgerowError
from hedgerow.runtimes import random_gguf
from hedgerow.schema import check
from hedgerow.weighing import sweep


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = sweep._shape(1, 64, 2, 1, 128, 256).model_copy(update={"head": 32})
    monkeypatch.setattr(sweep, "SHAPES", {"one": shape, "two": shape.model_copy(update={"layers": 2})})
    monkeypatch.setattr(sweep, "PLAN", sweep.Plan(cell_seconds=0.01, least=2, most=3, warm_ups=1))


def test_cells_take_turns_and_go_on_where_they_were(tiny: None, tmp_path: Path) -> None:
    asked: list[tuple[str, int]] = []

    def ask(name: str, form: str, threads: int, folder: Path) -> list[dict[str, Any]]:
        asked.append((name, threads))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return sweep.cell(name, form, threads, folder)

    with pytest.raises(KeyboardInterrupt):
        sweep.run(tmp_path, ["one", "two"], ["q8_0"], [1], 2, lambda text: None, ask)
    assert asked == [("one", 1), ("two", 1), ("one", 1), ("two", 1)]
    paths = sweep.run(tmp_path, ["one", "two"], ["q8_0"], [1], 2, lambda text: None, ask)
    assert asked[4:] == [("two", 1)]
    for path in paths:
        held = files.read_json(path)
        rows = [check(Cost, row, "row") for row in held["items"]]
        assert len(held["rounds"]) == 2 and len(rows) == 6
        assert all(4 <= c.repeats <= 6 and c.source == "measured" and c.geometry and c.weights for c in rows)
        samples = fitting.samples(rows)
        assert [(s.phase, s.tokens, s.past) for s in samples] == [
            ("prefill", 128, 0),
            ("decode", 140, 0),
            ("prefill", 128, 512),
            ("decode", 652, 0),
            ("prefill", 512, 0),
            ("decode", 524, 0),
        ]


def test_a_file_that_was_being_written_when_it_was_stopped_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf

    def stopped(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", stopped)
    for form in ("f16", "q8_0"):
        with pytest.raises(KeyboardInterrupt):
            random_gguf.write(tmp_path / "one.gguf", sweep.SHAPES["wide"].model_copy(update={"vocabulary": 64}), form)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_shape_or_format_is_one_line(tiny: None, tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match="did you mean 'one'"):
        sweep.run(tmp_path, ["onee"], ["q8_0"], [1], 1)
    with pytest.raises(HedgerowError, match="q8_9"):
        sweep.run(tmp_path, ["one"], ["q8_9"], [1], 1, lambda text: None, sweep.cell)


def test_the_six_shapes_are_of_one_size_and_differ_in_form() -> None:
    from hedgerow.cost import formulas

    counts = {name: formulas.parameters(shape) / 1e6 for name, shape in sweep.SHAPES.items()}
    assert len(counts) == 6 and all(110 < n < 140 for n in counts.values()), counts
