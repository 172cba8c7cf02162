"""The catalogue: the survey's models as data, your own files beside them, and what any of them costs by formula.

``catalogue.toml`` holds what is published, ``published.json`` the costs that the authors measured. Nothing is measured
here: parameters, weights, cache, buffers and operations follow from the sizes (:mod:`hedgerow.cost.formulas`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hedgerow import files
from hedgerow.cost import Device, Geometry, Memory, Weights, formats, formulas, predict
from hedgerow.cost.predict import Prediction
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record, check

GROUPS = ("commonsense", "problem_solving", "mathematics")
COUNTS = (
    "Counts of the survey: 59 models in version 1 (which ones is not known), 70 in versions 2 and 3, 68 rows in the "
    "authors' table. Shown here: {shown} of the table's 68{mine}. No coding score was ever published."
)


class Scores(Record):
    """Published scores of one model in per cent; None: not published."""

    commonsense: float | None = None
    problem_solving: float | None = None
    mathematics: float | None = None


class Difference(Record):
    """A field on which the authors' table and another source do not agree: both values stand."""

    field: str
    table: str
    other: str
    source: str


class Model(Record):
    """One model of the survey."""

    owner: str
    released: str  # year-month
    geometry: Geometry
    pure: bool = True  # False: no pure transformer, so the formulas do not apply
    note: str = ""
    tokens_e9: float | None = None  # training tokens in 10^9
    data: tuple[str, ...] = ()  # keys of ``data_sets``
    open_data: bool
    algorithm: tuple[Literal["mup", "distilled", "two-stage", "instruct"], ...] = ()
    scores: Scores = Scores()
    source: dict[str, str] = {}  # where a field has another source than the file's own list says
    differs: tuple[Difference, ...] = ()


class Baseline(Record):
    """A larger model that the authors' table holds for comparison."""

    released: str
    scores: Scores


class Later(Record):
    """A model that only version 3 of the paper names, as far as its sizes are known."""

    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    vocabulary: int | None = None
    note: str = ""


class Catalogue(Record):
    """``catalogue.toml``."""

    source: dict[str, str]
    data_sets: dict[str, str]
    model: dict[str, Model]
    baseline: dict[str, Baseline]
    later: dict[str, Later]


class Entry(Record):
    """One row: what is known of a model, and what follows for one weight format, context and cache."""

    name: str
    where: str  # 'survey', or the path of a file or folder
    layout: str = ""  # of a file: gguf, hf-folder, pack
    owner: str = ""
    released: str = ""
    geometry: Geometry
    attention: str
    tokens_e9: float | None = None
    data: tuple[str, ...] = ()
    open_data: bool | None = None
    algorithm: tuple[str, ...] = ()
    scores: Scores = Scores()
    scores_source: str = ""
    differs: tuple[Difference, ...] = ()
    note: str = ""
    format: str  # asked for, or 'as stored'
    context: int
    parameters: int | None = None  # None: the formulas do not apply
    body: int | None = None
    bits_per_weight: float | None = None
    mix: dict[str, int] = {}  # elements by format
    weights: Weights | None = None  # the same by part of the network
    memory: Memory | None = None  # by formula
    flops_per_token: float | None = None  # one decode step at half the context
    fits: bool | None = None  # None: no budget was stated
    beyond: str = ""  # why the context asked for is more than the model was made for; '' where it is not
    predicted: dict[str, Prediction] = {}  # prefill and decode on a probed device; {} for a model that does not fit


@cache
def load() -> Catalogue:
    """The catalogue that is shipped."""
    path = Path(__file__).parent / "catalogue.toml"
    return check(Catalogue, files.read_toml(path), str(path))


@cache
def published() -> dict[str, Any]:
    """The costs that the survey's authors measured (``published.json``); not to be changed."""
    data: dict[str, Any] = files.read_json(Path(__file__).parent / "published.json")
    return data


