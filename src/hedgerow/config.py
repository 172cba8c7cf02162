"""Configs: a Record says which settings there are, a TOML file names presets, ``--set key=value`` changes one.

A presets file has one table per preset. ``about`` (one line) and ``minutes`` (on two cores) in it speak of the preset;
everything else is a setting::

    [tiny]
    about = "logistic regression on words"
    minutes = 1
    model = "tfidf_lr"
    fit.lr = 5e-5
"""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hedgerow import files
from hedgerow.errors import HedgerowError, did_you_mean
from hedgerow.schema import Record, check

C = TypeVar("C", bound=Record)


class Preset(Record):
    """A named choice of settings."""

    name: str
    about: str = ""
    minutes: float | None = None  # on two cores
    settings: dict[str, Any] = {}


def presets(presets_toml: Path) -> dict[str, Preset]:
    """Every preset of a file, in its order. Raises HedgerowError for a broken file."""
    found = {}
    for name, table in files.read_toml(presets_toml).items():
        if not isinstance(table, dict):
            raise HedgerowError(f"{Path(presets_toml).name}: '{name}' stands outside of a preset; put it under [NAME]")
        settings = {key: value for key, value in table.items() if key not in ("about", "minutes")}
        about = {key: table[key] for key in ("about", "minutes") if key in table}
        found[name] = check(Preset, {"name": name, "settings": settings, **about}, f"preset '{name}'")
    return found


def load(config: type[C], presets_toml: Path, preset: str, sets: Sequence[str] = ()) -> C:
    """A config: its defaults, changed by a preset, changed by ``sets`` ('key=value'; 'fit.lr=1e-4' reaches inside).

    Raises HedgerowError, in one line with a near spelling, for an unknown preset or key and for a value that does not
    fit.
    """
    known = presets(presets_toml)
    if preset not in known:
        raise HedgerowError(f"no preset is called '{preset}'{did_you_mean(preset, known)}")
    base = check(config, known[preset].settings, f"preset '{preset}'")
    return change(base, sets)


def change(config: C, sets: Sequence[str]) -> C:
    """A copy of ``config`` with ``sets`` applied and checked; the config itself stays as it is."""
    data = config.model_dump()
    for text in sets:
        key, equals, value = text.partition("=")
        path = key.strip().split(".")
        if not equals or not all(path):
            raise HedgerowError(f"--set {text}: expected key=value, such as --set {_an_example(type(config))}")
        keys = [row["key"] for row in describe(type(config))]
        annotation = _annotation(type(config), path)
        if annotation is None:
            raise HedgerowError(f"--set {text}: unknown key '{'.'.join(path)}'{_near(path, keys)}")
        _put(data, path, _value(value, annotation))
        check(type(config), data, f"--set {text}")  # each alone, so that the fault names the setting that has it
    return check(type(config), data, "--set")


def config_digest(config: Record) -> str:
    """Hex SHA-256 of the config's values: equal settings, however they were given, have equal digests."""
    return files.digest(config.model_dump(mode="json"))


def describe(config: type[Record]) -> list[dict[str, str]]:
    """One row per setting: key (dotted for nested records), type, default, meaning."""
    return [
        {"key": ".".join(path), "type": _spell(annotation), "default": default, "meaning": meaning}
        for path, annotation, default, meaning in _fields(config)
    ]


def _fields(config: type[Record], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, str, str]]:
    for name, field in config.model_fields.items():
        nested = _record(field.annotation)
        if nested is not None:
            yield from _fields(nested, (*above, name))
            continue
        default = "" if field.is_required() else _show(field.get_default(call_default_factory=True))
        yield (*above, name), field.annotation, default, field.description or ""


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return files.canonical(value) if isinstance(value, list | tuple | dict) else str(value)


def _spell(annotation: Any) -> str:
    """A type as a person reads it: ``text``, ``number``, ``'a' | 'b'``, ``list of integer``."""
    names = {str: "text", float: "number", int: "integer", bool: "true | false", type(None): "none", Any: "any"}
    if annotation in names:
        return names[annotation]
    inside, origin = typing.get_args(annotation), typing.get_origin(annotation)
    if origin is typing.Literal:
        return " | ".join(repr(option) for option in inside)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_spell(option) for option in inside)
    if origin in (list, tuple, set, frozenset):
        return "list of " + _spell(inside[0]) if inside else "list"
    if origin is dict:
        return f"table of {_spell(inside[1])}"
    return str(getattr(annotation, "__name__", annotation))


def _record(annotation: Any) -> type[Record] | None:
    """The record that a setting holds, also when it may be absent; None for any other setting."""
    options = [annotation, *typing.get_args(annotation)] if _is_union(annotation) else [annotation]
    return next((o for o in options if isinstance(o, type) and issubclass(o, Record)), None)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _annotation(config: type[Record], path: Sequence[str]) -> Any:
    """The type of the setting at ``path``; None when there is no such setting."""
    current: type[Record] | None = config
    annotation: Any = None
    for part in path:
        if current is None or part not in current.model_fields:
            return None
        annotation = current.model_fields[part].annotation
        current = _record(annotation)
    return annotation


def _value(text: str, annotation: Any) -> Any:
    """A TOML value where it is one, else the text itself; a setting that holds text takes any word as it stands."""
    text = text.strip()
    options = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if type(None) in options and text in ("none", "null"):
        return None
    if str in options and text[:1] not in ("'", '"') and not {int, float, bool} & set(options):
        return text
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = parsed.get("value")
    return value if len(parsed) == 1 and isinstance(value, bool | int | float | str | list | dict) else text


def _put(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = data.get(part)
        data[part] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[part]
    data[path[-1]] = value


def _near(path: Sequence[str], keys: Sequence[str]) -> str:
    """The suggestion for an unknown key: one that ends in the same word before one that is spelt alike."""
    same = [key for key in keys if key.split(".")[-1] == path[-1]]
    return f" (did you mean '{same[0]}'?)" if same else did_you_mean(".".join(path), keys)


def _an_example(config: type[Record]) -> str:
    return next((f"{row['key']}={row['default'] or '…'}" for row in describe(config)), "key=value")
