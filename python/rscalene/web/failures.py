"""Failures of the profiler: they are counted and printed, and never affect the request."""

from __future__ import annotations

import os
import sys

__all__ = ["failures"]


class Failures:
    """Counts failures; each process prints the first of each kind on stderr."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self.counts: dict[str, int] = {}
        self._pid = os.getpid()

    def tell(self, what: str, error: BaseException) -> None:
        """Count a failure; print the first of its kind on stderr."""
        if self._pid != os.getpid():
            self._pid, self.counts = os.getpid(), {}
        self.counts[what] = self.counts.get(what, 0) + 1
        if self.counts[what] == 1:
            first, *rest = str(error).splitlines() or [type(error).__name__]
            hints = "".join(f"\n{line}" for line in rest)
            print(f"rscalene: {what}: {first}{hints}", file=sys.stderr, flush=True)


failures = Failures()