def model(name: str) -> Model:
    """A model of the survey by its name, whatever the case."""
    known = load().model
    found = next((n for n in known if n.lower() == name.lower()), None)
    if found is None:
        raise HedgerowError(f"the catalogue has no model '{name}'{did_you_mean(name, known)}")
    return known[found]


class Query(Record):
    """Which rows, and for which format, context and cache the numbers are."""

    names: tuple[str, ...] = ()
    max_params: int | None = None
    min_params: int | None = None
    attention: Literal["mha", "gqa", "mqa", "mla"] | None = None
    owner: str | None = None
    data: str | None = None
    open_data: bool | None = None
    algorithm: Literal["mup", "distilled", "two-stage", "instruct"] | None = None
    norm: str | None = None
    activation: str | None = None
    since: str | None = None  # year or year-month
    budget: int | None = None  # bytes; rows that need more are left out
    context: int = Field(default=2048, ge=1, le=10_000_000)
    format: str = "q4_k_m"
    cache_k: str = "f16"
    cache_v: str = "f16"
    ubatch: int = Field(default=formulas.UBATCH, ge=1, le=65536)


def query(**asked: Any) -> Query:
    """A checked :class:`Query`; HedgerowError for a wrong value or a word that the catalogue does not know."""
    made = check(Query, asked, "the query")
    formats.known(made.format)
    for name in (made.cache_k, made.cache_v):
        formats.known(name, formats.CACHES)
    _check_words(made, load())
    return made


def own_entries(asked: Query, paths: Sequence[str | Path]) -> list[Entry]:
    """Rows of a user's files, in their order, as they are stored; none is left out for being too large."""
    return [of_file(path, asked) for path in paths]


def entries(asked: Query, paths: Sequence[str | Path] = ()) -> list[Entry]:
    """Rows that the query lets through: the user's files first (as they are stored), then the survey's by size.

    Raises HedgerowError for a file that is no model.
    """
    mine = [of_file(path, asked) for path in paths]
    chosen = [n for n in load().model if not asked.names or n.lower() in {q.lower() for q in asked.names}]
    survey = [of_survey(name, asked) for name in chosen]
    survey.sort(key=lambda e: (e.parameters is None, e.parameters or 0, e.name))
    return [e for e in [*mine, *survey] if _passes(e, asked)]


def too_short(asked: Query) -> dict[str, int]:
    """Name -> positions of the survey's models that pass but for a context that is longer than their positions.

    {} where no budget is stated: then nothing is left out for it.
    """
    if asked.budget is None:
        return {}
    free = entries(asked.model_copy(update={"budget": None}))
    return {e.name: e.geometry.positions for e in free
            if e.beyond and e.memory and (e.memory.total or 0) <= asked.budget}  # fmt: skip


def with_times(found: Sequence[Entry], device: Device, threads: int, prompt: int, depth: int) -> list[Entry]:
    """The rows with the times that the device's rates predict: ``prompt`` tokens in one call, a step at ``depth``.

    A row that needs more memory than the device has, or than was asked for, gets none. Raises HedgerowError when the
    device has no rates for that many threads.
    """
    rates = predict.rates_for(device, threads)
    rows = []
    for e in found:
        needed = (e.memory.total or 0) if e.memory else 0
        too_large = e.fits is False or (device.memory_bytes > 0 and needed > device.memory_bytes)
        if e.weights is not None and not too_large:
            times = {
                "prefill": predict.prefill(rates, e.geometry, e.weights, prompt),
                "decode": predict.decode(rates, e.geometry, e.weights, depth),
            }
            e = e.model_copy(update={"predicted": times})
        rows.append(e)
    return rows


def counts(shown: int, mine: int = 0) -> str:
    """Which count is shown, and which others there are."""
    own = f" and {mine} of yours" if mine else ""
    return COUNTS.format(shown=shown, mine=own)


def as_json(asked: Query, found: Sequence[Entry]) -> dict[str, Any]:
    """What ``--json`` prints: the query, the rows, which count they are, and where the numbers come from."""
    mine = sum(e.where != "survey" for e in found)
    return {
        "counts": counts(len(found) - mine, mine),
        "query": asked.model_dump(mode="json"),
        "sources": load().source,
        "data_sets": load().data_sets,
        "too_few_positions": too_short(asked),
        "entries": [e.model_dump(mode="json") for e in found],
    }


