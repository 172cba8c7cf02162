"""Every hedgerow command that README and docs show names a verb and options that exist, and its needs parse."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from hedgerow.cli import main
from hedgerow.placing.quantities import parse_limits, parse_needs

ROOT = Path(__file__).parents[2]
DOCS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("src/hedgerow/systems/*/README.md")),
]


def shown() -> list[tuple[str, str]]:
    """(document, command) of every line in a code block, and every code span, that begins with hedgerow."""
    found = []
    for doc in DOCS:
        text = doc.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        lines = re.findall(r"^(?:\$ )?(hedgerow .+)$", blocks, re.MULTILINE) + re.findall(r"`(hedgerow [^`\n]+)`", text)
        found += [(doc.relative_to(ROOT).as_posix(), line) for line in lines]
    return found


COMMANDS = shown()


def test_the_docs_show_commands() -> None:
    assert len(COMMANDS) > 10
    assert {shlex.split(c, comments=True)[1] for _, c in COMMANDS} >= {"systems", "build", "use", "weigh", "place"}


@pytest.mark.parametrize(("doc", "command"), COMMANDS)
def test_a_command_in_the_docs_exists(doc: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, verb, *rest = shlex.split(command.replace("…", ""), comments=True)
    if verb.startswith("-"):
        return
    assert main([verb, "--help"]) == 0, f"{doc}: {command}"
    said = capsys.readouterr().out
    for word in (w for w in rest if w.startswith("--") or re.fullmatch(r"-\w", w)):
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", said), f"{doc}: '{word}' in: {command}"
    for option, value in pairwise((*(w for w in rest if w), "")):
        if value.startswith("-") or not value:
            continue
        if option == "--need":
            parse_needs([value])
        if option == "--limit":
            parse_limits([value])
