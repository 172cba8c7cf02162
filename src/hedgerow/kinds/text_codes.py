"""A national code in place of, or beside, a text: which classes it stands for, all of them shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from hedgerow.data.national import plain, reading
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.kinds.hierarchy import Tree

_DROP = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Translation:
    """What a code led to: label numbers (none when it is unknown). ``note`` says why, or what was repaired."""

    scheme: str
    code: str
    labels: tuple[int, ...]
    note: str = ""


class Crosswalk:
    """scheme -> code -> class codes. Schemes and codes are found whatever their case, dots, dashes and spaces.

    Raises HedgerowError for a table that is none, at once or (:meth:`translate`, :meth:`check`) where a code is wrong.
    """

    def __init__(self, table: Any, tree: Tree, where: str) -> None:
        if not isinstance(table, dict):
            raise HedgerowError(f"{where} is not scheme -> code -> classes")
        self._tree, self._where = tree, where
        self._schemes: dict[str, str] = {}
        self._codes: dict[str, dict[str, Any]] = {}  # tens of thousands of codes: each is checked when it is asked for
        self._plain: dict[str, dict[str, str]] = {}
        self._back: dict[str, dict[int, tuple[str, ...]]] = {}
        for scheme, codes in table.items():
            if not isinstance(codes, dict):
                raise HedgerowError(f"{where}: '{scheme}' is not code -> classes")
            self._schemes[_scheme(scheme)] = scheme
            self._codes[scheme] = codes
        if tree.scheme and _scheme(tree.scheme) not in self._schemes:  # the classes themselves are a scheme, too
            self._schemes[_scheme(tree.scheme)] = tree.scheme
            self._codes[tree.scheme] = {code: [code] for code in tree.codes}

    def _labels(self, found: Any, where: str) -> tuple[int, ...]:
        if not isinstance(found, list) or not found or not all(isinstance(c, str) for c in found):
            raise HedgerowError(f"{where}: a list of at least one class is needed")
        return tuple(sorted({self._tree.find(code, where) for code in found}))

    @property
    def schemes(self) -> tuple[str, ...]:
        """Names of the schemes whose codes are understood."""
        return tuple(sorted(self._codes))

    def translate(self, scheme: str, code: str) -> Translation:
        """The classes of a code; an unknown scheme or code gives none of them, and a note with a near spelling."""
        name = self._schemes.get(_scheme(scheme))
        if name is None:
            hint = did_you_mean(scheme, self._codes) if self._codes else ": this Pack holds no crosswalk"
            return Translation(scheme, code, (), f"no scheme is called '{scheme}'{hint}")
        codes = self._codes[name]
        known, remark = (code, "") if code in codes else reading(code, codes, self._by_plain(name))
        if not known:
            hint = did_you_mean(code, codes)
            hint = hint if hint.startswith(" (did") else ""
            return Translation(name, code, (), f"{name}: {remark}" if remark else f"{name} has no code '{code}'{hint}")
        return Translation(name, known, self._labels(codes[known], f"{self._where}: {name} {known}"), remark)

    def named(self, scheme: str) -> str:
        """The scheme's own spelling; HedgerowError with a near one when it is unknown."""
        found = self._schemes.get(_scheme(scheme))
        if found is None:
            hint = did_you_mean(scheme, self._codes) if self._codes else ": this Pack holds no crosswalk"
            raise HedgerowError(f"no scheme is called '{scheme}'{hint}")
        return found

    def images(self, scheme: str, label: int) -> tuple[str, ...]:
        """Every code of a scheme that a class can stand for: the way back of :meth:`translate`, all of 1:n shown."""
        name = self.named(scheme)
        if name not in self._back:
            back: dict[int, list[str]] = {}
            for code, found in self._codes[name].items():
                for one in self._labels(found, f"{self._where}: {name} {code}"):
                    back.setdefault(one, []).append(code)
            self._back[name] = {one: tuple(sorted(codes)) for one, codes in back.items()}
        return self._back[name].get(label, ())

    def check(self) -> None:
        """Every code of every scheme; HedgerowError names the first that does not lead to known classes."""
        for scheme, codes in self._codes.items():
            for code, found in codes.items():
                self._labels(found, f"{self._where}: {scheme} {code}")

    def _by_plain(self, scheme: str) -> dict[str, str]:
        """Codes by their letters and digits alone, those left out that two codes share."""
        if scheme not in self._plain:
            found: dict[str, list[str]] = {}
            for code in self._codes[scheme]:
                found.setdefault(plain(code), []).append(code)
            self._plain[scheme] = {bare: codes[0] for bare, codes in found.items() if len(codes) == 1}
        return self._plain[scheme]


def restrict(p: np.ndarray, labels: tuple[int, ...], text: bool) -> np.ndarray:
    """Probabilities [K] over the classes of a code alone.

    With a text its probabilities are renormalised over them, so that it decides between the images of a 1:n code;
    without one, or where it gives all of them nothing, they share equally.
    """
    out = np.zeros_like(p)
    kept = p[list(labels)]
    total = float(kept.sum())
    out[list(labels)] = kept / total if text and total > 0 else 1 / len(labels)
    return out


def _scheme(name: str) -> str:
    """'NACE Rev. 2' and 'nace2' are one scheme."""
    return re.sub(r"rev(ision)?(?=\d)", "", _DROP.sub("", name.casefold()))
