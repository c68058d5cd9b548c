"""A profiler shared within a process, and its profiles as compressed bytes for another process.

Callers: ``rscalene.dask`` and ``rscalene.spark``, on the workers of a cluster and where their profiles are merged.
"""

from __future__ import annotations

import gzip
import itertools
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Self

import rscalene
from rscalene._rscalene import labels_followed
from rscalene.locks import ForkLock
from rscalene.profiler import Profiler
from rscalene.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Merged", "Recorder", "latest", "launched"]

LAUNCHED = "`rscalene run` profiles this program, workers included"

#: A fast level of compression; slower levels save a tenth of the bytes.
_LEVEL = 1


class Recorder:
    """The profiler of this process, shared by all callers of :meth:`begin`; the last :meth:`end` stops the profiler."""

    _lock = ForkLock()
    _shared: Recorder | None = None

    def __init__(self, options: dict[str, Any]) -> None:
        """Start, unless ``rscalene run`` profiles this process."""
        self.pid, self.users = os.getpid(), 1
        self.member = f"{socket.gethostname()}-{self.pid}-{time.time_ns()}"
        #: Whether ``rscalene run`` profiles this process; then this recorder profiles nothing.
        self.launched = launched()
        self._taken = itertools.count(1)
        self.profiler = None if self.launched else Profiler(**options).start()

    @classmethod
    def begin(cls, **options: Any) -> Self:
        """Return the process' recorder, with one more user; only the first call's options have an effect."""
        with cls._lock:
            shared = cls._shared
            if isinstance(shared, cls) and shared.pid == os.getpid():
                shared.users += 1
                return shared
            cls._shared = new = cls(options)
            return new

    def packed(self) -> tuple[int, bytes]:
        """Return the profile so far: a number that grows with each call, and compressed JSON."""
        assert self.profiler is not None
        number = next(self._taken)
        return number, gzip.compress(self.profiler.snapshot().to_json().encode(), _LEVEL)

    def end(self) -> None:
        """Take one user away; stop the profiler if no other user is left."""
        with self._lock:
            self.users -= 1
            if self.users > 0:
                return
            type(self)._shared = None
        if self.profiler is not None:
            self.profiler.stop()


def launched() -> bool:
    """Whether ``rscalene run`` profiles this process."""
    return "RSCALENE_ARENA" in os.environ and labels_followed()


def latest(
    ours: Mapping[str, tuple[int, bytes]], theirs: Mapping[str, tuple[int, bytes]]
) -> dict[str, tuple[int, bytes]]:
    """Return the profile with the highest number for each process, from two collections."""
    return {name: max(ours.get(name, (0, b"")), theirs.get(name, (0, b""))) for name in {*ours, *theirs}}


class Merged:
    """The merged profile of a block on a cluster, once the block has ended."""

    def __init__(self, none: str) -> None:
        """Hold no profile yet; ``none`` is the message of the error if the block ends without profiles."""
        self._profiles: list[bytes] = []
        self._none = none
        self._why = "the block has not ended"
        self._result: Result | None = None

    def take(self, profiles: Mapping[str, tuple[int, bytes]]) -> None:
        """Take each process' result of :meth:`Recorder.packed`, at the block's end."""
        self._profiles = [packed for _, packed in (profiles[name] for name in sorted(profiles))]
        self._why = f"{LAUNCHED}\nhint: `rscalene run -o FILE.json` saves the profile" if launched() else self._none

    @property
    def processes(self) -> int:
        """Number of processes that contributed."""
        return len(self._profiles)

    def result(self) -> Result:
        """Return the profile; RuntimeError if there is none."""
        if self._result is None:
            self._result = rscalene.merge(self._known())
        return self._result

    def results(self) -> list[Result]:
        """Return the profile of each process; RuntimeError if there is none."""
        return [Result.from_json(profile) for profile in self._known()]

    def _known(self) -> list[bytes]:
        if not self._profiles:
            raise RuntimeError(self._why)
        return [gzip.decompress(profile) for profile in self._profiles]
