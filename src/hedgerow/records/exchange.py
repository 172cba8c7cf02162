"""One waste-to-resource record, with its original wording and codes; and what was decided about its industry codes."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any, Literal

from pydantic import Field, model_validator

from hedgerow.errors import HedgerowError
from hedgerow.schema import Record

Kind = Literal["lca_link", "reported_exchange", "user"]
KINDS: dict[str, str] = {
    "lca_link": "a linkage in a life-cycle inventory: a modelled flow, no deal between two firms",
    "reported_exchange": "an exchange that a publication or a body reports",
    "user": "an exchange out of the user's own list",
}
LONGEST = 20_000  # characters of one text; more is a file put into the wrong cell
_EWC = re.compile(r"([0-9]{2}) ?([0-9]{2}) ?([0-9]{2})(?: ?(\*))?")
_CHAPTERS = 20  # of the European List of Waste


class Exchange(Record):
    """A waste that went, or is planned to go, from a donor to a receiver.

    Everything is kept as its source words it. ``donor_codes`` and ``receiver_codes`` are codes of the national or
    European scheme named beside them; what they mean in ISIC is no part of the record but a :class:`Coding` of it.
    ``ewc`` is the six-digit code of the European List of Waste, verbatim; no mapping to EWC-Stat is claimed.
    """

    kind: Kind
    source: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    shareable: bool = False  # whether its texts may be printed in what is handed on
    source_id: str = ""
    donor_text: str = Field(default="", max_length=LONGEST)
    donor_scheme: str = ""
    donor_codes: tuple[str, ...] = ()
    waste_text: str = Field(min_length=1, max_length=LONGEST)
    ewc: str = ""
    ewc_stat: str = ""
    hazardous: bool | None = None
    treatment_text: str = Field(default="", max_length=LONGEST)
    dr_code: str = ""  # D1 … D15, R1 … R13 of directive 2008/98/EC
    receiver_text: str = Field(default="", max_length=LONGEST)
    receiver_scheme: str = ""
    receiver_codes: tuple[str, ...] = ()
    status: str = ""  # implemented, planned, … as the source words it
    use: str = Field(default="", max_length=LONGEST)
    citation: str = Field(default="", max_length=LONGEST)
    quantity: float | None = Field(default=None, ge=0)
    unit: str = ""
    place: str = ""
    country: str = ""
    year: int | None = Field(default=None, ge=1800, le=2200)
    permit: bool | None = None
    latitude: float | None = Field(default=None, ge=-90, le=90)
    longitude: float | None = Field(default=None, ge=-180, le=180)

    @model_validator(mode="after")
    def _consistent(self) -> Exchange:
        if any("\0" in text for value in self.__dict__.values() for text in _texts(value)):
            raise ValueError("a text holds the character NUL, which no database keeps")
        if self.ewc:
            starred = check_ewc(self.ewc)
            if starred and self.hazardous is False:
                raise ValueError(f"EWC {self.ewc} carries the * of hazardous waste, the record says not hazardous")
        if not plain_waste(self.waste_text):
            raise ValueError("the waste has no text")
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("a latitude needs a longitude, and the other way round")
        return self

    @property
    def digest(self) -> str:
        """Hex SHA-256 (first 32 digits) of the content: the record's identity, whichever file brought it."""
        return hashlib.sha256(json.dumps(list(self.__dict__.values()), ensure_ascii=True).encode()).hexdigest()[:32]


def _texts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


