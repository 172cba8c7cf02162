"""Train, dev and test for every question that is asked of an ISIC classifier (isic.md §5).

============================  ======================================================================================
``rows``                      ecoinvent's rows at random: the same names stand on both sides; to show what that does
``names``                     ecoinvent's activity names at random
``grouped``                   names whose reference product (its head, before the first comma) is never in train
``grouped_nomarket``          the same without "market for …"
``texts``                     coded texts at random, all texts of one source code on one side
``system:KSIC10`` (or other)  one national scheme held out
``family``                    European and UN schemes in train, Asian ones in test
``language:fr`` (or other)    English in train, texts of another language in test
``transfer``                  coded texts in train, ecoinvent names in test
``stress``                    coded texts in train, other LCA names with noisy labels in test: never to train on
``user``                      the user's own coded rows, at random
``toy``                       a few dozen invented texts, for tests that fetch nothing
============================  ======================================================================================

Dev is cut from train by the rule that cuts test, and for schemes, families and languages that rule holds out another
one. Which side a key falls on is a hash of seed and key, so a new text moves no other. In every split but ``rows`` no
normalised text stands on two sides. Train holds texts with one class only; dev and test also those with several, any of
which is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hedgerow.data import texts
from hedgerow.data.schemes import LANGUAGES
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.task import Example

Labels = Literal["strings", "isic"]
NAMES = ("rows", "names", "grouped", "grouped_nomarket", "texts", "family", "transfer", "stress", "user", "toy")
HELD_OUT = ("KSIC10", "SSIC2020", "JSIC13", "NAICS2017")  # the four schemes of the published table
TEST_SHARE, DEV_SHARE = 0.2, 0.1

_US = frozenset({"NAICS2012", "NAICS2017", "NAICS2022", texts.NAICS_DEFINITIONS, "SIC"})
_UN = frozenset({"ISIC3", "ISIC31", "ISIC4", "ISIC5"})
_EU = frozenset(
    {"NACE1", "NACE2", "NACE21", "SKD2008", "PKD2007", "TOL2008", "ATECO", "UKSIC2003", "UKSIC2007", "SKNACE2"}
    | {texts.UK_INDEX}
)
_ASIA = frozenset({"KSIC10", "SSIC2020", "JSIC13", "NIC2008", "TSIC2552"})


@dataclass(frozen=True)
class Split:
    """Three disjoint lists of examples, and what must be said beside any score on them."""

    name: str
    seed: int
    labels: Labels  # the label space: ecoinvent's strings, or the 419 classes
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]

    def facts(self) -> dict[str, Any]:
        """Sizes, labels, the share of test texts that stand in train, and how much of test no head can get right."""
        seen = {label for e in self.train for label in e.gold}
        known = {texts.normalise(e.input) for e in self.train}
        wanted = {label for e in self.test for label in e.gold}
        return {
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
            "train_labels": len(seen),
            "test_labels": len(wanted),
            "test_labels_unseen": len(wanted - seen),
            "test_unseen": sum(not (e.gold & seen) for e in self.test),
            "test_multi": sum(len(e.gold) > 1 for e in self.test),
            "leak": sum(texts.normalise(e.input) in known for e in self.test) / max(1, len(self.test)),
        }


def make_split(
    name: str,
    seed: int = 0,
    *,
    labels: Labels | None = None,
    sources: Sequence[str] = texts.SOURCES,
    file: str | Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Split:
    """The split of that name. ``labels`` is for ecoinvent's own splits (default 'strings'); all others are 'isic'.

    ``sources`` are those of the coded texts; ``file`` is the user's table. The same arguments give the same split on
    every machine. Raises HedgerowError for an unknown name or data that cannot be had.
    """
    if name in ("rows", "names", "grouped", "grouped_nomarket"):
        space: Labels = labels or "strings"
        return _split(name, seed, space, _ecoinvent(name, seed, space, progress))
    if labels == "strings":
        raise HedgerowError(
            f"split '{name}' has the 419 classes as labels; 'strings' belongs to ecoinvent's own splits"
        )
    if name == "toy":
        return _split(name, seed, "isic", _at_random(_toy(), seed))
    if name == "user":
        return _own_split(file, seed)
    return _split(name, seed, "isic", _coded(name, seed, sources, progress))


Parts = tuple[Iterable[Example], Iterable[Example], Iterable[Example]]  # train, dev, test


def _split(name: str, seed: int, labels: Labels, parts: Parts) -> Split:
    """Order by id, keep several answers out of train, and check what was promised."""
    train, dev, test = (tuple(sorted(part, key=lambda e: e.id)) for part in parts)
    return Split(name, seed, labels, tuple(e for e in train if len(e.gold) == 1), dev, test)


# ---- ecoinvent's names ---------------------------------------------------------------------------------------------


def _ecoinvent(name: str, seed: int, labels: Labels, progress: Any) -> Parts:
    items = texts.lca_names(progress=progress)
    heads = _groups([[f"head:{head}" for head in item.heads] + [_text_key(item.name)] for item in items])
    if name == "rows":
        return _rows(seed, labels, items, heads, progress)
    chosen = [i for i, item in enumerate(items) if name != "grouped_nomarket" or not item.market]
    examples = [_lca_example(items[i], labels, heads[i]) for i in chosen]
    keys = [heads[i] if name != "names" else texts.normalise(items[i].name) for i in chosen]
    return _cut([(key, e) for key, e in zip(keys, examples, strict=True) if e.gold], seed)


def _rows(seed: int, labels: Labels, items: Sequence[texts.LcaName], heads: Sequence[str], progress: Any) -> Parts:
    """Every row by itself, as a plain random split has it."""
    group = {item.name: head for item, head in zip(items, heads, strict=True)}
    found = []
    for row in texts.lca_rows(progress=progress):
        gold = frozenset({row.label if labels == "strings" else texts.to_isic(row.label)} - {""})
        key = f"{row.name}\n{row.geography}\n{row.product}\n{row.label}"
        meta = {"system": "ecoinvent", "language": "en", "source": "ecoinvent-names"}
        found.append((key, Example(_id(key), row.name, gold, group[row.name], meta)))
    return _cut([(key, e) for key, e in found if e.gold], seed)


def _lca_example(item: texts.LcaName, labels: Labels, group: str) -> Example:
    gold = item.labels if labels == "strings" else item.gold
    meta = {"system": "ecoinvent", "language": "en", "source": "ecoinvent-names", "market": str(item.market).lower()}
    return Example(_id(item.name), item.name, gold, group, meta)


# ---- coded texts ---------------------------------------------------------------------------------------------------


def _coded(name: str, seed: int, sources: Sequence[str], progress: Any) -> Parts:
    """Splits over coded texts. Rows are chosen first and merged afterwards, so that a held-out scheme has no say."""
    kind, _, which = name.partition(":")
    rows = texts.coded_rows(sources, languages=None, progress=progress)
    english = [row for row in rows if row.language == "en"]
    if name == "texts":
        return _cut([(e.group, e) for e in _examples(english)], seed)
    if name == "transfer":
        train, dev, _ = _cut([(e.group, e) for e in _examples(english)], seed, test_share=0.0)
        items = texts.lca_names(progress=progress)
        heads = _groups([[f"head:{head}" for head in item.heads] + [_text_key(item.name)] for item in items])
        test = [_lca_example(item, "isic", head) for item, head in zip(items, heads, strict=True) if item.gold]
        return _apart(train, dev, test)
    if name == "stress":
        train, dev, _ = _cut([(e.group, e) for e in _examples(english)], seed, test_share=0.0)
        return _apart(train, dev, _stress_examples(progress))
    if name == "family":
        chosen = _UN | _EU, _US, _ASIA
        return _apart(*(_examples(r for r in english if r.system in systems) for systems in chosen))
    if kind == "system" and which:
        return _held_out(which, english)
    if kind == "language" and which:
        return _other_language(which, rows, english)
    known = [*NAMES, *(f"system:{s}" for s in HELD_OUT), *(f"language:{x}" for x in sorted(set(LANGUAGES.values())))]
    raise HedgerowError(f"there is no split '{name}'{did_you_mean(name, known)}")


def _stress_examples(progress: Any) -> list[Example]:
    """Names that two LCA packages labelled by rules of their own; ``ecoinvent`` in meta: does its own label agree?"""
    known = {item.name: item.gold for item in texts.lca_names(progress=progress)}
    items = [item for item in texts.lca_stress(progress=progress) if item.gold]
    heads = _groups([[f"head:{head}" for head in item.heads] + [_text_key(item.name)] for item in items])
    found = []
    for item, head in zip(items, heads, strict=True):
        own = known.get(item.name, frozenset())
        says = ("agrees" if own & item.gold else "differs") if own else "unknown"
        meta = {"system": "premise", "language": "en", "source": "lca-premise", "ecoinvent": says}
        found.append(Example(_id(item.name), item.name, item.gold, head, meta))
    return found


def _held_out(scheme: str, english: Sequence[texts.CodedText]) -> Parts:
    """One scheme in test, another in dev. With NAICS go its other revisions, its definitions and the old US SIC."""
    present = {row.system for row in english}
    if scheme not in present:
        raise HedgerowError(f"no coded texts of '{scheme}'{did_you_mean(scheme.upper(), present)}")
    dev_scheme = "KSIC10" if scheme != "KSIC10" else "SSIC2020"
    gone = {scheme, dev_scheme} | (_US if scheme in _US else frozenset())
    test = _examples(row for row in english if row.system == scheme)
    dev = _examples(row for row in english if row.system == dev_scheme)
    return _apart(_examples(row for row in english if row.system not in gone), dev, test)


def _other_language(language: str, rows: Sequence[texts.CodedText], english: Sequence[texts.CodedText]) -> Parts:
    present = {row.language for row in rows} - {"en"}
    if language not in present:
        raise HedgerowError(f"no coded texts in the language '{language}'{did_you_mean(language, present)}")
    dev_language = "fr" if language != "fr" else "es"
    test = _examples(row for row in rows if row.language == language)
    dev = _examples(row for row in rows if row.language == dev_language)
    return _apart(_examples(english), dev, test)


def _examples(rows: Iterable[texts.CodedText]) -> list[Example]:
    """Merged texts with a class. Their group is the set of source codes that are linked by shared texts."""
    merged = [text for text in texts.merge(rows) if text.gold]
    linked = _groups([[*map(_one_code, text.codes), _text_key(text.text)] for text in merged])
    found = []
    for text, group in zip(merged, linked, strict=True):
        meta = {
            "system": text.system,
            "systems": " ".join(text.systems),
            "language": text.language,
            "code": text.source_code,
            "source": text.source,
            "licence": text.licence,
            "agreement": text.agreement,
        }
        found.append(Example(_id(text.text), text.text, text.gold, group, meta))
    return found


def _one_code(code: str) -> str:
    """A NAICS definition stands under the same code as its title."""
    return code.replace(f"{texts.NAICS_DEFINITIONS}:", "NAICS2017:")


def _apart(train: Iterable[Example], dev: Iterable[Example], test: Iterable[Example]) -> Parts:
    """Dev and test lose the texts that stand in train, and dev those that stand in test.

    A text with several classes is never trained on, so it may stand in test under another scheme.
    """
    train, test = [e for e in train if len(e.gold) == 1], list(test)
    in_train = {texts.normalise(e.input) for e in train}
    test = [e for e in test if texts.normalise(e.input) not in in_train]
    taken = in_train | {texts.normalise(e.input) for e in test}
    return train, [e for e in dev if texts.normalise(e.input) not in taken], test


# ---- the user's rows, and invented ones ----------------------------------------------------------------------------


def _own_split(file: str | Path | None, seed: int) -> Split:
    """The user's coded rows; HedgerowError where they are so few that a part of the split would be empty."""
    examples = _own(file)
    split = _split("user", seed, "isic", _at_random(examples, seed))
    parts = {"train": split.train, "dev": split.dev, "test": split.test}
    for name, part in parts.items():
        if not part:
            raise HedgerowError(
                f"{file} has {len(examples)} usable coded texts, of which none fell into {name}; give some dozens"
            )
    return split


