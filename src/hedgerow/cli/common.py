"""What verbs share: argument types with their completion, and the two ways of printing."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hedgerow.errors import HedgerowError

if TYPE_CHECKING:
    from rich.console import RenderableType


def complete_packs(incomplete: str) -> list[str]:
    """Folders beside and below ``packs/`` that hold a pack.toml."""
    base = Path(incomplete)
    parent = base if incomplete.endswith("/") or not incomplete else base.parent
    found = [p for folder in {parent, Path("packs")} if folder.is_dir() for p in sorted(folder.iterdir())]
    names = [str(p) for p in found if (p / "pack.toml").is_file()]
    return [n for n in names if n.startswith(incomplete)]


def complete_systems(incomplete: str) -> list[str]:
    """Names of systems."""
    from hedgerow.systems import names

    return [n for n in names() if n.startswith(incomplete)]


def complete_presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Presets of the system that stands on the line already, else of all systems."""
    from hedgerow.systems import SYSTEMS, presets

    chosen = ctx.params.get("system")
    return sorted({p for s in SYSTEMS if chosen in (None, s) for p in presets(s) if p.startswith(incomplete)})


Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, everything else on stderr.")]
PackArgument = Annotated[Path, typer.Argument(metavar="PACK", help="A Pack folder.", autocompletion=complete_packs)]
PackArguments = Annotated[
    list[Path], typer.Argument(metavar="PACK…", help="Pack folders.", autocompletion=complete_packs)
]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting; repeat for more.")]


@contextmanager
def json_only(wanted: bool) -> Iterator[Any]:
    """Yield where the result goes. With ``wanted`` nothing else reaches stdout: other prints go to stderr."""
    out = sys.stdout
    if not wanted:
        yield out
        return
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(encoding="utf-8", errors="replace")  # half a character, out of broken JSON, ends no batch
    sys.stdout = sys.stderr
    try:
        yield out
    finally:
        sys.stdout = out


def emit(value: Any, out: Any) -> None:
    """One JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), file=out)


def say(line: str) -> None:
    """One line for a person, on stderr."""
    print(f"hedgerow: {line}", file=sys.stderr)


@contextmanager
def transfer_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``report(what, bytes done, bytes in all or 0)``: a bar in megabytes on stderr, one for each ``what``."""
    from hedgerow.run import progress

    with ExitStack() as bars:
        ticks: dict[str, Any] = {}
        done_before: dict[str, int] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in ticks:
                ticks[what] = bars.enter_context(progress(f"{what} (MB)", round(total / 1e6, 1) or None))
            ticks[what]((done - done_before.get(what, 0)) / 1e6)
            done_before[what] = done

        yield report


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """A table for people on stdout."""
    from rich.table import Table

    drawn = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        drawn.add_row(*("" if cell is None else str(cell) for cell in row))
    draw(drawn)


def draw(*parts: RenderableType) -> None:
    """Print tables and texts: as wide as the terminal, or never wrapped when they go into a file or a pipe."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    page = sys.stdout if terminal else io.StringIO()
    width = None if terminal else 10_000
    console = Console(file=page, width=width, highlight=False, markup=False, emoji=False)
    for part in parts:
        if isinstance(part, Table):
            part.box, part.pad_edge = SIMPLE_HEAD, False
            for column in part.columns:
                column.no_wrap = not terminal
        console.print(part)
    if isinstance(page, io.StringIO):
        print("\n".join(line.rstrip() for line in page.getvalue().splitlines()))


def settings(pairs: Sequence[str] | None, defaults: Mapping[str, Any], what: str) -> dict[str, Any]:
    """``key=value`` texts as values of the type that ``defaults`` has; unknown keys and bad values are one line."""
    from hedgerow.errors import did_you_mean

    chosen: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals:
            raise HedgerowError(f"--set {pair}: write KEY=VALUE")
        if key not in defaults:
            raise HedgerowError(f"{what} has no setting '{key}'{did_you_mean(key, defaults)}")
        chosen[key] = _as_type(text, defaults[key], pair)
    return chosen


def _as_type(text: str, default: Any, pair: str) -> Any:
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is not None and type(value) is not type(default):
        raise HedgerowError(f"--set {pair}: expected {_TYPES.get(type(default), 'a value')} such as {default!r}")
    return value


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", list: "a JSON list", dict: "a JSON object"}
