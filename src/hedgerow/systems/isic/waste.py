"""The second half of isic: records to a recommender Pack. The recipe calls it when ``exchange`` is set."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from hedgerow import files
from hedgerow.data import fetch
from hedgerow.errors import HedgerowError
from hedgerow.kinds.recommender_source import Kept
from hedgerow.pack import Info, Pack, Source, open_pack
from hedgerow.records import Exchange, open_store
from hedgerow.records.exchange import isic_text
from hedgerow.run import Run, progress
from hedgerow.schema import Record
from hedgerow.systems.isic.waste_seeds import Row, seeds

TOY = Path(__file__).with_name("waste_toy.csv")
TOY_SOURCE, TOY_LICENCE = "hedgerow's invented exchanges", "CC0-1.0"
_FIELDS = tuple(Exchange.model_fields)


class Exchanges(Record):
    """What a recommender is built of."""

    classifier: str = Field(default="", description="Pack that tells what a donor is; '' builds preset tiny first")
    records: str = Field(default="", description="URL or file of a store whose records go in; '' = none")
    seeds: bool = Field(default=True, description="ecoinvent's linkages, read on your machine (not shareable)")
    toy: bool = Field(default=False, description="the shipped invented exchanges")
    a: float | None = Field(default=None, ge=0, le=1, description="weight of the donor's class; none: chosen on dev")


def gather(config: Exchanges) -> tuple[list[Row], list[Source], list[tuple[str, int, int]]]:
    """(rows, what they come from, counts of each filter)."""
    rows: list[Row] = []
    data: list[Source] = []
    counts: list[tuple[str, int, int]] = []
    if config.seeds:
        found, counted = seeds()
        rows += found
        data.append(fetch.source("ecoinvent-names").provenance(len(found)))
        counts += [(c.what, c.before, c.after) for c in counted]
    if config.toy:
        found = toy()
        rows += found
        data.append(Source(name=TOY_SOURCE, licence=TOY_LICENCE, rows=len(found), attribution="invented for examples"))
    if config.records:
        found = stored(config.records)
        rows += found
        data += _sources_of(found)
    known: dict[str, Row] = {row[0].digest: row for row in rows}
    counts.append(("the same record twice", len(rows), len(known)))
    if not any(r[2].isic for r in known.values()):
        raise HedgerowError("no record has a receiver class: set seeds=true, toy=true, or records=URL of a store")
    return list(known.values()), data, counts


def toy() -> list[Row]:
    """The shipped invented exchanges, coded through their NACE codes."""
    from hedgerow.systems.isic.waste_import import About, read_all

    about = About(kind="user", source=TOY_SOURCE, licence=TOY_LICENCE, shareable=True)
    return [(j.exchange, j.donor, j.receiver) for j in read_all(TOY, about) if j.exchange is not None]


def stored(where: str) -> list[Row]:
    """Every record of a store with the coding that counts now."""
    with open_store(where, create=False) as store:
        return [from_row(row) for row in store.rows()]


def from_row(row: dict[str, Any]) -> Row:
    """A row of the store's table as a record and its codings (how they were found stays in the store's history)."""
    from hedgerow.records import Coding
    from hedgerow.records.exchange import isic_shares

    lists = {k: tuple(c for c in row[k].split(";") if c) for k in ("donor_codes", "receiver_codes")}
    item = Exchange.model_validate({**{k: row[k] for k in _FIELDS if k in row}, **lists})
    codings = []
    for side in ("donor", "receiver"):
        shares = isic_shares(row[f"{side}_isic"])
        codings.append(Coding(isic=shares, how="given") if shares else Coding())
    return item, codings[0], codings[1]


def _sources_of(rows: Iterable[Row]) -> list[Source]:
    found: dict[tuple[str, str, bool], int] = {}
    for item, _, _ in rows:
        key = (item.source, item.licence, item.shareable)
        found[key] = found.get(key, 0) + 1
    return [Source(name=s, licence=li, shareable=sh, rows=n) for (s, li, sh), n in sorted(found.items())]


def keep(rows: Iterable[Row]) -> list[Kept]:
    """Records as a Pack keeps them."""
    return [Kept(digest=x.digest, exchange=x, donor=isic_text(d), receiver=isic_text(r)) for x, d, r in rows]


def recommender(config: Exchanges, out: Path, run: Run, settings: dict[str, Any]) -> Pack:
    """Gather records, choose a on dev wastes, score a twin that holds no record of a test waste, save it whole.

    ``settings`` is the whole config of the recipe, for the Pack's own record of it.
    """
    from hedgerow.kinds.recommender import save_recommender
    from hedgerow.systems.isic.waste_task import WasteTask, choose_a
    from hedgerow.weighing.scores import score

    with progress("isic: exchanges", 4, run.quiet) as tick:
        classifier = _classifier(config, run)
        tick(1, now="classifier")
        rows, data, counts = gather(config)
        for what, before, after in counts:
            run.event("filter", what=what, before=before, after=after)
            if not run.quiet:
                print(f"  {what}: {before:,} -> {after:,}", file=sys.stderr)
        tick(1, now="records")
        task = WasteTask(rows, run.seed)
        a = config.a if config.a is not None else choose_a(task)
        data = [*classifier.info.data, *data]
        info = Info(
            name=out.name, kind="recommender", system="isic", preset=str(run.config.get("preset", "")),
            summary=f"takers of a waste, from {len(rows):,} records; a linkage of a model is no deal",
            config=settings, config_digest=files.digest(settings), seed=run.seed, data=tuple(data),
            shareable=classifier.info.shareable and all(s.shareable for s in data),
        )  # fmt: skip
        model = {"a": a, "fitted_on": "given" if config.a is not None else f"{task.name} dev, seed {run.seed}"}
        pack = save_recommender(out, info, classifier, keep(rows), model)
        tick(1, now="saved")
        if task.splits["test"]:
            twin = save_recommender(run.folder / "twin", info, classifier, keep(task.train), model)
            line = {k: v for k, v in score(twin, task).items() if k != "pack"}
            note = "scored on the twin of this Pack that holds no record of a test waste"
            pack.add_evidence("scores.jsonl", {**line, "note": note})
        tick(1, now="done")
    return pack


def _classifier(config: Exchanges, run: Run) -> Pack:
    if config.classifier:
        return open_pack(config.classifier)
    from hedgerow import systems

    folder = run.folder / "classifier" / "isic-tiny"
    if (folder / "pack.toml").is_file():
        return open_pack(folder)
    return systems.build("isic", "tiny", out=folder, seed=run.seed, runs=run.folder / "runs", quiet=run.quiet)
