"""Every file and setting that comes from outside is checked here: pydantic inside, one line outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hedgerow.errors import HedgerowError, did_you_mean


class Record(BaseModel):
    """Base of all checked records: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=BaseModel)


def check(model: type[R], data: Mapping[str, Any] | Any, where: str) -> R:
    """``data`` as a ``model``; the first fault raises HedgerowError naming ``where``, the key, and a near spelling."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        fault = e.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            raise HedgerowError(f"{where}: unknown key '{key}'{did_you_mean(str(fault['loc'][-1]), known)}") from None
        if fault["type"] == "missing":
            raise HedgerowError(f"{where}: '{key}' is missing") from None
        value = repr(fault.get("input"))
        value = value if len(value) <= 60 else value[:57] + "…"
        message = fault["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        raise HedgerowError(f"{where}: {key + ': ' if key else ''}{message} (got {value})") from None


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """Field names of the record that ``path`` leads to, for the suggestion; [] when it cannot be followed."""
    current: Any = model
    for part in path:
        record = _record_in(current)
        if record is not None and part in record.model_fields:
            current = record.model_fields[part].annotation
    record = _record_in(current)
    return [] if record is None else list(record.model_fields)


def _record_in(annotation: Any) -> type[BaseModel] | None:
    """The record itself, or the first among the arguments of a union, list or table."""
    import typing

    options = (annotation, *typing.get_args(annotation))
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
