"""Other people's folders of lm-eval YAML: read as data before the harness reads them, and refused where they hold code.

The harness turns a tag such as ``!function`` into an imported Python function. A tag can be spelled in more ways than a
search of the text would find (escapes, ``%TAG``, JSON's braces, an included file of any name), so the parsed nodes are
looked at, of every YAML below the folder; what a file includes must be one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hedgerow.errors import HedgerowError

_ENDS = (".yaml", ".yml")
_CODE = frozenset({"class", "unsafe_code", "custom_dataset"})  # settings that name code without a tag
_PLAIN = "tag:yaml.org,2002:"
_DATA = frozenset(_PLAIN + name for name in (
    "str", "int", "float", "bool", "null", "map", "seq", "set", "omap", "pairs", "merge", "timestamp", "binary", "value"
))  # fmt: skip


def refuse_code(folder: Path) -> None:
    """HedgerowError naming file and line of the first tag, setting or include that would bring code."""
    for file in sorted(f for f in folder.rglob("*") if f.suffix.lower() in _ENDS and f.is_file()):
        for number, why in _faults(file, folder):
            raise HedgerowError(f"{file}, line {number}: {why}")


def _faults(file: Path, folder: Path) -> Iterator[tuple[int, str]]:
    import yaml

    try:
        documents = list(yaml.compose_all(file.read_bytes(), Loader=yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as e:
        line = getattr(getattr(e, "problem_mark", None), "line", 0)
        yield line + 1, f"not readable YAML: {(str(e).splitlines() or ['?'])[0][:160]}"
        return
    python = "this task brings Python code, which is not run here; write its rows as JSON lines instead"
    for node in _nodes([d for d in documents if d is not None]):
        line = node.start_mark.line + 1
        if node.tag not in _DATA:
            yield line, python
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value in _CODE:
                    yield key.start_mark.line + 1, python
                elif key.value == "include":
                    yield from _included(value, file, folder)


def _nodes(found: list[Any]) -> Iterator[Any]:
    """Every node once, however often an alias names it."""
    seen: set[int] = set()
    while found:
        node = found.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node.value, list):
            found += [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]


def _included(node: Any, file: Path, folder: Path) -> Iterator[tuple[int, str]]:
    for one in node.value if isinstance(node.value, list) else [node]:
        target = (file.parent / str(one.value)).resolve()
        if target.suffix.lower() not in _ENDS or not target.is_relative_to(folder.resolve()):
            yield one.start_mark.line + 1, "it includes what is no YAML file of this folder, which is not read here"
