"""Ctrl-C for work that saves before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts(noted: bool = True) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed: for work that ends its step and saves before it stops.

    The first press is only noted, a second one raises KeyboardInterrupt as ever. With ``noted`` false, and outside the
    main thread, where there are no signals, nothing is changed.
    """
    if not noted or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
