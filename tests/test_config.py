"""Presets and --set: what they give, and the one line that a wrong one gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from hedgerow.config import change, config_digest, describe, load, presets
from hedgerow.errors import HedgerowError
from hedgerow.schema import Record


class Fit(Record):
    lr: float = Field(default=1e-3, gt=0, description="learning rate")
    epochs: int = Field(default=3, ge=1)


class Settings(Record):
    model: Literal["linear", "encoder"] = Field(default="linear", description="which family")
    name: str = "x"
    fit: Fit = Fit()
    extra: Fit | None = None
    sizes: tuple[int, ...] = (1, 2)
    split: str | None = None
    share: float | None = None
    fast: bool = False


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "presets.toml"
    path.write_text(
        '[tiny]\nabout = "quick"\nminutes = 1\nfit.lr = 5e-5\nfit.epochs = 1\n\n[real]\nmodel = "encoder"\n'
    )
    return path


def test_a_preset_changes_the_defaults_and_a_set_changes_the_preset(file: Path) -> None:
    tiny = load(Settings, file, "tiny", ["fit.epochs=9", "model = encoder", "sizes=[4, 5]", "fast=true", "share=1"])
    assert tiny == Settings(model="encoder", fit=Fit(lr=5e-5, epochs=9), sizes=(4, 5), fast=True, share=1.0)
    assert load(Settings, file, "real").fit == Fit()
    assert load(Settings, file, "tiny", ["extra.lr=2"]).extra == Fit(lr=2)
    assert load(Settings, file, "tiny", ["share=none"]).share is None


def test_text_settings_take_words_as_they_stand(file: Path) -> None:
    for given_, expected in [
        ("0113", "0113"),
        ("3", "3"),
        ("true", "true"),
        ("a=b", "a=b"),
        ('"none"', "none"),
        ("", ""),
    ]:
        assert load(Settings, file, "tiny", [f"name={given_}"]).name == expected
    assert load(Settings, file, "tiny", ["split=none"]).split is None
    assert load(Settings, file, "tiny", ["split=system:KSIC10"]).split == "system:KSIC10"


@pytest.mark.parametrize(
    ("sets", "line"),
    [
        (["fit.lrr=1"], "--set fit.lrr=1: unknown key 'fit.lrr' (did you mean 'fit.lr'?)"),
        (["lr=1"], "--set lr=1: unknown key 'lr' (did you mean 'fit.lr'?)"),
        (["modle=linear"], "--set modle=linear: unknown key 'modle' (did you mean 'model'?)"),
        (["model=forest"], "--set model=forest: model: input should be 'linear' or 'encoder' (got 'forest')"),
        (["fit.lr=-1"], "--set fit.lr=-1: fit.lr: input should be greater than 0 (got -1)"),
        (["fit.lr=nan"], "--set fit.lr=nan: fit.lr: input should be a finite number (got nan)"),
        (["fit.epochs=two"], "--set fit.epochs=two: fit.epochs: input should be a valid integer"),
        (["fit.epochs=1", "sizes=3"], "--set sizes=3: sizes: input should be a valid tuple (got 3)"),
        (["fit"], "--set fit: expected key=value, such as --set model=linear"),
        (["=3"], "--set =3: expected key=value"),
        (["fit..lr=3"], "--set fit..lr=3: expected key=value"),
        (["name.x=3"], "--set name.x=3: unknown key 'name.x'"),
        (["fit=3"], "--set fit=3: fit: input should be a valid dictionary"),
    ],
)
def test_a_bad_set_is_one_line(file: Path, sets: list[str], line: str) -> None:
    with pytest.raises(HedgerowError) as caught:
        load(Settings, file, "tiny", sets)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_bad_preset_is_one_line(file: Path, tmp_path: Path) -> None:
    with pytest.raises(HedgerowError, match=r"no preset is called 'tinny' .did you mean 'tiny'"):
        load(Settings, file, "tinny")
    for text, what in [
        ("[tiny]\nmodle = 3\n", "preset 'tiny': unknown key 'modle' .did you mean 'model'"),
        ("[tiny]\nfit.lr = 'fast'\n", "preset 'tiny': fit.lr: "),
        ("[tiny]\nminutes = 'long'\n", "preset 'tiny': minutes: "),
        ("model = 'linear'\n", "'model' stands outside of a preset"),
        ("[tiny\n", "not readable TOML"),
    ]:
        broken = tmp_path / "broken.toml"
        broken.write_text(text)
        with pytest.raises(HedgerowError, match=what):
            load(Settings, broken, "tiny")
    with pytest.raises(HedgerowError, match="is missing"):
        load(Settings, tmp_path / "none.toml", "tiny")


def test_presets_tell_what_they_are_for(file: Path) -> None:
    found = presets(file)
    assert list(found) == ["tiny", "real"]
    assert (found["tiny"].about, found["tiny"].minutes, found["real"].minutes) == ("quick", 1, None)


values = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["linear", "encoder"]),
        "name": st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8).filter(
            lambda text: text[:1] not in ("'", '"')
        ),
        "fit.lr": st.floats(1e-6, 10),
        "fit.epochs": st.integers(1, 99),
        "sizes": st.lists(st.integers(0, 9), max_size=4),
        "fast": st.booleans(),
    },
)


@given(values)
def test_sets_and_the_same_preset_give_the_same_config(chosen: dict[str, Any]) -> None:
    """A setting means the same on the command line and in a file, and the digest sees values only."""
    import tempfile

    nested: dict[str, Any] = {}
    for key, value in chosen.items():
        *above, last = key.split(".")
        (nested.setdefault(above[0], {}) if above else nested)[last] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "presets.toml"
        path.write_text(tomli_w.dumps({"a": nested}), encoding="utf-8")
        by_file = load(Settings, path, "a")
    sets = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in chosen.items()]
    by_sets = change(Settings(), sets)
    assert by_sets == by_file
    assert config_digest(by_sets) == config_digest(by_file)
    assert (config_digest(by_file) == config_digest(Settings())) == (by_file == Settings())


def test_describe_lists_every_setting() -> None:
    rows = {row["key"]: row for row in describe(Settings)}
    assert list(rows) == [
        "model", "name", "fit.lr", "fit.epochs", "extra.lr", "extra.epochs", "sizes", "split", "share", "fast",
    ]  # fmt: skip
    assert rows["fit.lr"] == {"key": "fit.lr", "type": "number", "default": "0.001", "meaning": "learning rate"}
    assert rows["model"]["type"] == "'linear' | 'encoder'"
    assert (rows["sizes"]["type"], rows["sizes"]["default"]) == ("list of integer", "[1,2]")
    assert (rows["share"]["type"], rows["share"]["default"]) == ("number | none", "none")
