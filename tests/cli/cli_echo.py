"""A kind of Pack that is small enough to test the command line with: it answers with the first word of a text.

``python cli_echo.py …`` is the whole command line with this kind in its table, for tests that need their own process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError
from hedgerow.kinds import KINDS
from hedgerow.kinds.base import Flops, Phase, Size, Unit
from hedgerow.pack import Info, Pack, Source, create


class Engine:
    runtime = {"numpy": "1"}
    weights_bytes = 2

    def predict(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        if options["top"] < 1:
            raise HedgerowError(f"top must be 1 or more, not {options['top']}")
        time.sleep(options["sleep"] * len(inputs))
        if "boom" in inputs:
            raise HedgerowError("the text is boom")
        why = {"why": "because " * options["why"]} if options["why"] else {}
        words = [t.split() for t in inputs]
        return [{"id": "", "code": w[0].upper(), "p": 1 / len(w), "words": w, **why} for w in words]

    def phases(self, inputs: Sequence[Any], size: Size) -> list[Phase]:
        return []

    def flops(self, phase: str, size: Size, batch: int) -> Flops | None:
        return None


class Echo:
    name = "echo"
    summary = "says the first word"
    unit = Unit("text", ({"words": 4},), lambda size, seed: "a b c d", lambda size: 8, lambda size: 8)
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["id", "code", "p", "words"],
        "properties": {"id": {"type": "string"}, "code": {"type": "string"}, "p": {"type": "number"}},
    }
    options = {"top": 1, "sleep": 0.0, "name": "", "why": 0}
    explains: dict[str, Any] = {}
    needs = ("text",)
    columns = ("code", "p", "words")
    metrics = ("accuracy",)

    def read(self, row: Mapping[str, Any], base: Path) -> Any:
        if not row["text"].strip():
            raise HedgerowError("the text is empty")
        return row["text"]

    def cells(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {c: answer[c] for c in self.columns}

    def line(self, answer: Mapping[str, Any]) -> str:
        return f"{answer['code']} ({answer['p']:.2f})"

    def check(self, pack: Pack) -> None:
        pack.json("echo.json")

    def variants(self, pack: Pack) -> tuple[str, ...]:
        return ("numpy", *pack.variants)

    def disk_bytes(self, pack: Pack, variant: str) -> int:
        return pack.bytes

    def load(self, pack: Pack, variant: str, threads: int) -> Engine:
        return Engine()

    def export(self, pack: Pack, to: str) -> Pack:
        raise HedgerowError(f"an echo has no form '{to}'")


KIND = Echo()


def save(path: Path, trunk: Pack | None = None, **info: Any) -> Path:
    """A Pack of this kind at ``path``."""
    data = (Source(name="words", licence="MIT", rows=3), Source(name="books", licence="closed", shareable=False))
    fields: dict[str, Any] = {"name": "echo", "kind": "echo", "data": data, "shareable": False, "summary": "an echo"}
    with create(path, Info(**{**fields, **info}), trunk=trunk) as folder:
        files.write_json(folder / "echo.json", {})
    return path


if __name__ == "__main__":
    from hedgerow.cli import main
    from hedgerow.systems import SYSTEMS

    KINDS["echo"] = "cli_echo"
    SYSTEMS["isic"] = "cli_recipe"
    sys.modules["cli_echo"] = sys.modules["__main__"]
    sys.exit(main())
