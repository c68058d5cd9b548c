"""Lines of Django's templates.

Django interprets its templates: every node is rendered by the same few functions of the library. This module gives the
nodes of each line a code object of their own, with the template's file name and line. A rendered node is then a
frame of the template in every measurement: events of requests, samples, allocations and queries.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["follow_django", "install"]

_MODULE = "django.template.base"
#: Attribute of a node that holds the function of its line.
_ATTRIBUTE = "_rscalene_line"
#: Most lines of templates; nodes of further lines are counted for the line that called Django.
_MOST_LINES = 20_000


_lines: dict[tuple[str, int, str], Callable[..., Any]] = {}
_installed = False


def follow_django() -> None:
    """Show lines of Django's templates from now on, if the program has loaded Django's templates."""
    if not _installed and _MODULE in sys.modules:
        install(sys.modules[_MODULE])


def install(module: ModuleType) -> None:
    """Wrap ``Node.render_annotated``; ``module`` is ``django.template.base``."""
    global _installed
    node = getattr(module, "Node", None)
    inner = getattr(node, "render_annotated", None)
    if _installed or node is None or inner is None:
        return
    _installed = True

    def render_annotated(self: Any, context: Any) -> Any:
        render = self.__dict__.get(_ATTRIBUTE)
        if render is None:
            render = _line_of(self)
        return render(inner, self, context)

    render_annotated.__doc__ = inner.__doc__
    node.render_annotated = render_annotated


def _call(render: Any, node: Any, context: Any) -> Any: return render(node, context)  # fmt: skip


def _line_of(node: Any) -> Callable[..., Any]:
    """Return the function that renders nodes of this node's line, and keep it in the node."""
    file = getattr(getattr(node, "origin", None), "name", None)
    line = getattr(getattr(node, "token", None), "lineno", None)
    # A template without a file is the work of the line that renders it.
    if not isinstance(file, str) or file.startswith("<") or not isinstance(line, int) or line < 1:
        render = _call
    else:
        key = (file, line, type(node).__name__)
        found = _lines.get(key)
        if found is None and len(_lines) < _MOST_LINES:
            code = _call.__code__.replace(co_filename=file, co_firstlineno=line, co_name=key[2], co_qualname=key[2])
            found = _lines[key] = FunctionType(code, _call.__globals__)
        render = found or _call
    node.__dict__[_ATTRIBUTE] = render
    return render
