"""How a text classifier lies in a Pack: its files as checked records, written and read back.

::

    labels.json               classes and the tree above them                   (hierarchy.LabelsFile)
    preprocess.json           Unicode form, longest text                        (Preprocess)
    model.json                members, combination, calibration                 (ModelFile)
    weights.safetensors       '<member number>.<array>', 'examples.vectors'
    member-<number>-<name>.json   vocabularies and tables
    examples.json             coded examples: [{text, code, source}]
    crosswalk.json            scheme -> code -> [class codes], optional
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.hierarchy import LabelsFile, Tree
from hedgerow.kinds.text_checks import floats
from hedgerow.kinds.text_codes import Crosswalk
from hedgerow.kinds.text_features import Form
from hedgerow.kinds.text_members import MEMBERS, Member, MemberEngine, Spot
from hedgerow.kinds.text_search import Vectors
from hedgerow.kinds.texts import MAX_CHARACTERS
from hedgerow.pack import Info, read_arrays, write_arrays
from hedgerow.schema import Record, check

VECTORS = "examples.vectors"
LABELS, PREPROCESS, MODEL, EXAMPLES, CROSSWALK = (
    "labels.json",
    "preprocess.json",
    "model.json",
    "examples.json",
    "crosswalk.json",
)
_WEIGHTS = "weights.safetensors"


class Preprocess(Record):
    """What happens to a text before anything else; training must do the same (``text_features.normalise``)."""

    unicode: Form
    max_characters: int = Field(ge=1, le=MAX_CHARACTERS)  # the rest is cut, and the answer says so


USUAL = Preprocess(unicode="NFKC", max_characters=10_000)


class Combine(Record):
    """``mean``: weighted mean of the members that answer; ``first``: the first member that answers.

    ``exact_first``: with ``mean``, a hit of an ``exact`` member decides alone. A text that nobody answers gets equal
    probabilities.
    """

    rule: Literal["mean", "first"] = "mean"
    weights: tuple[float, ...] = ()
    exact_first: bool = False


class Calibration(Record):
    """``p ∝ mixture^(1/temperature)``; thresholds by wanted precision, as text with two decimals: {'0.90': 0.61}."""

    temperature: float = Field(default=1.0, gt=0)
    thresholds: dict[str, float] = {}
    fitted_on: str = ""  # name of the dev split
    n: int = Field(default=0, ge=0)


class Example(Record):
    """A coded text that answers point to."""

    text: str = Field(min_length=1)
    code: str
    source: str = ""


class MemberRecord(Record):
    """A member in ``model.json``; ``arrays`` and ``tables`` are the names it owns."""

    type: str
    settings: dict[str, Any] = {}
    arrays: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


class ModelFile(Record):
    """``model.json``."""

    members: tuple[MemberRecord, ...] = Field(min_length=1)
    combine: Combine
    calibration: Calibration
    crosswalk: bool  # whether there is a crosswalk.json


@dataclass(frozen=True)
class Parts:
    """A text classifier out of its files, every part checked against the others."""

    tree: Tree
    preprocess: Preprocess
    model: ModelFile
    members: tuple[MemberEngine, ...]
    examples: tuple[Example, ...]
    store: Vectors | None  # the examples' vectors, with a trunk
    crosswalk: Crosswalk


_EXAMPLES = TypeAdapter(tuple[Example, ...])


def needs_trunk(model: ModelFile) -> bool:
    """Whether a member reads the trunk's vectors."""
    return any(m.type.startswith("trunk-") for m in model.members)


