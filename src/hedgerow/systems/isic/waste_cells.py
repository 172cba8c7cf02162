"""Cells of a list of exchanges: which column is which, and what a cell of codes or numbers holds. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from hedgerow.data import schemes
from hedgerow.errors import HedgerowError, did_you_mean

# our field -> header names that mean it, as letters and digits alone
FIELDS: dict[str, tuple[str, ...]] = {
    "donor": ("donor", "donortext", "donorcompany", "donorname", "provider", "supplier", "giver", "from",
              "donorfirm", "geber", "abgeber", "geberfirma"),
    "donor_code": ("donornace", "donorcode", "donornacecode", "donorisic", "donorsector", "nacedonor", "donorssic",
                   "providernace", "providercode", "donorfirmnace", "gebernace", "abgebernace"),
    "waste": ("waste", "wastetext", "wastename", "byproduct", "residue", "material", "resource", "exchange", "abfall",
              "reststoff", "nebenprodukt"),
    "ewc": ("ewc", "ewccode", "lowcode", "lowcodes", "wastecode", "europeanwastecode", "ewcode"),
    "ewc_stat": ("ewcstat", "ewcstatcode"),
    "receiver": ("receiver", "receivertext", "receivercompany", "receivername", "taker", "user", "to", "recipient",
                 "receiverfirm", "empfänger", "empfaenger", "abnehmer", "nehmer"),
    "receiver_code": ("receivernace", "receivercode", "receivernacecode", "receiverisic", "receiversector",
                      "nacereceiver", "takernace", "takercode", "receiverfirmnace", "empfängernace", "empfaengernace",
                      "abnehmernace"),
    "use": ("use", "usage", "application", "purpose", "finaluse"),
    "status": ("status", "state", "phase"),
    "country": ("country", "nation", "land"),
    "citation": ("citation", "reference", "literature", "doi", "url", "bibliography"),
    "quantity": ("quantity", "amount", "tonnes", "tons", "volume"),
    "unit": ("unit", "units"),
    "year": ("year", "yearofexchange"),
    "hazardous": ("hazardous", "hazard", "dangerous"),
    "treatment": ("treatment", "process", "treatmenttext"),
    "dr_code": ("drcode", "operation", "rdcode", "operationcode"),
    "place": ("place", "location", "city", "town"),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
    "permit": ("permit", "permitted", "licensed"),
    "id": ("id", "sourceid", "exchangeid", "number", "no"),
    "donor_scheme": ("donorscheme",),
    "receiver_scheme": ("receiverscheme",),
}  # fmt: skip
NEEDED = ("waste",)
BROADEST = 40  # classes that one code may stand for; a section says too little
_CODE = re.compile(r"[A-Za-z]{0,2}[.\- ]?\d{1,7}(?:[.\-]\d{1,5}){0,3}\.?[A-Za-z]?")
_COMMA = re.compile(r"\d{1,2},\d{1,3}")
_WORDS = re.compile(r"[^\W\d_]{3,}")


def guess(headers: Sequence[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """field -> header: as ``chosen`` says, the rest by the headers' own names.

    Raises HedgerowError for an unknown field or header, a header that two fields claim, and when no waste is found.
    """
    found: dict[str, str] = {}
    for field, header in chosen.items():
        if field not in FIELDS:
            raise HedgerowError(f"--map {field}={header}: no field is called '{field}'{did_you_mean(field, FIELDS)}")
        if header not in headers:
            raise HedgerowError(f"--map {field}: no column is called '{header}'{did_you_mean(header, headers)}")
        if header in found.values():
            raise HedgerowError(f"--map: the column '{header}' is given to two fields")
        found[field] = header
    for names in ({f: (f.replace("_", ""),) for f in FIELDS}, FIELDS):  # a field's own name before other words for it
        for header in headers:
            plain = re.sub(r"[\W_]+", "", header).casefold()
            meant = next((f for f, known in names.items() if plain in known), None)
            if meant is not None and meant not in found and header not in found.values():
                found[meant] = header
    for field in NEEDED:
        if field not in found:
            raise HedgerowError(
                f"no column is recognised as the {field}: say --map {field}=COLUMN; there are {', '.join(headers)}"
            )
    if "donor" not in found and "donor_code" not in found:
        raise HedgerowError(
            f"no column is recognised as the donor: say --map donor=COLUMN; there are {', '.join(headers)}"
        )
    return found


def split_codes(cell: str) -> tuple[str, ...]:
    """'24.10; 24.42' -> ('24.10', '24.42'); HedgerowError when the cell holds words or anything else but codes."""
    parts = [p.strip() for p in re.split(r"[;,/|\n]|\band\b|&|\+", cell) if p.strip()]
    if cell.lstrip().startswith("="):
        raise HedgerowError(f"'{cell[:40]}' is a formula, not a code")
    if _COMMA.fullmatch(cell.strip()):
        raise HedgerowError(f"'{cell.strip()}': one code with a decimal comma, or two? write '24.42', or '24; 42'")
    for part in parts:
        if not _CODE.fullmatch(part):
            what = "words in a code column" if _WORDS.search(part) else "not a code"
            raise HedgerowError(f"'{part[:40]}': {what}")
    return tuple(parts)


@lru_cache(maxsize=20_000)
def classes_of(code: str, scheme: str) -> tuple[tuple[str, ...], str]:
    """(ISIC Rev.4 classes of a national code, remark); HedgerowError for an unknown code or one too broad.

    A code above the class level stands for all classes below it. A lost leading zero is put back, and the remark says
    so; a code that can be two codes is an error.
    """
    name = schemes.find_scheme(scheme)
    known, remark = schemes.read_code(code, name)
    found = _images(known, name)
    if not found:
        raise HedgerowError(f"'{code}' of {name} leads to no class of ISIC Rev.4")
    if len(found) > BROADEST:
        raise HedgerowError(f"'{code}' of {name} stands for {len(found)} classes: too broad")
    return found, remark


def _images(known: str, scheme: str) -> tuple[str, ...]:
    found = {i.code for i in schemes.crosswalk(known, scheme) if len(i.code) == 4 and i.code.isdigit()}
    if not found:
        plain = re.sub(r"\W", "", known)
        below = [c for c in schemes.graph().titles[scheme] if re.sub(r"\W", "", c).startswith(plain) and c != known]
        found = {i.code for c in below for i in schemes.crosswalk(c, scheme) if len(i.code) == 4 and i.code.isdigit()}
    return tuple(sorted(found))


def number(cell: str, what: str) -> float | None:
    """A number with a point or a decimal comma, of two signs the last is the decimal one; None for an empty cell."""
    text = cell.strip()
    if not text:
        return None
    plain = text.replace(" ", "").replace("\u00a0", "")
    if plain.rfind(",") > plain.rfind("."):  # 1.234,5 as in Berlin, 1,5
        plain = plain.replace(".", "").replace(",", ".")
    else:  # 1,234.5 as in London, 1.5
        plain = plain.replace(",", "")
    try:
        value = float(plain)
    except ValueError:
        raise HedgerowError(f"{what} '{text[:40]}' is no number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise HedgerowError(f"{what} '{text[:40]}' is no number")
    return value


_YES, _NO = ("yes", "y", "true", "1", "x", "ja", "oui", "si"), ("no", "n", "false", "0", "nein", "non")


def truth(cell: str, what: str) -> bool | None:
    """yes or no; None for an empty cell or 'unknown'."""
    text = cell.strip().casefold()
    if text in ("", "unknown", "?", "-", "n/a"):
        return None
    if text in _YES or text in _NO:
        return text in _YES
    raise HedgerowError(f"{what} '{cell.strip()[:40]}' is neither yes nor no")


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last: full width


def safe_cell(text: str) -> str:
    """A cell for a CSV that a spreadsheet may open: what would be read as a formula gets an apostrophe before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def plain_cell(text: str) -> str:
    """The way back from :func:`safe_cell`."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
