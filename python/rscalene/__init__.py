"""rscalene: for every line of a Python program, where its time and its memory go.

Start with ``rscalene run app.py`` in a shell; ``rscalene --help`` lists the rest.
"""

from typing import TYPE_CHECKING, Any

from rscalene._rscalene import __version__

if TYPE_CHECKING:
    from rscalene.footprint import memory, memory_usage, timer
    from rscalene.lines import profile
    from rscalene.profiler import Profiler, profile_run
    from rscalene.result import Diff, Result, load

__all__ = [
    "Diff", "Profiler", "Result", "__version__", "load", "memory", "memory_usage", "profile", "profile_run", "timer",
]  # fmt: skip

_HOMES = {
    "Diff": "result",
    "Profiler": "profiler",
    "Result": "result",
    "load": "result",
    "memory": "footprint",
    "memory_usage": "footprint",
    "profile": "lines",
    "profile_run": "profiler",
    "timer": "footprint",
}


def load_ipython_extension(shell: Any) -> None:
    """Register the magics: what ``%load_ext rscalene`` calls."""
    from rscalene.notebook.magics import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take them back: what ``%unload_ext rscalene`` calls."""
    from rscalene.notebook.magics import unload

    unload()


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command line needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rscalene' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"rscalene.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
