"""``weigh --suite``: what language models can do, asked offline; the tables and the lines that it prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hedgerow.cli.common import draw, emit, say, transfer_bar

if TYPE_CHECKING:
    from hedgerow.pack import Pack
    from hedgerow.weighing.suite import Asked


def weigh_suite(
    packs: Sequence[Pack],
    words: str,
    limit: int | None,
    shots: int | None,
    forms: Sequence[str] | None,
    threads: int,
    as_json: bool,
    out: Any,
) -> None:
    """Ask each form (None: the first that runs here) of each Pack; score lines go into the evidence as they finish."""
    from hedgerow import kinds
    from hedgerow.errors import HedgerowError
    from hedgerow.weighing.suite import run_suite
    from hedgerow.weighing.suite.show import gains_table, suite_table

    if not packs:
        raise HedgerowError(
            "--suite asks Packs, whose evidence keeps the scores, and a bare GGUF file has none; "
            "make it a Pack first: hedgerow export FILE.gguf --output packs/NAME"
        )
    failures: list[str] = []
    tests = _tests(words, shots, failures)
    if not tests:
        raise HedgerowError(failures[0])
    asked: list[str | None] = list(forms) if forms else [None]
    models = [kinds.open(pack, form, threads) for pack in packs for form in asked]  # all before the first
    for model in models:
        with _told(as_json) as tell:
            found = run_suite(model, tests, limit, tell=tell)
        for name, why in found.left_out:
            say(f"{model.pack.info.name} {model.variant}, {name}: {why}")
            failures.append(why)
        if as_json:
            for line in found.lines:
                emit({"pack": model.pack.digest, **line}, out)
            continue
        draw(suite_table(found.lines, f"What {model.pack.info.name} ({model.variant}) can do"))
        changed = gains_table(found.lines)
        if changed is not None:
            draw(changed)
    if failures:
        raise typer.Exit(3)  # the rest is done; each of them was said above


def _tests(words: str, shots: int | None, failures: list[str]) -> list[Asked]:
    """The tests to ask: of a user's file or folder, else of our groups; what cannot be had is said and left out."""
    from hedgerow.errors import HedgerowError
    from hedgerow.weighing.suite import prepare, prepare_own, wanted
    from hedgerow.weighing.suite.harness import missing

    why = missing()
    if why is not None:
        raise HedgerowError(why)
    if Path(words).exists():
        return prepare_own(Path(words), shots)
    tests = []
    with transfer_bar() as report:
        for group, name, count in wanted(words, shots):
            try:
                tests.append(prepare(group, name, count, report))
            except HedgerowError as e:
                say(f"{name}: {e}")
                failures.append(str(e))
    return tests


@contextmanager
def _told(quiet: bool) -> Iterator[Any]:
    """A progress bar that follows the test that is being asked."""
    from hedgerow.run import progress

    with progress("suite", None, quiet=quiet) as tick:
        yield lambda what, done, total: tick(1, what=f"{what} {done}/{total}")