def of_survey(name: str, asked: Query) -> Entry:
    """The row of one model of the survey."""
    m = model(name)
    costs = _costs(m.geometry, formulas.weights(m.geometry, asked.format), asked) if m.pure else {}
    return Entry(
        name=name,
        where="survey",
        owner=m.owner,
        released=m.released,
        geometry=m.geometry,
        attention=m.geometry.attention,
        tokens_e9=m.tokens_e9,
        data=m.data,
        open_data=m.open_data,
        algorithm=m.algorithm,
        scores=m.scores,
        scores_source=load().source["scores"],
        differs=m.differs,
        note=m.note,
        format=asked.format,
        context=asked.context,
        **costs,
    )


def of_file(path: str | Path, asked: Query) -> Entry:
    """The row of a user's file or folder, from its header; its weights are in the formats that it stores."""
    from hedgerow.weighing import headers

    header = headers.read(path)
    costs = _costs(header.geometry, header.weights, asked)
    costs["parameters"] = header.weights.elements
    return Entry(
        name=header.name,
        where=str(path),
        layout=header.layout,
        geometry=header.geometry,
        attention=header.geometry.attention,
        note="" if header.complete else "no weights here: numbers follow from its configuration",
        format="as stored",
        context=asked.context,
        **costs,
    )


def _costs(sizes: Geometry, held: Weights, asked: Query) -> dict[str, Any]:
    options = {"cache_k": asked.cache_k, "cache_v": asked.cache_v, "ubatch": asked.ubatch}
    memory = formulas.memory(sizes, held, asked.context, **options)  # type: ignore[arg-type]
    return {
        "parameters": formulas.parameters(sizes),
        "body": sizes.body,
        "bits_per_weight": round(formats.bits_per_weight(held), 3),
        "mix": held.mix,
        "weights": held,
        "memory": memory,
        "flops_per_token": formulas.flops(sizes, 1, asked.context // 2),
        "fits": None
        if asked.budget is None
        else (memory.total or 0) <= asked.budget and asked.context <= sizes.positions,
        "beyond": ""
        if asked.context <= sizes.positions
        else f"it has {sizes.positions:,} positions, fewer than the {asked.context:,} tokens of context asked for",
    }


def _passes(e: Entry, q: Query) -> bool:
    """Whether a row meets every filter; what is not known of a row meets none that asks for it."""
    wanted = (
        q.max_params is None or (e.parameters is not None and e.parameters <= q.max_params),
        q.min_params is None or (e.parameters is not None and e.parameters >= q.min_params),
        q.attention in (None, e.attention),
        q.owner is None or e.owner.lower() == q.owner.lower(),
        q.data is None or q.data in e.data,
        q.open_data in (None, e.open_data),
        q.algorithm is None or q.algorithm in e.algorithm,
        q.norm in (None, e.geometry.norm),
        q.activation in (None, e.geometry.activation),
        q.since is None or e.released >= q.since,
        q.budget is None or bool(e.fits),
    )
    return all(wanted)


def _check_words(q: Query, known: Catalogue) -> None:
    """A filter's word that no model of the catalogue has is a slip of the pen, not an empty answer."""
    models = known.model.values()
    for what, word, have in (
        ("model", None, ()),
        ("owner", q.owner and q.owner.lower(), {m.owner.lower() for m in models}),
        ("data set", q.data, set(known.data_sets)),
        ("norm", q.norm, {m.geometry.norm for m in models}),
        ("activation", q.activation, {m.geometry.activation for m in models}),
        *(("model", n.lower(), {k.lower() for k in known.model}) for n in q.names),
    ):
        if word is not None and word not in have:
            raise HedgerowError(f"the catalogue knows no {what} '{word}'{did_you_mean(str(word), have)}")