def _own(file: str | Path | None) -> list[Example]:
    """Coded rows of the user's table; what is left out, :func:`own_faults` names."""
    if file is None:
        raise HedgerowError("the split 'user' needs a file: a CSV or JSON Lines table with the columns text and code")
    found = own_examples(file)
    if not found:
        raise HedgerowError(f"{file} has no usable row with a code: fill the column 'code' (and 'scheme' if not ISIC4)")
    return found


def own_examples(file: str | Path) -> list[Example]:
    """One example for each text of the user's table that has a code, merged as all texts are; id is its row's."""
    found = []
    for key, same in _same_texts(texts.read_user(file)).items():
        gold = frozenset.intersection(*(row.gold for row in same))
        if gold and key:
            first = same[0]
            meta = {"system": first.scheme or "ISIC4", "language": first.language, "source": "user"}
            found.append(Example(first.id, first.text, gold, _id(first.text), {**meta, "line": str(first.line)}))
    return found


def own_faults(file: str | Path) -> list[tuple[int, str]]:
    """(line, why) of every row that :func:`own_examples` leaves out against its owner's wish, in the file's order.

    A row without a code is no fault: there are files of texts of which only some are coded.
    """
    rows = list(texts.read_user(file))
    found = [(row.line, row.error) for row in rows if row.error is not None]
    for key, same in _same_texts(rows).items():
        if not key:
            found += [(row.line, "the text holds no word") for row in same]
        elif not frozenset.intersection(*(row.gold for row in same)):
            lines = ", ".join(str(row.line) for row in same)
            found += [(row.line, f"lines {lines} give one text codes that have no class in common") for row in same]
    return sorted(found)


