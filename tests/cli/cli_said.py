"""What a command did, and how a test looks at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Said:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """stdout as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    def failed(self, *words: str, code: int = 1) -> None:
        """Assert that it ended with that code, one line on stderr that holds ``words``, and nothing on stdout."""
        assert self.code == code, self
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("hedgerow: "), self
        assert all(word in lines[0] for word in words), self
        assert self.out == "", self


Run = Callable[..., Said]
