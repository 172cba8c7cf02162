"""The tour's own part: what it builds, what it reuses and says so, what it writes. The models are tiny stand-ins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "kinds"))
import tiny

from hedgerow import config, systems
from hedgerow.errors import HedgerowError
from hedgerow.pack import Pack, Scored, create, open_pack
from hedgerow.report import tour
from hedgerow.schema import Record
from hedgerow.task import Example

DIGEST = "cd" * 32
RIVALS = (("linear", "tiny"), ("encoder", "encoder-small"))


class Config(Record):
    model: str = "linear"
    wrong: int = 0


class Task:
    """Rice is 0112, everything else 6201; scored as plainly as can be."""

    name, options, digest = "isic/texts", {"seed": 0}, DIGEST
    splits = {
        "test": [Example(str(i), t, frozenset([c]), t) for i, (t, c) in enumerate([("rice", "0112"), ("web", "6201")])]
    }

    def ask(self, example: Example) -> str:
        return str(example.input)

    def score(self, examples: Any, answers: Any) -> dict[str, dict[str, float]]:
        hits = [a["candidates"][0]["code"] in e.gold for e, a in zip(examples, answers, strict=True)]
        share = sum(hits) / len(hits)
        return {"accuracy": {"value": share, "low": share, "high": share, "n": len(hits)}}


class Systems:
    """``systems`` with a recipe that takes no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.built: list[str] = []
        table = {name: config.Preset(name=name, about=f"about {name}", settings={}) for _, name in RIVALS}
        monkeypatch.setattr(systems, "presets", lambda system: table)
        monkeypatch.setattr(systems, "recipe", lambda system: type("Recipe", (), {"Config": Config}))
        monkeypatch.setattr(systems, "resolve_task", lambda scored: Task())
        monkeypatch.setattr(systems, "build", self.build)

    def build(self, system: str, preset: str, sets: Any, out: Path, quiet: bool) -> Pack:
        self.built.append(preset)
        settings = config.change(Config(), sets)
        made = tiny.static_encoder(out.parent / f"{out.name}-made")
        task = Scored(name="isic/texts", options={"seed": 0}, digest=DIGEST)
        pack = classifier(out, preset, config.config_digest(settings), task, None if preset == "tiny" else made)
        value = 0.55 if preset == "tiny" else 0.7
        accuracy = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 2}
        told = {"name": task.name, "options": {}, "digest": DIGEST, "split": "test", "n": 2}
        pack.add_evidence("scores.jsonl", {"variant": "numpy", "task": told, "metrics": {"accuracy": accuracy}})
        return pack


def classifier(out: Path, preset: str, digest: str, task: Scored, trunk: Pack | None) -> Pack:
    """A text classifier that needs numpy only."""
    import numpy as np

    from hedgerow.kinds.hierarchy import Label, LabelsFile
    from hedgerow.kinds.text_classifier import save_text_classifier
    from hedgerow.kinds.text_members import Member

    labels = [Label(code=c, title=t, group=c[:3], division=c[:2], section=s)
              for c, t, s in (("0112", "Growing of rice", "A"), ("6201", "Programming", "J"))]  # fmt: skip
    rng = np.random.default_rng(0)
    blocks = [{"name": "word", "analyser": "word", "ngrams": [1, 2]}]
    arrays = {"idf": np.ones(2), "coef": np.array([[4.0, -4.0], [-4.0, 4.0]]), "intercept": np.zeros(2)}
    members = [Member("tfidf-linear", {"blocks": blocks}, arrays, {"word": ["rice", "web"]})]
    if trunk is not None:
        members.append(Member("trunk-titles", {"scale": 1.0}, {"vectors": rng.normal(size=(2, 16))}))
    info = tiny.info(out.name, "text-classifier", system="isic", preset=preset, config_digest=digest, task=task)
    return save_text_classifier(
        out, info, LabelsFile(scheme="ISIC Rev.4", labels=tuple(labels)), members,
        {"rule": "mean", "weights": [1.0] * len(members)},
        [{"text": "rice", "code": "0112", "source": "made up"}], trunk=trunk,
        calibration={"temperature": 1.0, "thresholds": {"0.90": 0.1}, "fitted_on": "nothing", "n": 1},
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Systems]]:
    """Runs the tour with these settings; gives what it printed."""
    stand_in = Systems(monkeypatch)
    question = tour.Question(limit=("p95<=60s",), requests=20, batch=50)

    def go(**how: Any) -> tuple[str, Systems]:
        where = {
            "packs": tmp_path / "packs",
            "out": tmp_path / "tour",
            "question": question,
            "rivals": RIVALS,
            "seeds": 2,
        }
        tour.tour(**{**where, **how, "quiet": True})
        return (tmp_path / "tour" / "tour.txt").read_text(), stand_in

    return go


