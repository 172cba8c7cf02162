"""What README.md says of the ten systems is what the registry says, and the commands in it exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from hedgerow.cli import _application
from hedgerow.cli.readme import END, START, redrawn, systems_table
from hedgerow.errors import HedgerowError

ROOT = Path(__file__).parent.parent.parent


def test_the_table_of_systems_is_drawn_from_the_registry() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert redrawn(text) == text, "run make results"


def test_a_changed_table_is_noticed() -> None:
    assert redrawn(f"a\n{START}old\n{END}\nb") == f"a\n{START}{systems_table()}{END}\nb"
    with pytest.raises(HedgerowError, match="no block"):
        redrawn("nothing")


def commands(path: Path) -> list[list[str]]:
    """Every ``hedgerow …`` line of the code blocks of a page."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", path.read_text(encoding="utf-8"), re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hedgerow ")]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda p: p.name)
def test_commands_in_the_docs_parse(page: Path) -> None:
    """Every verb and option that a page shows is one that exists."""
    group = typer.main.get_command(_application())
    for words in commands(page):
        verb = group.commands.get(words[0])  # type: ignore[attr-defined]
        assert verb is not None, f"{page.name}: hedgerow {words[0]}"
        known = {o for p in verb.params for o in p.opts} | {"--help", "-h"}
        used = {w.split("=")[0] for w in words[1:] if w.startswith("--")}
        assert used <= known, f"{page.name}: hedgerow {' '.join(words)}"


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^\$ |^)make ([a-z-]+)", text, re.M))
    assert {"tour", "test"} <= named and named <= targets