class Holder(Protocol):
    """What holds the files: a Pack, or the folder that is about to become one."""

    @property
    def path(self) -> Path:
        """Where it lies, for errors."""
        ...

    @property
    def info(self) -> Info:
        """``pack.toml``; only ``trunk`` is looked at."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def json(self, name: str) -> Any:
        """Parsed JSON file."""
        ...

    def arrays(self, name: str = ...) -> dict[str, np.ndarray]:
        """Arrays of a safetensors file."""
        ...


@dataclass(frozen=True)
class Draft:
    """A folder that is about to become a Pack at ``path``: checked before it takes the place of an older one."""

    path: Path
    info: Info
    folder: Path

    def has(self, name: str) -> bool:
        """See :class:`Holder`."""
        return (self.folder / name).is_file()

    def json(self, name: str) -> Any:
        """See :class:`Holder`."""
        return files.read_json(self.folder / name)

    def arrays(self, name: str = _WEIGHTS) -> dict[str, np.ndarray]:
        """See :class:`Holder`."""
        return read_arrays(self.folder / name)


def read_parts(pack: Holder, dim: int | None = None) -> Parts:
    """Read and check every file; ``dim`` is the trunk's width where it is loaded. HedgerowError names the misfit."""
    where = str(pack.path)
    tree = Tree(check(LabelsFile, pack.json(LABELS), f"{where}/{LABELS}"), f"{where}/{LABELS}")
    preprocess = check(Preprocess, pack.json(PREPROCESS), f"{where}/{PREPROCESS}")
    model = check(ModelFile, pack.json(MODEL), f"{where}/{MODEL}")
    check_model(model, pack.info.trunk is not None, f"{where}/{MODEL}")
    arrays = pack.arrays(_WEIGHTS) if pack.has(_WEIGHTS) else {}
    examples, labels = _examples(pack, tree)
    store = None
    if pack.info.trunk is not None and examples:
        if VECTORS not in arrays:
            raise HedgerowError(f"{where}: it has a trunk and examples, but {_WEIGHTS} holds no '{VECTORS}'")
        found = arrays.pop(VECTORS)
        width = dim or (found.shape[1] if found.ndim == 2 else 0)
        store = Vectors(floats(found, (len(examples), width), f"{where}: {VECTORS}"), labels)
    members = _members(pack, model, arrays, Spot(tree, where, store, dim))
    if pack.has(CROSSWALK) and not model.crosswalk:
        raise HedgerowError(f"{where}: it holds a {CROSSWALK}, which {MODEL} does not speak of")
    table = pack.json(CROSSWALK) if model.crosswalk else {}
    if model.crosswalk and not table:
        raise HedgerowError(f"{where}/{CROSSWALK} holds no code")
    crosswalk = Crosswalk(table, tree, f"{where}/{CROSSWALK}")
    return Parts(tree, preprocess, model, members, examples, store, crosswalk)


def check_model(model: ModelFile, trunk: bool, where: str) -> None:
    """Whether members, weights and trunk can belong together."""
    for number, member in enumerate(model.members):
        if member.type not in MEMBERS:
            raise HedgerowError(
                f"{where}: member {number}: no member is called '{member.type}'{did_you_mean(member.type, MEMBERS)}"
            )
    weights = model.combine.weights
    if model.combine.rule == "first" and (weights or model.combine.exact_first):
        raise HedgerowError(f"{where}: combine: the rule 'first' takes no weights and no exact_first")
    if model.combine.rule == "mean" and (
        len(weights) != len(model.members) or any(w < 0 for w in weights) or not any(weights)
    ):
        raise HedgerowError(
            f"{where}: combine: {len(model.members)} members need as many weights >= 0, not all 0 (got {list(weights)})"
        )
    for precision, threshold in model.calibration.thresholds.items():
        if not _is_share(precision) or not 0 <= threshold <= 1:
            raise HedgerowError(
                f"{where}: calibration: thresholds are precision -> threshold like '0.90': 0.61, "
                f"both within 0..1 (got '{precision}': {threshold})"
            )
    if needs_trunk(model) and not trunk:
        raise HedgerowError(f"{where}: a member reads a trunk's vectors, and this Pack has no trunk")


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def _examples(pack: Holder, tree: Tree) -> tuple[tuple[Example, ...], np.ndarray]:
    where = f"{pack.path}/{EXAMPLES}"
    found = pack.json(EXAMPLES)
    try:
        examples = _EXAMPLES.validate_python(found)
    except ValidationError as e:
        place = e.errors()[0]["loc"]
        number = place[0] if place else 0
        if isinstance(found, list) and isinstance(number, int) and number < len(found):
            check(Example, found[number], f"{where}, example {number + 1}")  # says the same in one line
        raise HedgerowError(f"{where} is not a list of examples") from None
    labels = [tree.find(x.code, f"{where}, example {i + 1}") for i, x in enumerate(examples)]
    return examples, np.array(labels, np.int64)


