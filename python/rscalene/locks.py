"""Locks for processes that fork: each lock is free at the start of a forked child.

A thread may hold a lock while another thread forks. In the child, no thread would release the lock, so this module
replaces each of its locks in the child.
"""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

__all__ = ["ForkLock"]

_all: weakref.WeakSet[ForkLock] = weakref.WeakSet()


class ForkLock:
    """A ``threading.Lock`` for ``with``, free at the start of each forked child."""

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        """Make the lock."""
        self.renew()
        _all.add(self)

    def renew(self) -> None:
        """Free the lock, even if a thread holds the lock."""
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        """Wait for the lock and take it."""
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Release the lock; in a child that was forked inside the block, the lock is free already."""
        if self._lock.locked():
            self._lock.release()


def _renew_all() -> None:
    for lock in list(_all):
        lock.renew()


os.register_at_fork(after_in_child=_renew_all)
