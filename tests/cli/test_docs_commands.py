"""Every hedgerow command that README and docs show names a verb and options that exist, and its needs parse.

Those in code blocks are run as well: document by document, in order, in a folder of its own.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from hedgerow.cli import main
from hedgerow.errors import HedgerowError
from hedgerow.pack import open_pack
from hedgerow.placing import Fleet
from hedgerow.placing.dag import open_app
from hedgerow.placing.quantities import parse_limits, parse_needs
from hedgerow.placing.traces import open_trace
from hedgerow.placing.wfformat import open_workflow
from hedgerow.systems.isic import recipe

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
    inner = rest[:1] if verb == "data" and rest[:1] and rest[0] in ("import", "records", "recode") else []
    own = [] if inner or verb != "data" else ["sources"]
    assert main([verb, *inner, *own, "--help"]) == 0, f"{doc}: {command}"
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


# --- run for real -----------------------------------------------------------------------------------------------------
TOY = Path(recipe.__file__).with_name("toy.csv")
# What makes a build take a second; the rest of the line runs as it stands.
SMALLER = {
    "hedgerow build isic --preset tiny": ("--set", "split=toy", "--set", "words=300", "--set", "characters=600"),
    "hedgerow build isic --set data=mine.csv -o": ("--set", "coded=false", "--set", "words=300"),
}
# Commands that are only parsed (above), and why.
PARSED_ONLY = {
    "hedgerow build isic --set data=mine.csv --set model=encoder": "fetches a trunk of 90 MB and runs every text twice",
    "hedgerow data import seeds": "reads a workbook for half a minute",
    "hedgerow build isic --preset exchange": "reads that workbook and builds a classifier first",
    "hedgerow use takers": "asks what the line before builds",
}


def blocks(doc: Path) -> list[str]:
    """The command lines in code blocks, with nothing left out of them."""
    text = "\n".join(re.findall(r"^```\w*\n(.*?)^```", doc.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    return [line for line in re.findall(r"^(?:\$ )?(hedgerow .+)$", text, re.MULTILINE) if "…" not in line]


def begins(command: str, table: Mapping[str, object]) -> str | None:
    return next((start for start in table if command.startswith(start)), None)


def expanded(words: list[str]) -> list[str]:
    """``packs/*`` as a shell would write it."""
    return [found for w in words for found in (sorted(map(str, Path().glob(w))) if "*" in w and "/" in w else [w])]


def good_enough(pack: Path) -> None:
    """Scores of the whole test, as the real Pack has: the toy's few texts say little."""
    line = open_pack(pack).scores[-1]
    high = {"value": 0.6, "low": 0.55, "high": 0.65, "n": 600}
    open_pack(pack).add_evidence("scores.jsonl", {**line, "metrics": {**line["metrics"], "accuracy": high}})


@pytest.mark.parametrize("doc", [d for d in DOCS if blocks(d)], ids=lambda d: d.relative_to(ROOT).as_posix())
def test_the_commands_of_a_document_run_in_order(
    doc: Path, tmp_path: Path, data_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEDGEROW_RECORDS", str(tmp_path / "records.sqlite"))
    shutil.copytree(ROOT / "examples", "examples")
    for name in ("firms.csv", "mine.csv"):
        shutil.copyfile(TOY, name)
    shutil.copyfile(TOY.with_name("waste_toy.csv"), "list.csv")
    Path("more.csv").write_text("text,code\nquantum widget polishing,3290\n", encoding="utf-8")
    ran = 0
    for command in blocks(doc):
        if begins(command, PARSED_ONLY):
            continue
        words = expanded(shlex.split(command, comments=True)[1:])
        words += SMALLER.get(begins(command, SMALLER) or "", ())
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        assert code == 0, f"{command}: exit code {code}: {said.err.strip().splitlines()[-1:]}"
        assert said.out or "-o" in words or "--out" in words, f"{command} said nothing"
        if words[0] == "build" and "--preset" in words:
            good_enough(Path(words[words.index("-o") + 1]))
        ran += 1
    assert ran > 0


def block(doc: Path, language: str) -> str:
    """The one code block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", doc.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_files_that_place_shows_can_be_read(tmp_path: Path) -> None:
    fleet, page = Fleet.open(ROOT / "examples" / "fleet.toml"), ROOT / "docs" / "place.md"
    for name, language in (("t.jsonl", "jsonl"), ("w.json", "json"), ("app.toml", "toml")):
        (tmp_path / name).write_text(block(page, language), encoding="utf-8")
    assert len(open_trace(tmp_path / "t.jsonl", fleet).rows) == 5
    assert [job.name for job in open_workflow(tmp_path / "w.json").jobs] == ["find", "sort"]
    with pytest.raises(HedgerowError, match="packs/isic is no Pack"):  # all before it was understood
        open_app(tmp_path / "app.toml")


def test_what_is_special_about_a_command_is_still_shown_somewhere() -> None:
    lines = [line for doc in DOCS for line in blocks(doc)]
    for start in (*SMALLER, *PARSED_ONLY):
        assert any(line.startswith(start) for line in lines), f"no document shows: {start}"