def _same_texts(rows: Iterable[texts.UserRow]) -> dict[str, list[texts.UserRow]]:
    """The rows with a code, by their normalised text."""
    groups: dict[str, list[texts.UserRow]] = {}
    for row in rows:
        if row.error is None and row.gold:
            groups.setdefault(texts.normalise(row.text), []).append(row)
    return groups


def _toy() -> list[Example]:
    return own_examples(Path(__file__).with_name("toy.csv"))


def _at_random(examples: Sequence[Example], seed: int) -> Parts:
    return _cut([(texts.normalise(e.input), e) for e in examples], seed)


# ---- how keys fall -------------------------------------------------------------------------------------------------


def _cut(keyed: Sequence[tuple[str, Example]], seed: int, *, test_share: float = TEST_SHARE) -> Parts:
    """Test takes ``test_share`` of the keys, dev DEV_SHARE of the rest; all examples of a key go together."""
    parts: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for key, example in keyed:
        in_test = _fraction(f"test {seed}", key) < test_share
        in_dev = _fraction(f"dev {seed}", key) < DEV_SHARE
        parts["test" if in_test else "dev" if in_dev else "train"].append(example)
    return parts["train"], parts["dev"], parts["test"]


def _fraction(salt: str, key: str) -> float:
    """A number in [0, 1) that depends on salt and key alone."""
    return int.from_bytes(hashlib.sha256(f"{salt}\n{key}".encode()).digest()[:7], "big") / 2**56


def _id(text: str) -> str:
    """A name for a text that tells nothing of it: 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _text_key(text: str) -> str:
    return f"text:{texts.normalise(text)}"


def _groups(keys: Sequence[Sequence[str]]) -> list[str]:
    """For every item the smallest key of all items that it is linked to, directly or over others, by a shared key."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        path = []
        while parent.setdefault(key, key) != key:
            path.append(key)
            key = parent[key]
        for passed in path:
            parent[passed] = key
        return key

    for linked in keys:
        roots = sorted({root(key) for key in linked})
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(linked[0]) for linked in keys]


def label_titles(split: Split) -> Mapping[str, str]:
    """Title of every label of the split's space; ecoinvent's own strings have the title of the class they stand for."""
    known = texts.isic_titles()
    if split.labels == "isic":
        return {label["code"]: label["title"] for label in texts.isic_labels()}
    found = {label for part in (split.train, split.dev, split.test) for e in part for label in e.gold}
    return {label: known.get(label.rstrip("abcdefghijklmnopqrstuvwxyz"), "") for label in sorted(found)}
