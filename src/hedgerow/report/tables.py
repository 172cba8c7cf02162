"""Tables in README and docs, drawn from ``results/`` alone: ``make results``.

A block of a Markdown file between ``<!-- table: isic/peers -->`` and ``<!-- end -->`` is replaced by the table
``peers`` of ``systems/isic/tables.toml``; a block that begins with ``<!-- file: results/… -->`` by that file's text.
So no number is typed by hand, and a new system needs a table file and no code::

    [peers]
    caption = "Top-1 …"
    row.1 = {label = "TF-IDF + LR", where = {model = "tfidf"}}
    column.1 = {label = "grouped", where = {split = "grouped"}, metric = ["top1", "top5"], format = "percent"}

A cell takes every result whose experiment and config fit both the row and the column, and reads the metric from it: a
number, or a score ``{value, low, high}``. It shows the mean, ± the standard deviation over seeds when there are
several, and the 95 % interval in brackets where the scores have one. No result: *not run*. A table that says how many
``seeds`` it means to have marks every cell that has another number; a column of the format ``seeds`` just counts them.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.report.pictures import make_pictures
from hedgerow.run import Result, load_results
from hedgerow.schema import Record, check
from hedgerow.weighing.show import count, milliseconds, size

Format = Literal["percent", "number", "ms", "bytes", "count", "seconds", "text", "seeds"]
_BLOCK = re.compile(r"(<!-- (table|file): (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


class Axis(Record):
    """A row or a column: which results it takes."""

    label: str
    experiment: str | None = None
    where: dict[str, Any] = {}  # dotted key of the config -> the value it must have, or a list of allowed values


class Row(Axis):
    """A row; ``text`` states cells that no run of ours made (a published number), by label of the column.

    ``at`` is a dotted path within the metrics, put before that of the column: one result may hold several rows.
    """

    at: str = ""
    text: dict[str, str] = {}
    source: str = ""  # where those texts come from; required with them


class Column(Axis):
    """A column; several metrics are joined by a slash, ``beside`` follows in the same cell with its own words."""

    metric: str | tuple[str, ...]
    format: Format = "number"
    digits: int = Field(default=1, ge=0, le=6)
    interval: bool = True
    beside: str = ""  # another metric
    beside_label: str = ""


class Table(Record):
    """One table of ``tables.toml``; rows and columns stand in the order of their keys in the file."""

    caption: str = ""
    head: str = ""
    experiment: str | None = None
    where: dict[str, Any] = {}  # holds for every cell
    row: dict[str, Row]
    column: dict[str, Column]
    seeds: int = Field(default=0, ge=0, description="a cell over another number of seeds says so; 0: no cell does")
    skip_empty: bool = False  # leave out rows without any result instead of saying 'not run'


def make_tables(results: Path, docs: Sequence[Path], systems: Path, *, check_only: bool = False) -> list[Path]:
    """Draw every marked block of ``docs`` again; returns the files that changed (with ``check_only``: would change).

    ``systems`` holds ``<system>/tables.toml``. Raises HedgerowError for an unknown table, a broken spec, or a cell
    that fits results of different configs (then the table must say which one it means).
    """
    changed = []
    for path in docs:
        old = path.read_text(encoding="utf-8")
        if old.count("<!-- table:") + old.count("<!-- file:") != len(_BLOCK.findall(old)):
            raise HedgerowError(f"{path}: a marked block has no '<!-- end -->' behind it")

        def block(match: re.Match[str], path: Path = path, old: str = old) -> str:
            kind, name = match[2], match[3]
            inside = old[: match.start()].endswith("```\n")  # the marks may stand inside of a code block of the page
            body = (
                table(results, systems, name, path) if kind == "table" else included(results.parent, name, path, inside)
            )
            return f"{match[1]}{body}{match[5]}"

        new = _BLOCK.sub(block, old)
        if new != old:
            changed.append(path)
            if not check_only:
                files.write_text(path, new)
    return changed


def included(root: Path, name: str, path: Path, inside: bool) -> str:
    """A text file under ``results/``, as a code block unless it is Markdown or the marks stand ``inside`` of one."""
    file = root / name
    if ".." in Path(name).parts or not file.is_file():
        raise HedgerowError(f"{path}: there is no file {name} to include")
    text = file.read_text(encoding="utf-8").rstrip()
    return f"{text}\n" if inside or file.suffix == ".md" else f"```\n{text}\n```\n"


def table(results: Path, systems: Path, name: str, path: Path) -> str:
    """Markdown of the table ``<system>/<name>``."""
    system, _, which = name.partition("/")
    specs = files.read_toml(systems / system / "tables.toml")
    if which not in specs:
        raise HedgerowError(f"{path}: {system} has no table '{which}'{did_you_mean(which, specs)}")
    spec = check(Table, specs[which], f"{systems / system / 'tables.toml'}, [{which}]")
    found = load_results(results, system)
    lines = []
    for row in spec.row.values():
        cells = [cell(spec, row, column, found, name) for column in spec.column.values()]
        if not (spec.skip_empty and all(c == NOT_RUN for c in cells)):
            lines.append([row.label + (f" ({row.source})" if row.source else ""), *cells])
    heads = [spec.head, *(column.label for column in spec.column.values())]
    text = _markdown(heads, lines)
    said = [spec.caption] if spec.caption else []
    if spec.seeds:
        said.append(f"{spec.seeds} seed{'s' * (spec.seeds > 1)}, or as many as a cell says.")
    return text + (f"\n{' '.join(said)}\n" if said else "")


NOT_RUN = "*not run*"


def cell(spec: Table, row: Row, column: Column, found: Sequence[Result], name: str) -> str:
    """One cell as text."""
    if row.text:
        if not row.source:
            raise HedgerowError(f"table {name}, row '{row.label}': stated cells need a source")
        return row.text.get(column.label, "")
    fitting = [r for r in found if all(_fits(r, axis) for axis in (spec, row, column))]
    if not fitting:
        return NOT_RUN
    digests = {r.config_digest for r in fitting}
    if len(digests) > 1:
        keys = _differing([r.config for r in fitting])
        raise HedgerowError(
            f"table {name}, row '{row.label}', column '{column.label}': fits {len(digests)} configs that differ in "
            f"{', '.join(keys)}; say which one is meant"
        )
    names = (column.metric,) if isinstance(column.metric, str) else column.metric
    before = f"{row.at}." if row.at else ""
    parts = [value(fitting, before + metric, column) for metric in names]
    if all(part is None for part in parts):
        return NOT_RUN
    text = " / ".join(part if part is not None else "–" for part in parts)
    beside = value(fitting, column.beside, column.model_copy(update={"interval": False})) if column.beside else None
    text += f" ({column.beside_label} {beside})".replace("( ", "(") if beside is not None else ""
    seeds = len({r.seed for r in fitting})
    return text + (f" ({seeds} seed{'s' * (seeds > 1)})" if spec.seeds and seeds != spec.seeds else "")


def value(fitting: Sequence[Result], metric: str, column: Column) -> str | None:
    """Mean over seeds, ± their standard deviation, [interval]; None when no result holds the metric."""
    held = [h for h in (_dig(r.metrics, metric) for r in fitting) if h is not None]
    if not held:
        return None
    if column.format == "seeds":
        return str(len(held))
    if column.format == "text" or isinstance(held[0], str):
        return str(held[0])
    values = [float(h["value"]) if isinstance(h, Mapping) else float(h) for h in held]
    text = show(statistics.fmean(values), column)
    if len(values) > 1 and column.format in ("percent", "number"):
        text += f" ± {show(statistics.stdev(values), column)}"
    bounds = [(h["low"], h["high"]) for h in held if isinstance(h, Mapping) and h.get("low") is not None]
    if column.interval and len(bounds) == len(held):
        low, high = (statistics.fmean(side) for side in zip(*bounds, strict=True))
        text += f" [{show(low, column)}, {show(high, column)}]"
    return text


def show(number: float, column: Column) -> str:
    """A number in the column's format; a percentage without its sign, which stands in the caption or the label."""
    match column.format:
        case "percent":
            return f"{100 * number:.{column.digits}f}"
        case "ms":
            return milliseconds(number)
        case "bytes":
            return size(number)
        case "count":
            return f"{number:,.0f}" if abs(number) < 1e6 else count(number)
        case "seconds":
            return f"{number:.0f} s" if number < 600 else f"{number / 60:.0f} min"
        case _:
            return f"{number:.{column.digits}f}"


