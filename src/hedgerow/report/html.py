"""HTML that cannot be broken by its texts: every string is escaped unless it was made by :func:`h` itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TypeAlias

_VOID = frozenset({"meta", "br", "hr", "input", "col"})


class Html(str):
    """Markup that is safe to insert as it is. Made by :func:`h`, or from a picture of ours."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Sequence[Child] | None"


def h(tag: str, *children: Child, **attributes: str | bool | None) -> Html:
    """``<tag attribute="…">children</tag>``; texts are escaped, ``class_`` becomes class, ``data_x`` data-x.

    An attribute that is None or False is left out.
    """
    parts = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        name = key.rstrip("_").replace("_", "-")
        parts.append(f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"')
    head = f"<{tag}{''.join(parts)}>"
    return Html(head) if tag in _VOID else Html(f"{head}{joined(children)}</{tag}>")


def joined(children: Child) -> Html:
    """Children one after another; None is nothing."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(escape(str(children), quote=True))
    return Html("".join(joined(child) for child in children))