class Coding(Record):
    """What a record's donor or receiver is in ISIC Rev.4, and how that was found.

    ``isic``: (four-digit class, share) with shares that sum to 1 at most; none where nothing is known. ``how``:
    'given' (the source says ISIC), 'concordance' (from its national codes), 'classifier' (from its text, by a Pack).
    """

    isic: tuple[tuple[str, float], ...] = ()
    how: Literal["given", "concordance", "classifier", "none"] = "none"
    level: str = "class"  # what a classifier decided on: class, group, division, section or review
    note: str = ""

    @model_validator(mode="after")
    def _codes(self) -> Coding:
        if (not self.isic) != (self.how == "none"):
            raise ValueError("a coding has classes and says how, or has none and says 'none'")
        for code, share in self.isic:
            if not re.fullmatch(r"[0-9]{4}", code) or not 0 < share <= 1:
                raise ValueError(f"'{code}' with share {share} is no four-digit class with a share in (0, 1]")
        return self


def check_ewc(code: str) -> bool:
    """Whether a six-digit EWC code carries the ``*`` of hazardous waste; HedgerowError when it is no such code.

    >>> check_ewc("01 03 07*"), check_ewc("100201")
    (True, False)
    """
    found = _EWC.fullmatch(code.strip().replace("\u00a0", " "))
    if found is None:
        digits = re.sub(r"\D", "", code)
        hint = f"; was a leading zero lost (0{digits})?" if len(digits) == 5 else ""
        raise HedgerowError(f"'{code[:40]}' is no six-digit EWC code such as 01 03 07*{hint}")
    if not 1 <= int(found[1]) <= _CHAPTERS:
        raise HedgerowError(f"'{code}': the European List of Waste has chapters 01 to {_CHAPTERS}, not {found[1]}")
    return found[4] is not None


def plain_waste(text: str) -> str:
    """What two wordings of one waste share: Unicode form, case, spaces and a final full stop do not matter."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .;,")


def isic_text(coding: Coding) -> str:
    """'2410:0.5 2420:0.5', as the tables keep it; '' for no class."""
    return " ".join(f"{code}:{share:.4g}" for code, share in coding.isic)


def isic_shares(text: str) -> tuple[tuple[str, float], ...]:
    """The way back from :func:`isic_text`."""
    return tuple((code, float(share)) for code, _, share in (part.partition(":") for part in text.split()))


DISPOSAL, UNKNOWN, RECOVERY = -1, 0, 1
_LINEAR = re.compile(
    r"landfill|incinerat|final (?:disposal|repository)|underground deposit|dump|disposal|burial|impoundment|"
    r"open burning|tailings|residual material|sea disposal|surface deposit"
)


def route_of(dr_code: str, treatment: str) -> int:
    """RECOVERY for an R operation, DISPOSAL for a D operation or a treatment worded as one, else UNKNOWN.

    >>> route_of("R4", ""), route_of("", "treatment of scrap, sanitary landfill"), route_of("", "smelting")
    (1, -1, 0)
    """
    first = dr_code.strip()[:1].upper()
    if first in ("R", "D"):
        return RECOVERY if first == "R" else DISPOSAL
    return DISPOSAL if _LINEAR.search(treatment.casefold()) else UNKNOWN


def nested(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table ``exchanges`` as JSON: ``{id, donor, waste, treatment, receiver, kind, source, …}``."""
    waste = (("text", "waste_text"), ("ewc", "ewc"), ("ewc_stat", "ewc_stat"), ("hazardous", "hazardous"))
    rest = (
        "kind", "source", "source_id", "licence", "shareable", "status", "use", "citation", "quantity", "unit",
        "place", "country", "year", "permit", "latitude", "longitude",
    )  # fmt: skip
    return {
        "id": row["digest"],
        "donor": _party(row, "donor"),
        "waste": {ours: row[theirs] for ours, theirs in waste},
        "treatment": {"text": row["treatment_text"], "dr_code": row["dr_code"]},
        "receiver": _party(row, "receiver"),
        **{key: row[key] for key in rest},
    }


def _party(row: dict[str, Any], side: str) -> dict[str, Any]:
    return {
        "text": row[f"{side}_text"],
        "isic": [code for code, _ in isic_shares(row[f"{side}_isic"])],
        "scheme": row[f"{side}_scheme"],
        "code": [code for code in row[f"{side}_codes"].split(";") if code],
    }