def _fits(result: Result, axis: Axis | Table) -> bool:
    if axis.experiment is not None and result.experiment != axis.experiment:
        return False
    for key, wanted in axis.where.items():
        have = _dig(result.config, key)
        if have not in wanted if isinstance(wanted, list) and not isinstance(have, list) else have != wanted:
            return False
    return True


def _dig(data: Any, path: str) -> Any:
    """The value at a dotted path, None where it leads nowhere."""
    for part in path.split("."):
        if not isinstance(data, Mapping) or part not in data:
            return None
        data = data[part]
    return data


def _differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for config in configs for key in config})
    return [key for key in keys if len({files.canonical(config.get(key)) for config in configs}) > 1]


def _markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"

    rule = "|" + "|".join("---" if i == 0 else "---:" for i in range(len(heads))) + "|"
    return "\n".join([line(heads), rule, *(line(cells) for cells in lines)]) + "\n"


def documents(root: Path) -> list[Path]:
    """Every Markdown file of the repository that may hold a table."""
    return [root / "README.md", *sorted(root.glob("docs/*.md")), *sorted(root.glob("src/hedgerow/systems/*/README.md"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m hedgerow.report.tables [--check]``, run in the repository's root."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m hedgerow.report.tables", description="Draw the tables again.")
    parser.add_argument("--check", action="store_true", help="only say which files would change; exit code 1 if any")
    given = parser.parse_args(arguments)
    root = Path.cwd()
    try:
        changed = make_tables(
            root / "results", documents(root), root / "src" / "hedgerow" / "systems", check_only=given.check
        )
        changed += make_pictures(root, check_only=given.check)
    except HedgerowError as e:
        print(e, file=sys.stderr)
        return 1
    for path in changed:
        print(f"{path.relative_to(root)} {'differs from results/: run make results' if given.check else 'drawn again'}")
    if not changed:
        print("every table and picture is as results/ say")
    return 1 if changed and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
