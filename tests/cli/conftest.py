"""The command line in this process, with the echo kind in the table."""

from __future__ import annotations

from pathlib import Path

import cli_echo
import pytest
from cli_said import Run, Said

from hedgerow.cli import main
from hedgerow.kinds import KINDS
from hedgerow.systems import SYSTEMS


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``run("show", pack)`` in an empty folder."""
    monkeypatch.setitem(KINDS, "echo", "cli_echo")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Said:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return command


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """An echo Pack."""
    return cli_echo.save(tmp_path / "pack")


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system isic is built by cli_recipe.py."""
    monkeypatch.setitem(SYSTEMS, "isic", "cli_recipe")