def _members(pack: Holder, model: ModelFile, arrays: dict[str, np.ndarray], spot: Spot) -> tuple[MemberEngine, ...]:
    out = []
    for number, record in enumerate(model.members):
        place = Spot(spot.tree, f"{spot.where}: member {number} ({record.type})", spot.examples, spot.dim)
        own = {}
        for name in record.arrays:
            if f"{number}.{name}" not in arrays:
                raise HedgerowError(f"{place.where}: {_WEIGHTS} holds no '{number}.{name}'")
            own[name] = arrays.pop(f"{number}.{name}")
        tables = {name: pack.json(_table_file(number, name)) for name in record.tables}
        out.append(MEMBERS[record.type](record.settings, own, tables, place))
    if arrays:
        raise HedgerowError(f"{spot.where}: {_WEIGHTS} holds '{min(arrays)}', which no member owns")
    return tuple(out)


def _table_file(number: int, name: str) -> str:
    return f"member-{number}-{name}.json"


def read_members(pack: Holder) -> tuple[list[Member], np.ndarray | None]:
    """The members as they were saved, and the examples' vectors: what a changed copy is made from."""
    model = check(ModelFile, pack.json(MODEL), f"{pack.path}/{MODEL}")
    arrays = pack.arrays(_WEIGHTS) if pack.has(_WEIGHTS) else {}
    members = [
        Member(
            r.type,
            dict(r.settings),
            {name: arrays[f"{i}.{name}"] for name in r.arrays},
            {name: pack.json(_table_file(i, name)) for name in r.tables},
        )
        for i, r in enumerate(model.members)
    ]
    return members, arrays.get(VECTORS)


def write_parts(
    folder: Path,
    labels: LabelsFile,
    preprocess: Preprocess,
    members: Sequence[Member],
    combine: Combine,
    calibration: Calibration,
    examples: Sequence[Example],
    vectors: np.ndarray | None,
    crosswalk: Mapping[str, Mapping[str, Sequence[str]]],
) -> None:
    """Write the files of a text classifier into an empty folder."""
    records = tuple(
        MemberRecord(type=m.type, settings=dict(m.settings), arrays=tuple(m.arrays), tables=tuple(m.tables))
        for m in members
    )
    model = ModelFile(members=records, combine=combine, calibration=calibration, crosswalk=bool(crosswalk))
    arrays = {f"{i}.{name}": a for i, m in enumerate(members) for name, a in m.arrays.items()}
    if vectors is not None:
        arrays[VECTORS] = vectors
    files.write_json(folder / LABELS, labels.model_dump())
    files.write_json(folder / PREPROCESS, preprocess.model_dump())
    files.write_json(folder / MODEL, model.model_dump())
    for i, member in enumerate(members):
        for name, table in member.tables.items():
            files.write_text(folder / _table_file(i, name), files.canonical(table))
    files.write_json(folder / EXAMPLES, [x.model_dump() for x in examples])
    if crosswalk:
        table = {s: {c: list(g) for c, g in t.items()} for s, t in crosswalk.items()}
        files.write_text(folder / CROSSWALK, files.canonical(table))
    if arrays:
        write_arrays(folder / _WEIGHTS, arrays)