def test_a_tour_ends_with_page_json_and_text(run: Callable[..., tuple[str, Systems]], tmp_path: Path) -> None:
    text, stand_in = run()
    assert stand_in.built == ["tiny", "encoder-small"]
    for words in ("1 of 6", "6 of 6", "about tiny", "accuracy against run_ms", "Assumed, not measured", "request-10"):
        assert words in text, words
    told = json.loads((tmp_path / "tour" / "tour.json").read_text())
    assert [p["reused"] for p in told["packs"]] == [False, False]
    assert {p["name"] for g in told["compared"]["groups"] for p in g["points"]} == {"linear", "encoder"}
    assert [a["code"] for a in told["examples"][0]["answers"]] == ["0112", "0112"]  # rice, twice
    assert told["unplugged"] == "laptop" and told["batch"] == 50
    policies = ["earliest-finish", "local-only", "random", "earliest-finish without laptop"]
    assert [r["label"] for r in told["outcome"]["rows"]] == policies
    assert "laptop leaves at" in told["pulled"]["rows"][1]["label"]
    assert "laptop" not in {share["device"] for share in told["later"]["shares"]}
    page = (tmp_path / "tour" / "tour.html").read_text()
    assert "linear" in page and str(tmp_path) not in page
    assert str(tmp_path) not in (tmp_path / "tour" / "tour.json").read_text()
    for name in ("linear", "encoder"):
        assert {c["phase"] for c in open_pack(tmp_path / "packs" / name).costs} == {"load", "run"}


def test_a_second_tour_reuses_and_says_so(run: Callable[..., tuple[str, Systems]], tmp_path: Path) -> None:
    run()
    rows = len(open_pack(tmp_path / "packs" / "linear").costs)
    text, stand_in = run()
    assert stand_in.built == ["tiny", "encoder-small"]  # only in the first
    assert text.count("reused in") == 2
    assert text.count("weighed on this machine before, rows reused (numpy)") == 2
    assert len(open_pack(tmp_path / "packs" / "linear").costs) == rows
    assert [p["reused"] for p in json.loads((tmp_path / "tour" / "tour.json").read_text())["packs"]] == [True, True]


def test_other_settings_build_anew_and_fresh_builds_all(run: Callable[..., tuple[str, Systems]]) -> None:
    run()
    _, stand_in = run(sets=["wrong=1"])
    assert stand_in.built == ["tiny", "encoder-small"] * 2
    _, stand_in = run(sets=["wrong=1"], fresh=True)
    assert stand_in.built == ["tiny", "encoder-small"] * 3


def test_a_pack_that_was_altered_is_not_reused(run: Callable[..., tuple[str, Systems]], tmp_path: Path) -> None:
    run()
    weights = tmp_path / "packs" / "linear" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.unlink()
    weights.write_bytes(data)
    with pytest.raises(HedgerowError, match="was changed"):
        run()


def test_forms_without_a_score_are_asked_beside_the_base_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[str, Systems]]
) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(tour.kinds, "kind", lambda name: type("Kind", (), {"variants": lambda self, pack: forms})())

    def fake(pack: Pack, task: Any, variant: str, progress: Any, known: dict[str, Any]) -> dict[str, Any]:
        asked.append((variant, len(known)))
        known[variant] = []
        progress(2, 2)
        difference = {"value": -0.01, "low": -0.02, "high": 0.0, "n": 2}
        against = {"variant": "torch", "metric": "accuracy", "difference": difference}
        return {"metrics": {"accuracy": {"value": 0.6}}, "against": against}

    forms = ("torch", "onnx", "onnx-int8")
    monkeypatch.setattr(tour, "score", fake)
    task = Scored(name="isic/texts", digest=DIGEST)
    with create(tmp_path / "p", tiny.info("p", "text-classifier", task=task)) as folder:
        (folder / "x.json").write_text("{}")
    pack = open_pack(tmp_path / "p")
    pack.add_evidence("scores.jsonl", {"variant": "torch"})
    tell = tour.Teller(quiet=True)
    tour._score([pack], tell)
    assert asked == [("onnx", 0), ("onnx-int8", 1)]  # one set of answers, so the base form is asked once
    assert tell.lines[1] == "p onnx-int8: accuracy 0.600 · -0.010 [-0.020, +0.000] accuracy against torch"


def test_without_the_example_fleet_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tour, "__file__", str(tmp_path / "a" / "b" / "c" / "d.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HedgerowError, match="--fleet"):
        tour.example_fleet()


@pytest.mark.parametrize(
    ("stop", "code", "words"), [(HedgerowError("no"), 1, "no"), (KeyboardInterrupt(), 130, "goes on")]
)
def test_main_ends_in_one_line(
    stop: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise stop

    monkeypatch.setattr(tour, "tour", stopped)
    assert tour.main([]) == code
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_keep_puts_json_and_text_where_docs_are_drawn_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(packs: Path, out: Path, fleet: Path | None, **_: Any) -> Path:
        out.mkdir()
        (out / "tour.json").write_text("{}")
        (out / "tour.txt").write_text("a tour")
        return out / "tour.html"

    monkeypatch.setattr(tour, "tour", fake)
    monkeypatch.chdir(tmp_path)
    assert tour.main([]) == 0
    assert not (tmp_path / "results").exists()
    assert tour.main(["--keep", "--out", "other"]) == 0
    assert (tmp_path / "results" / "tour" / "tour.json").read_text() == "{}"
    assert (tmp_path / "results" / "tour" / "tour.txt").read_text() == "a tour"
