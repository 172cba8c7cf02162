"""Starting the measuring process, reading its events, and saying in one line how it ended when it ended badly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from hedgerow.errors import HedgerowError
from hedgerow.weighing.timing import Order

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def environment(threads: int) -> dict[str, str]:
    """The environment of a measuring process: each library's pool is set before it is imported, no threads beside."""
    return {**os.environ, **dict.fromkeys(_POOLS, str(threads)), "TOKENIZERS_PARALLELISM": "false"}


def events(order: Mapping[str, Any], module: str = "hedgerow.weighing.child") -> Iterator[dict[str, Any]]:
    """Events of one measuring process for an :class:`Order` (``spawned`` is filled in here).

    The process has a session of its own, so that Ctrl-C reaches only us; when the caller stops reading it is killed, so
    it never outlives the loop. Raises HedgerowError when it says so or ends badly.
    """
    who = f"{order['pack']} as '{order['variant']}'"
    env = environment(order["threads"])
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr:
        line = json.dumps(Order.model_validate({**order, "spawned": time.monotonic()}).model_dump())
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            env=env,
            start_new_session=True,
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                pass  # it is gone already; its exit code and last line say why
            for answer in process.stdout:
                event = json.loads(answer)
                if event["event"] == "error":
                    raise HedgerowError(f"{who} could not be weighed: {event['message']}")
                yield event
            code = process.wait()
            if code:
                stderr.seek(0)
                raise HedgerowError(f"{who} could not be weighed: {_ended(code, stderr.read())}")
        finally:
            process.kill()
            process.communicate()


def _ended(code: int, stderr: str) -> str:
    if code == -9:
        return "its process was killed, as happens when memory runs out"
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    lines = stderr.strip().splitlines()
    return f"its process ended {how}" + (f" ({lines[-1].strip()[:300]})" if lines else "")
