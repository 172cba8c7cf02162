"""What a model answered, one JSON line an answer, written as it comes; an interrupted test is taken up inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.errors import HedgerowError

Answer = dict[str, Any]
Arguments = tuple[Any, ...]


class Journal:
    """The answers of one test by one model: ``answers.jsonl`` of its run folder.

    Requests are asked in blocks of fixed places. A block that was cut off is asked again whole and must not differ in
    what was kept: the numbers of a batch depend on what stands beside them in the last digits, so only this makes an
    interrupted test equal, bit for bit, to one that ran through.
    """

    def __init__(self, folder: Path, block: int = 32) -> None:
        if block < 1:
            raise HedgerowError(f"a block of requests must hold one or more (got {block})")
        self._path, self._block = folder / "answers.jsonl", block
        self._known: dict[tuple[str, int], Answer] = {}
        for row in files.read_jsonl(self._path):
            self._known.setdefault((str(row["kind"]), int(row["place"])), row)

    @property
    def kept(self) -> int:
        """Answers that are there already."""
        return len(self._known)

    def all(self, kind: str) -> list[Answer]:
        """Every answer of one kind, in order of the requests."""
        return [row for (k, _), row in sorted(self._known.items()) if k == kind]

    def answers(
        self,
        kind: str,
        requests: Sequence[Arguments],
        names: Sequence[Mapping[str, Any]],
        ask: Callable[[Sequence[Arguments], int], Sequence[Answer]],
        tell: Callable[[int, int], None],
    ) -> list[Answer]:
        """One answer a request, in order.

        ``ask(requests, number of the block)`` is called for what is not there yet; ``names`` says of each request which
        question it belongs to; ``tell(done, all)``. Raises HedgerowError when the folder belongs to another test.
        """
        digests = [files.digest([kind, *request])[:16] for request in requests]
        for place, digest in enumerate(digests):
            held = self._known.get((kind, place))
            if held is not None and held["request"] != digest:
                raise HedgerowError(f"{self._path} holds answers to other questions; remove its folder and run again")
        for number, start in enumerate(range(0, len(requests), self._block)):
            places = range(start, min(start + self._block, len(requests)))
            if any((kind, place) not in self._known for place in places):
                found = ask([requests[place] for place in places], number)
                for place, answer in zip(places, found, strict=True):
                    if (kind, place) not in self._known:
                        head = {"kind": kind, "place": place, "request": digests[place], **names[place]}
                        self._known[kind, place] = {**head, **answer}
                        files.append_jsonl(self._path, self._known[kind, place])
            tell(places.stop, len(requests))
        return [self._known[kind, place] for place in range(len(requests))]
