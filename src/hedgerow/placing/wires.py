"""The simulated links: bytes move hop by hop, wait for one another, and are lost with the devices that carry them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.placing.network import Network
from hedgerow.placing.physics import Clock, Log
from hedgerow.placing.world import Truth


@dataclass(eq=False)
class Transfer:
    """Bytes on their way from one device to another, hop by hop."""

    id: int
    nbytes: int
    source: int
    target: int
    links: Sequence[int]
    arrived: Callable[[Transfer], None]
    purpose: Any  # what the one who sent it remembers by it
    hop: int = 0
    flying: bool = False  # has left the current link's sender
    alive: bool = True


class Wires:
    """Every link sends one transfer at a time, in the order in which they came."""

    def __init__(
        self,
        network: Network,
        truth: Truth,
        clock: Clock,
        log: Log,
        is_up: Callable[[int], bool],
        seen: Callable[[int, int, float], None],
    ) -> None:
        self.network, self.clock, self.log = network, clock, log
        self.s_per_byte = network.s_per_byte * truth.rate
        self.queues: list[deque[Transfer]] = [deque() for _ in network.source]
        self.queued_bytes = np.zeros(len(network.source))
        self.moving: dict[int, Transfer] = {}
        self.bytes_moved = 0
        self.money = 0.0
        self._is_up = is_up
        self._seen = seen  # (link, bytes, seconds): a transfer over one link that was seen to end
        self._began: list[float] = [0.0 for _ in network.source]  # since when the head of each link is timed,
        self._left: list[float] = [0.0 for _ in network.source]  # and its bytes that were left then
        self._first: list[float] = [0.0 for _ in network.source]  # when its first byte left
        self._version = [0 for _ in network.source]

    def send(self, transfer: Transfer) -> int | None:
        """Begin a transfer; returns the dead device that makes it impossible, if there is one (nothing is sent)."""
        for link in transfer.links:
            for end in (int(self.network.source[link]), int(self.network.target[link])):
                if not self._is_up(end):
                    return end
        self.moving[transfer.id] = transfer
        self._enqueue(transfer)
        return None

    def _enqueue(self, transfer: Transfer) -> None:
        link = transfer.links[transfer.hop]
        transfer.flying = False
        self.queues[link].append(transfer)
        self.queued_bytes[link] += transfer.nbytes
        if len(self.queues[link]) == 1:
            self._begin(link)

    def _begin(self, link: int) -> None:
        head = self.queues[link][0]
        self._left[link], self._first[link] = float(head.nbytes), self.clock.now
        self._time(link, head)

    def _time(self, link: int, head: Transfer) -> None:
        self._began[link] = self.clock.now
        self._version[link] += 1
        rate = self.s_per_byte[link]
        if np.isfinite(rate):
            self.clock.at(self.clock.now + self._left[link] * rate, self._sent, link, head, self._version[link])

    def set_rate(self, link: int, s_per_byte: float) -> None:
        """The link's true rate changes; what is on it goes on at the new one. Infinite: it is cut."""
        queue = self.queues[link]
        if queue and np.isfinite(self.s_per_byte[link]):
            sent = (self.clock.now - self._began[link]) / self.s_per_byte[link]
            self._left[link] = max(0.0, self._left[link] - sent)
        self.s_per_byte[link] = s_per_byte
        if queue:
            self._time(link, queue[0])

    def _sent(self, link: int, transfer: Transfer, version: int) -> None:
        if not transfer.alive or version != self._version[link]:
            return
        self._seen(link, transfer.nbytes, self.clock.now - self._first[link])
        self._dequeue(link, transfer)
        transfer.flying = True
        self.bytes_moved += transfer.nbytes
        self.money += transfer.nbytes * self.network.price_per_byte[link]
        self.clock.at(self.clock.now + self.network.delay_s[link], self._hopped, transfer)

    def _dequeue(self, link: int, transfer: Transfer) -> None:
        first = self.queues[link][0] is transfer
        self.queues[link].remove(transfer)
        self.queued_bytes[link] -= transfer.nbytes
        if first and self.queues[link]:
            self._begin(link)

    def _hopped(self, transfer: Transfer) -> None:
        if not transfer.alive:
            return
        transfer.hop += 1
        if transfer.hop < len(transfer.links):
            self._enqueue(transfer)
            return
        del self.moving[transfer.id]
        transfer.alive = False
        transfer.arrived(transfer)

    def drop(self, transfer: Transfer) -> None:
        """Stop a transfer where it is."""
        if not transfer.alive:
            return
        transfer.alive = False
        self.moving.pop(transfer.id, None)
        if not transfer.flying and transfer.hop < len(transfer.links):
            self._dequeue(transfer.links[transfer.hop], transfer)

    def cut(self, device: int) -> list[Transfer]:
        """Drop every transfer that still needs ``device``; returns them in the order in which they began."""
        lost = []
        for transfer in self.moving.values():
            rest = transfer.links[transfer.hop :]
            needs = {int(self.network.target[link]) for link in rest}
            needs |= {int(self.network.source[link]) for link in (rest[1:] if transfer.flying else rest)}
            if device in needs:
                lost.append(transfer)
        for transfer in lost:
            self.drop(transfer)
        return lost
