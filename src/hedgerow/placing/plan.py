"""place: which form of which Pack runs where, for every request, and why. The plan is what the policy would do if the
fleet were exactly as believed and nothing failed; ``simulate`` shows what becomes of it when it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.placing import question
from hedgerow.placing.dag import Demand
from hedgerow.placing.fleet import Fleet
from hedgerow.placing.measures import measures
from hedgerow.placing.policies import policy as policy_named
from hedgerow.placing.simulator import Run, run
from hedgerow.placing.view import REASONS, Believed, Placement
from hedgerow.placing.whatif import changed
from hedgerow.placing.world import AS_BELIEVED

FORMAT = 1


@dataclass(frozen=True)
class Explanation:
    """Why requests went where they went: plain values in ``data``, a text when printed."""

    data: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(self.data)

    def __str__(self) -> str:
        from hedgerow.placing.show import as_text, explanation_tables

        return as_text(explanation_tables(self.data))


@dataclass(frozen=True)
class Plan:
    """Where every job of every request goes. Built by :func:`place`."""

    policy: str
    demand: Demand
    known: Believed
    run: Run

    def explain(self, which: str = "all") -> Explanation:
        """Every candidate with each term of its score, or why it was refused, for one request id or ``"all"``."""
        ids = [r.id for r in self.demand.requests]
        if which != "all" and which not in ids:
            near = did_you_mean(which, ids) if len(ids) <= 1000 else ""
            raise HedgerowError(f"the plan has no request '{which}'{near}; ask for one of {ids[0]} … {ids[-1]}, or all")
        by_request: dict[str, list[dict[str, Any]]] = {i: [] for i in ids if which in ("all", i)}
        for at, placement in self.run.decisions:
            if placement.job.request in by_request and placement.replicas:
                by_request[placement.job.request].append(_explained(at, placement, self.known))
        homes = {r.id: r.home for r in self.demand.requests}
        rows = [{"request": i, "home": homes[i], "jobs": jobs} for i, jobs in by_request.items()]
        return Explanation({"format": FORMAT, "policy": self.policy, "requests": rows})

    def to_json(self, explain: str | None = None) -> dict[str, Any]:
        """The whole plan as plain values; with ``explain`` (a request id or "all") the reasons too."""
        fleet = self.known.fleet
        found: dict[str, Any] = {
            "format": FORMAT,
            "policy": self.policy,
            "fleet": {**fleet.to_json(), "slots": [int(s) for s in self.known.slots]},
            "menus": [m.to_json() for m in self.known.menus],
            "requests": len(self.demand.requests),
            "placements": self._placements(),
            "shares": shares(self.run, self.known),
            "expected": measures(self.run, self.demand, self.known),
            "assumptions": question.assumptions(self.known),
        }
        if explain is not None:
            found["explanation"] = self.explain(explain).to_json()
        return found

    def _placements(self) -> list[dict[str, Any]]:
        rows = []
        for done in self.run.done:
            form = self.known.forms[done.form]
            request, answered = self.demand.requests[done.request], self.run.answered_s[done.request]
            rows.append(
                {
                    "request": request.id,
                    "job": self.demand.app.jobs[done.job].name,
                    "home": request.home,
                    "device": self.known.fleet.names[done.device],
                    "pack": form.pack,
                    "name": form.name,
                    "variant": form.variant,
                    "start_s": done.start_s,
                    "end_s": done.end_s,
                    "answer_s": answered,
                    "assumed": self._assumed(done.job, done.device, done.form),
                }
            )
        return rows

    def _assumed(self, job: int, device: int, form: int) -> bool:
        c = self.known.candidates[self.demand.app.jobs[job].work]
        return bool(c.assumed[(c.device == device) & (c.form == form)].any())

    def __str__(self) -> str:
        from hedgerow.placing.show import as_text, plan_tables

        return as_text(plan_tables(self.to_json()))


def place(
    what: question.Asked,
    fleet: Fleet | str | Path,
    need: Sequence[str] | str = (),
    limit: Sequence[str] | str = (),
    policy: str = "earliest-finish",
    without: Sequence[str] = (),
    seed: int = 0,
    more: Sequence[str] = (),
    swap: Sequence[str] = (),
    **ask: Any,
) -> Plan:
    """Choose a form for every device and a device for every request.

    ``what`` is a Workload, rival Packs (objects or folders), an App, or an ``app.toml``; further keywords are those of
    :class:`hedgerow.placing.question.Ask`: requests, batch, every_ms, size, by, task, this, unit. On each device the
    form with the best score that meets every need and limit there is eligible, and no other. ``without`` unplugs
    devices, ``more`` (``edge2=edge``) adds some, ``swap`` (``laptop=edge``) exchanges hardware.

    Raises HedgerowError, with which constraint excludes what and by how much, when no device can do a job, and when
    the policy leaves a request without an answer: there is no partial plan.
    """
    asked = question.asking({"need": need, "limit": limit, **ask})
    home = question.opened(fleet)
    home = changed(home, more, swap)  # first, so that what is unplugged may lend its hardware
    home = home.without(without) if without else home
    chosen = policy_named(policy)
    demand = question.demand(what, home, asked)
    known = question.believed(demand.app, home, asked)
    found = run(demand, known, chosen, AS_BELIEVED, seed, record=True)
    if None in found.answered_s:
        raise HedgerowError(_unanswered(found, demand, known, policy))
    return Plan(policy, demand, known, found)


def shares(found: Run, known: Believed) -> list[dict[str, Any]]:
    """Jobs done and slot time taken by device and form, in the fleet's order; devices without any work included."""
    counts: dict[tuple[int, int], tuple[int, float]] = {}
    for done in found.done:
        jobs, seconds = counts.get((done.device, done.form), (0, 0.0))
        counts[done.device, done.form] = jobs + 1, seconds + done.end_s - done.start_s
    rows = []
    by_device: dict[int, list[tuple[int, tuple[int, float]]]] = {}
    for (device, form), count in sorted(counts.items()):
        by_device.setdefault(device, []).append((form, count))
    for d, name in enumerate(known.fleet.names):
        fixed = {"device": name, "tier": known.fleet.devices[d].tier}
        mine = by_device.get(d, [])
        rows += [fixed | {"form": known.forms[f].label, "jobs": jobs, "busy_s": seconds} for f, (jobs, seconds) in mine]
        if not mine:
            rows.append(fixed | {"form": "", "jobs": 0, "busy_s": 0.0})
    return rows


