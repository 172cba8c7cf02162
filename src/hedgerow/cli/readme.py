"""``python -m hedgerow.cli.readme [--check]``: the table of the ten systems in README.md, drawn from the registry."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hedgerow.errors import HedgerowError

START, END = "<!-- systems: drawn by `make results` -->\n", "<!-- end of systems -->"


def systems_table() -> str:
    """Markdown: one row a system, the same facts as `hedgerow systems`."""
    from hedgerow.cli.build import presets_text
    from hedgerow.systems import describe

    lines = ["| system | what for | works today | not yet | presets (minutes on 2 cores) |", "|---|---|---|---|---|"]
    for s in describe():
        name = f"[`{s['name']}`](src/hedgerow/systems/{s['name']}/README.md)" if s["presets"] else f"`{s['name']}`"
        cells = (name, s["what"], s["today"] or "–", s["later"] if s["today"] else "all of it", presets_text(s) or "–")
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def redrawn(text: str) -> str:
    """``text`` with the marked block drawn again; HedgerowError when there is no such block."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise HedgerowError(f"README.md has no block between '{START.strip()}' and '{END}'")
    return before + start + systems_table() + end + after


def main(arguments: Sequence[str]) -> int:
    """Redraw, or with ``--check`` only say whether it would change (exit code 1)."""
    from hedgerow import files

    path = Path("README.md")
    old = path.read_text(encoding="utf-8")
    new = redrawn(old)
    if new == old:
        print("the table of systems in README.md is as the registry says")
        return 0
    if "--check" in arguments:
        print("the table of systems in README.md differs from the registry: run make results")
        return 1
    files.write_text(path, new)
    print("README.md: table of systems drawn again")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
