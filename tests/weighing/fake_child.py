"""The real measuring process with a fake kind in it, which misbehaves as FAKE_CHILD says."""

from __future__ import annotations

import os
import signal
import sys
import time

import fakes
import pytest

from hedgerow.weighing import child

HOW = os.environ.get("FAKE_CHILD", "")


class Engine(fakes.FakeEngine):
    def predict(self, inputs, options):  # type: ignore[no-untyped-def]
        return []


def load(self, pack, variant, threads):  # type: ignore[no-untyped-def]
    print("a library that prints on stdout")
    os.write(1, b"and one that writes to the descriptor\n")
    if HOW == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if HOW == "memory":
        raise MemoryError
    if HOW == "exit":
        print("the last words", file=sys.stderr)
        os._exit(3)
    if HOW == "big":
        self.block = bytearray(os.urandom(1)) * (80 << 20)
    wait = (lambda phase, units: time.sleep(3600)) if HOW == "hang" else (lambda phase, units: None)
    return fakes.FakeEngine(variant, wait, {"library": "fake", "omp": os.environ.get("OMP_NUM_THREADS", "")})


if __name__ == "__main__":
    fakes.FakeKind.load = load  # type: ignore[method-assign]
    fakes.install(pytest.MonkeyPatch())
    child.main()
