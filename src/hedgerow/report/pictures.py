"""Pictures in ``docs/``, drawn from ``results/`` alone: part of ``make results``.

Those of the tour are drawn from ``results/tour/tour.json``; a system whose summary holds results with the config
``{what = "coverage"}`` gets ``docs/<system>-coverage.svg``, one panel a result. A picture states the digest of the JSON
that it was drawn from, so that whether it is up to date can be told without drawing it (two builds of a drawing library
seldom give the same bytes).
"""

from __future__ import annotations

import re
from pathlib import Path

from hedgerow import files
from hedgerow.report import plots
from hedgerow.report.look import colour_of
from hedgerow.run import load_results

SOURCE = "results/tour/tour.json"


def make_pictures(root: Path, *, check_only: bool = False) -> list[Path]:
    """Draw what is out of date; returns the files that changed (with ``check_only``: would change).

    Where no tour is kept and no summary holds a curve there is nothing to draw.
    """
    return _tour(root, check_only) + _coverage(root, check_only)


def _tour(root: Path, check_only: bool) -> list[Path]:
    source = root / SOURCE
    if not source.is_file():
        return []
    digest = files.sha256(source)
    stale = [p for p in (root / "docs" / f"tour-{name}.svg" for name in NAMES) if _stated(p) != digest]
    if stale and not check_only:
        tour = files.read_json(source)
        drawn = _drawn(tour)
        for path in stale:
            name = path.stem.removeprefix("tour-")
            files.write_text(path, _alone(drawn[name], SOURCE, digest))
    return stale


def _coverage(root: Path, check_only: bool) -> list[Path]:
    """One picture a system: accuracy of what is answered against the share that is."""
    stale = []
    for folder in sorted((root / "results").glob("*/summary")):
        system = folder.parent.name
        panels = [r for r in load_results(root / "results", system, "summary") if r.config.get("what") == "coverage"]
        panels.sort(key=lambda r: r.metrics["place"])
        path, digest = root / "docs" / f"{system}-coverage.svg", files.digest([r.metrics for r in panels])
        if panels and _stated(path) != digest:
            stale.append(path)
            if not check_only:
                drawn = plots.coverage([r.metrics for r in panels], "wide")
                files.write_text(path, _alone(drawn, f"results/{system}/summary", digest))
    return stale


NAMES = ("cost", "where", "unplugged", "policies")


def _drawn(tour: plots.Json) -> dict[str, str]:
    colours = colour_of([p["name"] for p in tour["packs"]])
    devices = [d["name"] for d in tour["plan"]["fleet"]["devices"]]
    lines = [(r["label"], tour["pulled"]["timelines"][r["label"]]) for r in tour["pulled"]["rows"]]
    x, y = tour["compared"]["x"]["name"], tour["compared"]["y"]["name"]
    measures = ("latency_p95_ms", "latency_mean_ms", "value", "wasted_s")
    return {
        "cost": plots.tradeoff(tour["compared"]["groups"][0], x, y, "wide"),
        "where": plots.placement(tour["plan"], colours, "wide"),
        "unplugged": plots.timeline(lines, devices, colours, "wide"),
        "policies": plots.policies(tour["outcome"], measures, "wide"),
    }


def _alone(svg: str, source: str, digest: str) -> str:
    """A file of its own: on white, since a page around it may be dark, and with what it was drawn from."""
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    text = re.sub(r"(<svg[^>]*>)", lambda m: f"{m[1]}\n {ground}", svg, count=1)
    return f"<!-- drawn from {source}, sha256 {digest} -->\n{text}"


def _stated(path: Path) -> str:
    found = (
        re.match(r"<!-- drawn from \S+ sha256 ([0-9a-f]{64}) -->", path.read_text("utf-8")) if path.is_file() else None
    )
    return found[1] if found else ""
