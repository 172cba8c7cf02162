"""Routes: against a second search, one-way links, relays that are down, traffic that waits."""

from __future__ import annotations

import itertools
from typing import Any

import fabricated as f
import numpy as np
import pytest

from hedgerow.placing.network import Network


def network(links: list[dict[str, Any]], names: str = "abcd") -> Network:
    """Every device is a home, so that none has to be reachable."""
    return Network.of(f.fleet([f.device(n) for n in names], links, home=list(names)))


def test_a_route_sums_its_hops() -> None:
    net = network([f.link("a", "b", mbps=8, rtt_ms=10), f.link("b", "c", mbps=4, rtt_ms=20, price_per_gb=2.0)])
    up = np.ones(4, bool)
    there = net.routes(0, up)
    assert there.seconds(1_000_000)[2] == pytest.approx(1.0 + 0.005 + 2.0 + 0.010)
    assert there.price_per_byte[2] == pytest.approx(2e-9)
    assert there.seconds(0)[0] == 0.0
    assert not np.isfinite(there.seconds(1)[3])
    assert net.path(0, 2, up) is not None and len(net.path(0, 2, up)) == 2  # type: ignore[arg-type]
    assert net.path(0, 0, up) == []
    assert net.path(0, 3, up) is None


def test_one_way_links_lead_one_way() -> None:
    net = network([f.link("a", "b", both=False)])
    up = np.ones(4, bool)
    assert np.isfinite(net.routes(0, up).delay_s[1])
    assert not np.isfinite(net.routes(1, up).delay_s[0])
    assert np.isfinite(net.routes(1, up, back=True).delay_s[0])
    assert not np.isfinite(net.routes(0, up, back=True).delay_s[1])


def test_a_relay_that_is_down_relays_nothing() -> None:
    net = network([f.link("a", "b"), f.link("b", "c"), f.link("a", "c", mbps=0.08)])
    up = np.ones(4, bool)
    assert len(net.path(0, 2, up) or []) == 2
    up[1] = False
    assert len(net.path(0, 2, up) or []) == 1


def test_waiting_traffic_counts_on_every_hop() -> None:
    net = network([f.link("a", "b"), f.link("b", "c")])
    up = np.ones(4, bool)
    backlog = np.arange(1.0, len(net.source) + 1)
    path = net.path(0, 2, up)
    assert path is not None
    assert net.routes(0, up).waiting(backlog)[2] == pytest.approx(backlog[path].sum())


def test_routes_are_the_best_of_all_paths() -> None:
    rng = np.random.default_rng(0)
    names = "abcde"
    for _ in range(30):
        pairs = [p for p in itertools.permutations(names, 2) if rng.random() < 0.4]
        links = [
            f.link(s, t, mbps=float(rng.uniform(1, 50)), rtt_ms=float(rng.uniform(0, 50)), both=False) for s, t in pairs
        ]
        net, up = network(links, names), np.ones(5, bool)
        weight = {
            (int(s), int(t)): net.delay_s[i] + 1e5 * net.s_per_byte[i]
            for i, (s, t) in enumerate(zip(net.source, net.target))
        }
        for source, target in itertools.permutations(range(5), 2):
            costs = []
            others = [n for n in range(5) if n not in (source, target)]
            for n in range(4):
                for middle in itertools.permutations(others, n):
                    hops = list(itertools.pairwise((source, *middle, target)))
                    if all(h in weight for h in hops):
                        costs.append(sum(weight[h] for h in hops))
            for found in (
                net.routes(source, up).seconds(1e5)[target],
                net.routes(target, up, back=True).seconds(1e5)[source],
            ):
                assert found == pytest.approx(min(costs, default=np.inf))
