"""How a line table is measured and printed: the options of ``@profile``, checked before anything runs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Options", "TableStream"]


class TextStream(Protocol):
    """An object with ``write`` for text."""

    def write(self, text: str, /) -> object:
        """Write ``text``."""


TableStream = TextStream | str | os.PathLike[str] | logging.Logger

#: Kinds of table, and the names other profilers give to ways of measuring memory.
_MEMORY_COLUMNS = ("memory", "classic", "all")
_COLUMNS = ("memory", "classic", "time", "line_profiler", "all")
_EXACT_BACKENDS = ("exact", "tracemalloc")
_RESIDENT_BACKENDS = ("rss", "psutil", "psutil_pss", "psutil_uss", "posix")


@dataclass(frozen=True)
class Options:
    """How a table is measured and printed; made by :func:`profile` from its arguments."""

    stream: TableStream | None = None
    precision: int = 1
    backend: str = "exact"
    columns: str = "memory"
    peak: bool = False
    name: str | None = None
    unit_s: float = 1e-6
    sql: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible options before anything runs."""
        if self.columns not in _COLUMNS:
            raise ValueError(f"columns must be one of {', '.join(_COLUMNS)}, not {self.columns!r}")
        if self.backend not in _EXACT_BACKENDS + _RESIDENT_BACKENDS:
            raise ValueError(f"backend must be 'exact', 'rss' or 'tracemalloc', not {self.backend!r}")
        stream: object = self.stream
        if not (stream is None or isinstance(stream, str | os.PathLike | logging.Logger) or hasattr(stream, "write")):
            raise TypeError(f"stream must have `write`, or be a path or a logger, not {stream!r}")
        if not isinstance(self.precision, int) or not 0 <= self.precision <= 12:
            raise ValueError(f"precision must be between 0 and 12 decimals, not {self.precision!r}")

    @property
    def memory(self) -> str | None:
        """The engine's way to count memory: ``"exact"``, ``"rss"``, or ``None``."""
        if self.columns not in _MEMORY_COLUMNS:
            return None
        return "exact" if self.backend in _EXACT_BACKENDS else "rss"