def _explained(at: float, placement: Placement, known: Believed) -> dict[str, Any]:
    score, job = placement.reason, placement.job
    candidates, names = known.candidates[job.work], known.fleet.names
    timed = score.unit == "s"
    rows = []
    for c, d in enumerate(candidates.device.tolist()):
        reason = REASONS[int(score.refused[c])].format(device=names[d], home=names[job.home])
        rows.append(
            {
                "device": names[d],
                "form": known.forms[int(candidates.form[c])].label,
                "chosen": c in placement.replicas,
                "terms_ms": {k: None if reason else float(v[c]) * 1e3 for k, v in score.terms.items()},
                "total_ms": float(score.total[c]) * 1e3 if timed and np.isfinite(score.total[c]) else None,
                "shares": {k: None if reason else float(v[c]) for k, v in score.shares.items()},
                "score": None if timed or not np.isfinite(score.total[c]) else float(score.total[c]),
                "assumed": bool(candidates.assumed[c]),
                "refused": reason,
            }
        )
    menu = known.menus[job.work]
    refused = [{"device": d.device, "why": d.binding} for d in menu.devices if d.chosen is None]
    return {
        "job": known.app.jobs[job.job].name,
        "at_s": at,
        "rule": score.rule,
        "tied": score.tied,
        "candidates": rows,
        "not_eligible": refused,
    }


def _unanswered(found: Run, demand: Demand, known: Believed, policy: str) -> str:
    """Which request is left without an answer, and why no candidate took its job."""
    late = [demand.requests[r].id for r, when in enumerate(found.answered_s) if when is None]
    for _, placement in reversed(found.decisions):
        if placement.job.request == late[0] and not placement.replicas:
            detail = _explained(0.0, placement, known)
            home = demand.requests[found.answered_s.index(None)].home
            why = {d["device"]: d["why"] for d in detail["not_eligible"]}
            why |= {c["device"]: c["refused"] for c in detail["candidates"] if c["refused"]}
            said = [f"{device}: {words}" for device, words in sorted(why.items(), key=lambda item: item[0] != home)]
            return (
                f"policy {policy} leaves {len(late)} of {len(demand.requests)} requests without an answer; "
                f"{late[0]} from {home}: {'; '.join(said[:3])}"
            )
    return (
        f"policy {policy} leaves {len(late)} of {len(demand.requests)} requests without an answer: {late[0]} waits on"
    )
