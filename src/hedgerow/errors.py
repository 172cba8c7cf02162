"""The one exception that people see, and the suggestion that goes with it."""

from __future__ import annotations

from collections.abc import Iterable


class HedgerowError(Exception):
    """One clear line for a person: what was wrong and what to do about it.

    The command line prints ``str(error)`` and nothing else, so the text never holds a traceback, and names the file,
    line or key that it speaks of. It may quote a stranger's file: line breaks and control characters become spaces.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__("".join(c if c.isprintable() else " " for c in message))


_FEW = 40  # options; hundreds of codes are no help, and no line that a person reads


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the option nearest to ``word``, else the options if they are few, else nothing."""
    from rapidfuzz import process
    from rapidfuzz.distance import JaroWinkler  # made for slips of the pen: 'modle' is 'model', 'lr' is not 'model'

    names = sorted(options)
    best = process.extractOne(word, names, scorer=JaroWinkler.similarity, processor=str.lower, score_cutoff=0.8)
    if best is not None:
        return f" (did you mean '{best[0]}'?)"
    return f" (one of: {', '.join(names)})" if 0 < len(names) <= _FEW else ""
