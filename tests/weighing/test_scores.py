from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeTask, install, make_pack

from hedgerow import kinds
from hedgerow.errors import HedgerowError
from hedgerow.weighing import score
from hedgerow.weighing.scores import paired


@pytest.fixture(autouse=True)
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def test_a_score_line_says_what_was_asked_of_what(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    line = score(pack, FakeTask())
    assert line["metrics"]["accuracy"]["value"] == 1.0
    assert line["task"] == {"name": "lengths", "options": {}, "digest": "ab" * 32, "split": "test", "n": 40}
    assert line["variant"] == "numpy"
    assert line["environment"]["library"] == "fake"
    assert "against" not in line
    assert pack.scores == [{"pack": pack.digest, **line}]


def test_the_quantised_form_stands_beside_the_base_form_paired(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    line = score(kinds.open(pack, "numpy-int8"), FakeTask())
    # every fifth answer (0, 5, …, 35) is wrong in the int8 form and right in the base form
    assert line["metrics"]["accuracy"]["value"] == pytest.approx(0.8)
    against = line["against"]
    assert (against["variant"], against["metric"]) == ("numpy", "accuracy")
    assert against["difference"]["value"] == pytest.approx(-0.2)
    assert against["difference"]["low"] < -0.2 < against["difference"]["high"] < 0


def test_known_answers_are_not_asked_again(tmp_path: Path) -> None:
    pack, task = make_pack(tmp_path / "p"), FakeTask()
    wrong = [{"answer": "never"} for _ in task.splits["test"]]
    held = {"numpy": wrong}
    line = score(pack, task, variant="numpy-int8", known=held)
    assert line["against"]["difference"]["value"] == pytest.approx(0.8)
    assert set(held) == {"numpy", "numpy-int8"}


def test_a_metric_that_is_no_mean_has_no_paired_difference() -> None:
    task = FakeTask()
    examples = task.splits["test"]
    right = [{"answer": str(i)} for i in range(len(examples))]
    half = [{"answer": str(i) if i < 20 else "x"} for i in range(len(examples))]
    found = paired(task, examples, half, right, "numpy", "squared")
    assert found["difference"] is None
    assert "no mean" in found["why"]
    found = paired(task, examples, half, right, "numpy", "accuracy")
    assert found["difference"]["value"] == pytest.approx(-0.5)


def test_unknown_and_empty_splits_are_refused(tmp_path: Path) -> None:
    pack = make_pack(tmp_path / "p")
    with pytest.raises(HedgerowError, match="did you mean 'test'"):
        score(pack, FakeTask(), split="tets")
    with pytest.raises(HedgerowError, match="empty"):
        score(pack, FakeTask(), split="dev")
    assert pack.scores == []


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    score(make_pack(tmp_path / "p"), FakeTask(n=600), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 600), (512, 600), (600, 600)]
