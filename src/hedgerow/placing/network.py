"""Links as arrays, and the routes over them. Bytes go hop by hop: each hop first takes all of them, then sends on.

Time of b bytes over a route = Σ over its links of (b · 8 / rate + round trip / 2).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hedgerow.placing.fleet import Fleet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_USUAL_BYTES = 100_000  # routes are the fastest ones for a message of this size
_KEPT = 512  # routes kept for reuse; more than this and the memory is emptied


@dataclass(frozen=True)
class Routes:
    """Routes between one device and every other, [D] each; infinite ``delay_s`` where there is none."""

    s_per_byte: Floats
    delay_s: Floats
    price_per_byte: Floats
    hop: Ints  # the link nearest to the other device, -1 at the device itself and where there is none
    steps: tuple[tuple[Ints, Ints], ...]  # (devices, their neighbours towards this one), from near to far

    def seconds(self, nbytes: float) -> Floats:
        """[D] time of ``nbytes`` on idle links."""
        return self.s_per_byte * nbytes + self.delay_s

    def waiting(self, backlog_s: Floats) -> Floats:
        """[D] time that ``backlog_s`` [L] of queued traffic adds along each route."""
        total = np.zeros_like(self.delay_s)
        for devices, nearer in self.steps:
            total[devices] = total[nearer] + backlog_s[self.hop[devices]]
        return total


@dataclass(frozen=True)
class Network:
    """Directed links [L] between devices [D], as the fleet's file states them."""

    devices: int
    source: Ints
    target: Ints
    s_per_byte: Floats
    delay_s: Floats  # half a round trip
    price_per_byte: Floats
    _out: tuple[tuple[int, ...], ...]
    _in: tuple[tuple[int, ...], ...]
    _known: dict[tuple[int, bool, bytes], Routes] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(fleet: Fleet) -> Network:
        """The fleet's links, as stated."""
        index = {name: i for i, name in enumerate(fleet.names)}
        source = np.array([index[x.source_device] for x in fleet.links], np.int64)
        target = np.array([index[x.target_device] for x in fleet.links], np.int64)
        out: list[list[int]] = [[] for _ in fleet.devices]
        into: list[list[int]] = [[] for _ in fleet.devices]
        for i, (s, t) in enumerate(zip(source, target, strict=True)):
            out[s].append(i)
            into[t].append(i)
        return Network(
            len(fleet.devices),
            source,
            target,
            np.array([8 / (x.mbps * 1e6) for x in fleet.links]),
            np.array([x.rtt_ms / 2e3 for x in fleet.links]),
            np.array([x.price_per_gb / 1e9 for x in fleet.links]),
            tuple(map(tuple, out)),
            tuple(map(tuple, into)),
        )

    @cached_property
    def plain(self) -> tuple[list[float], list[float]]:
        """(``s_per_byte``, ``delay_s``) as Python's own numbers."""
        return self.s_per_byte.tolist(), self.delay_s.tolist()

    @cached_property
    def _relays(self) -> Bools:
        """[D] devices that lie between two others: only their absence changes a route."""
        found = np.zeros(self.devices, bool)
        for d in range(self.devices):
            before = {int(self.source[x]) for x in self._in[d]}
            after = {int(self.target[x]) for x in self._out[d]}
            found[d] = any(a != b for a in before for b in sorted(after)[:2])
        return found

    def believing(self, s_per_byte: Floats) -> Network:
        """The same links with other rates."""
        return replace(self, s_per_byte=s_per_byte, _known={})

    def routes(self, device: int, up: Bools, back: bool = False) -> Routes:
        """Fastest routes from ``device`` to all (``back``: from all to it), relayed only by devices that are up."""
        key = (device, back, (up & self._relays).tobytes())  # who lies at the end of a route is reached, up or down
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = self._search(device, up, back)
        return self._known[key]

    def path(self, source: int, target: int, up: Bools) -> list[int] | None:
        """Links of the fastest route from ``source`` to ``target``; [] on one device, None when there is none."""
        if source == target:
            return []
        routes = self.routes(source, up)
        if not np.isfinite(routes.delay_s[target]):
            return None
        links: list[int] = []
        while target != source:
            links.append(int(routes.hop[target]))
            target = int(self.source[links[-1]])
        return links[::-1]

    def _search(self, device: int, up: Bools, back: bool) -> Routes:
        """Dijkstra 1959 on the time of a usual message; equal times go to the lower link number."""
        edges, far = (self._in, self.source) if back else (self._out, self.target)
        weight = self.delay_s + self.s_per_byte * _USUAL_BYTES
        best = np.full(self.devices, np.inf)
        hop = np.full(self.devices, -1, np.int64)
        depth = np.zeros(self.devices, np.int64)
        near = np.full(self.devices, -1, np.int64)
        sums = np.zeros((3, self.devices))
        best[device] = 0.0
        done = np.zeros(self.devices, bool)
        heap = [(0.0, device)]
        while heap:
            _, at = heapq.heappop(heap)
            if done[at]:
                continue
            done[at] = True
            if at != device and not up[at]:
                continue
            for link in edges[at]:
                to = int(far[link])
                if best[at] + weight[link] < best[to]:
                    best[to] = best[at] + weight[link]
                    hop[to], near[to], depth[to] = link, at, depth[at] + 1
                    step = (self.s_per_byte[link], self.delay_s[link], self.price_per_byte[link])
                    sums[:, to] = sums[:, at] + step
                    heapq.heappush(heap, (float(best[to]), to))
        sums[1, ~np.isfinite(best)] = np.inf
        order = [np.flatnonzero((depth == n) & (hop >= 0)) for n in range(1, int(depth.max()) + 1)]
        return Routes(sums[0], sums[1], sums[2], hop, tuple((d, near[d]) for d in order))
