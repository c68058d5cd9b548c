"""rscalene: for every line of a Python program, where its time and its memory go.

In a shell, ``rscalene run app.py`` profiles a program, and ``rscalene --help`` lists the other commands. In a program:

- :func:`profile` prints a table of a function's lines, exact to the byte;
- :class:`Profiler` profiles a stretch of the program: ``with rscalene.Profiler() as p: ...``, then ``p.print()``;
- :func:`profile_run` does so for each call of a function;
- :func:`memory_usage`, :class:`memory` and :class:`timer` measure a process, a block or a function;
- :func:`queries` counts the queries of a block by line, and :class:`limits` fails what asks or takes more than allowed;
- :class:`label` names a block, so that ``rscalene run`` shows its costs in a row of their own;
- :func:`push` profiles for as long as the program runs, and sends windows of the profile to a server;
- :func:`load` reads a saved profile as a :class:`Result`, and ``result.diff(other)`` compares two;
- :func:`merge` makes one profile of many: those of ranks, machines or tasks;
- :mod:`rscalene.compat` has the names of memory_profiler and line_profiler.

In a notebook, ``%load_ext rscalene`` adds ``%%rscalene``, ``%mprun``, ``%lprun`` and ``%memit``.
"""

from typing import TYPE_CHECKING, Any

from rscalene._rscalene import __version__

if TYPE_CHECKING:
    from rscalene.continuous import push
    from rscalene.footprint import memory, memory_usage, timer
    from rscalene.labels import label
    from rscalene.lines import profile
    from rscalene.profiler import Profiler, profile_run
    from rscalene.result import Diff, Result, load, merge
    from rscalene.sql import queries
    from rscalene.testing.limits import limits
    from rscalene.web.block import request

__all__ = [
    "Diff", "Profiler", "Result", "__version__", "label", "limits", "load", "memory", "memory_usage", "merge",
    "profile", "profile_run", "push", "queries", "request", "timer",
]  # fmt: skip

_HOMES = {
    "Diff": "result",
    "Profiler": "profiler",
    "Result": "result",
    "label": "labels",
    "limits": "testing.limits",
    "load": "result",
    "memory": "footprint",
    "memory_usage": "footprint",
    "merge": "result",
    "profile": "lines",
    "profile_run": "profiler",
    "push": "continuous",
    "queries": "sql",
    "request": "web.block",
    "timer": "footprint",
}

#: Packages reached as attributes: names of other profilers.
_PACKAGES = ("compat",)


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, for ``%load_ext rscalene``."""
    from rscalene.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Remove the magics, for ``%unload_ext rscalene``."""
    from rscalene.notebook.magics import unload

    unload()


def __dir__() -> list[str]:
    """List the public names, imported or not, for ``dir(rscalene)`` and completion."""
    return sorted({*globals(), *__all__, *_PACKAGES})


def __getattr__(name: str) -> Any:
    """Import a public name on first use: the command line needs none of these modules."""
    from importlib import import_module

    if name in _PACKAGES:
        return import_module(f"rscalene.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'rscalene' has no attribute {name!r}")
    value = getattr(import_module(f"rscalene.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
