"""What a planner comes to believe of links, of co-running and of survival, from what it is told and nothing else.

Three estimators, each with a frozen form that policies see in their view (:class:`Beliefs`):

- **links**: exponential average and 10 % quantile of the rates at which whole transfers passed a directed link, each
  with its age. Free: nothing is sent for it. The control ``ping`` is what IBDASH does: 1024 bytes over half a round
  trip, which is latency and says nothing of the rate.
- **co-running**: seconds that a job of type t takes longer per job of type u beside it: ridge regression per device
  and type, drawn towards the prior where nothing was seen.
- **survival**: deaths per second of being up: Gamma prior from the fleet's file, or Kaplan and Meier 1958.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from hedgerow.placing.network import Floats, Network
from hedgerow.placing.view import Beliefs, Believed
from hedgerow.schema import Record

PING_BYTES = 1024
_REROUTE = 0.05  # a believed rate must change by this share before routes are searched anew
_QUANTILE = 0.1


class Planner(Record):
    """What the planner learns from. Nothing of it is truth; each choice is an ablation."""

    links: Literal["stated", "passive", "ping"] = "stated"
    interference: Literal["none", "prior", "learnt"] = "none"
    survival: Literal["stated", "gamma", "kaplan-meier"] = "stated"
    prior_share: float = Field(default=0.4, ge=0)  # of its time alone that a job takes longer for each beside it
    ridge: float = Field(default=1.0, gt=0)  # observations that the prior of co-running counts for
    memory: float = Field(default=0.3, gt=0, le=1)  # weight of the newest transfer in a link's average
    prior_lives: float = Field(default=1.0, gt=0)  # lives that the stated mean time up counts for


class LinkBelief:
    """Rates of one directed link as whole transfers showed them."""

    def __init__(self, s_per_byte: float, memory: float) -> None:
        self.s_per_byte, self.seen_at, self.count = s_per_byte, -np.inf, 0
        self._memory = memory
        self._recent: list[float] = []

    def saw(self, nbytes: int, seconds: float, now: float) -> None:
        """A transfer ended. The first replaces what the file states, later ones are averaged in."""
        if nbytes <= 0 or seconds <= 0:
            return
        rate = seconds / nbytes
        weight = 1.0 if self.count == 0 else self._memory
        self.s_per_byte += weight * (rate - self.s_per_byte)
        self.seen_at, self.count = now, self.count + 1
        self._recent = [*self._recent[-31:], rate]

    @property
    def slow(self) -> float:
        """Seconds per byte of the slow tenth of the last 32 transfers: the 10 % quantile of the rate."""
        return float(np.quantile(self._recent, 1 - _QUANTILE)) if self._recent else self.s_per_byte


def ridge(prior: Floats, beside: Floats, excess: Floats, strength: float) -> Floats:
    """[T] slopes m >= 0 that minimise |excess - beside·m|² + strength·|m - prior|² (before the clipping at 0).

    ``beside`` [n, T] mean number of running jobs of each type, ``excess`` [n] seconds more than alone.
    """
    gram = beside.T @ beside + strength * np.eye(len(prior))
    return np.asarray(np.maximum(np.linalg.solve(gram, beside.T @ excess + strength * prior), 0.0))


def kaplan_meier(lives: Sequence[tuple[float, bool]], at: float) -> float:
    """Share of lives that last longer than ``at``; ``lives`` are (length, whether it ended in death)."""
    share = 1.0
    for moment in sorted({t for t, died in lives if died and t <= at}):
        risk = sum(t >= moment for t, _ in lives)
        share *= 1 - sum(t == moment and died for t, died in lives) / risk
    return share


class Learner:
    """The estimators of a whole fleet. A driver tells it what was seen; :meth:`beliefs` is what policies get."""

    def __init__(self, known: Believed, planner: Planner) -> None:
        self.known, self.planner = known, planner
        self.network: Network = known.network
        network = known.network
        self.links = [LinkBelief(float(s), planner.memory) for s in network.s_per_byte]
        count, types = len(known.fleet.devices), len(known.app.works)
        solo = np.full((count, types), np.nan)
        for t, c in enumerate(known.candidates):
            solo[c.device, t] = c.run_s
        self.solo = np.nan_to_num(solo, nan=0.0)
        share = 0.0 if planner.interference == "none" else planner.prior_share
        self._prior = np.repeat(share * self.solo[:, :, None], types, axis=2)
        self._slope = self._prior.copy()
        self._gram = np.zeros((count, types, types, types))
        self._moment = np.zeros((count, types, types))
        stated = [d.failure.mean_up_s if d.failure is not None else np.inf for d in known.fleet.devices]
        self._mean_up = np.array(stated)
        self._deaths, self._up_s, self._since = np.zeros(count), np.zeros(count), np.zeros(count)
        self._down = np.zeros(count, bool)
        self._lives: list[list[tuple[float, bool]]] = [[] for _ in range(count)]
        if planner.links == "ping":
            seconds = network.delay_s + PING_BYTES * network.s_per_byte
            self.network = network.believing(seconds / PING_BYTES)
        self._frozen: Beliefs | None = None

    def transferred(self, link: int, nbytes: int, seconds: float, now: float) -> None:
        """A transfer passed ``link``; ``seconds`` from its first byte to its last."""
        if self.planner.links != "passive":
            return
        belief = self.links[link]
        belief.saw(nbytes, seconds, now)
        self._frozen = None
        old = float(self.network.s_per_byte[link])
        if abs(belief.s_per_byte - old) > _REROUTE * old:
            rates = self.network.s_per_byte.copy()
            rates[link] = belief.s_per_byte
            self.network = self.network.believing(rates)

    def ran(self, device: int, work: int, took_s: float, beside: Floats) -> None:
        """A job ended; ``beside`` [T] is the mean number of jobs of each type that ran with it."""
        if self.planner.interference != "learnt":
            return
        excess = took_s - self.solo[device, work]
        self._gram[device, work] += np.outer(beside, beside)
        self._moment[device, work] += beside * excess
        gram = self._gram[device, work] + self.planner.ridge * np.eye(len(beside))
        wanted = self._moment[device, work] + self.planner.ridge * self._prior[device, work]
        self._slope[device, work] = np.maximum(np.linalg.solve(gram, wanted), 0.0)
        self._frozen = None

    def left(self, device: int, now: float) -> None:
        """A device died."""
        if not self._down[device]:
            self._deaths[device] += 1
            self._up_s[device] += now - self._since[device]
            self._lives[device].append((now - self._since[device], True))
            self._down[device], self._since[device] = True, now

    def joined(self, device: int, now: float) -> None:
        """A device is up again."""
        self._down[device], self._since[device] = False, now

    def _rates(self, now: float) -> Floats:
        """[D] believed deaths per second of being up."""
        with np.errstate(divide="ignore"):
            stated = np.where(np.isfinite(self._mean_up), 1.0 / self._mean_up, 0.0)
        if self.planner.survival == "stated":
            return stated
        up = self._up_s + np.where(self._down, 0.0, now - self._since)
        if self.planner.survival == "gamma":  # mean of the posterior; who states no rate is judged by what was seen
            a = np.where(np.isfinite(self._mean_up), self.planner.prior_lives, 0.0)
            b = np.where(np.isfinite(self._mean_up), self.planner.prior_lives * self._mean_up, 0.0)
            return np.divide(a + self._deaths, b + up, out=np.zeros_like(up), where=b + up > 0)
        found = stated.copy()
        for d, lives in enumerate(self._lives):
            age = 0.0 if self._down[d] else float(now - self._since[d])
            if lives:
                found[d] = hazard([*lives, (age, False)], age)
        return found

    def beliefs(self, now: float) -> Beliefs:
        """What is believed at ``now``; the same object as before when nothing has changed."""
        if self._frozen is None or self.planner.survival != "stated":
            found = Beliefs(
                self._rates(now),
                self._slope.copy(),
                self.solo,
                np.array([b.slow for b in self.links]) if self.planner.links == "passive" else self.network.s_per_byte,
                np.array([b.seen_at for b in self.links]),
            )
            for array in vars(found).values():
                array.flags.writeable = False
            self._frozen = found
        return self._frozen


def hazard(lives: Sequence[tuple[float, bool]], age: float) -> float:
    """Deaths per second in the next mean life, given ``age``: -ln(S(age + s) / S(age)) / s with Kaplan and Meier's S.

    Where the curve says nothing beyond ``age``, deaths over time at risk stand in for it.
    """
    deaths = sum(died for _, died in lives)
    total = sum(t for t, _ in lives)
    if not deaths or total <= 0:
        return 0.0
    span = total / deaths
    now, later = kaplan_meier(lives, age), kaplan_meier(lives, age + span)
    return float(-np.log(later / now) / span) if 0 < later < now else deaths / total


def probe_matters(network: Network, low: Floats, high: Floats, link: int, score: Sequence[float], share: float) -> bool:
    """Whether measuring ``link`` could change a decision: the best and the second score differ by less than what the
    link's rate, anywhere between its ``low`` and ``high`` [L] seconds per byte, may move one of them.

    ``score`` are times of the candidates whose route uses the link or not; ``share`` is the part of the best one that
    is spent on this link at the believed rate.
    """
    ranked = sorted(s for s in score if np.isfinite(s))
    if len(ranked) < 2:
        return False
    spread = max(high[link] / network.s_per_byte[link] - 1, 1 - low[link] / network.s_per_byte[link])
    return bool(ranked[1] - ranked[0] <= share * ranked[0] * spread)


def ageing(beliefs: Beliefs, now: float) -> Floats:
    """[L] seconds since each link was last seen to carry anything; infinite: never."""
    return now - beliefs.seen_at
