"""The tables of a program and its children, at every kind of end.

Job: ``rscalene lines`` prints one table a function. Children of ``fork`` and of ``multiprocessing`` measure for
themselves and leave their outcomes in a folder; the first process adds these outcomes to its own. Invariant: an end by
``os._exit``, SIGTERM or SIGHUP leaves the same tables as ``sys.exit``, and the program's parent sees the same end.
Neighbours: ``command`` begins and ends the family, ``collector`` holds the outcomes of this process.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import multiprocessing.forkserver
import multiprocessing.spawn
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rscalene._rscalene import LineOutcome
from rscalene.lines.collector import Collector
from rscalene.lines.options import Options
from rscalene.lines.tables import write_or_show

__all__ = ["Family"]


class Family:
    """One process of a program under ``rscalene lines``."""

    def __init__(self, collector: Collector, folder: str | None = None, leader: int = 0) -> None:
        """Make ``collector`` the built-in ``profile``, in each child too; the first process makes the ``folder``."""
        self.collector = collector
        self.leader = leader or os.getpid()
        self.folder = folder or tempfile.mkdtemp(prefix="rscalene-lines-")
        self._ended: bool | None = None
        vars(builtins)["profile"] = collector
        self._watch_ends()
        self._watch_children()

    def end(self) -> bool:
        """Print the tables once, in the first process; a child keeps its outcomes in the folder. False: not written."""
        if os.getpid() != self.leader:
            self._keep()
            return True
        if self._ended is None:
            self._ended = True
            self._add_children()
            text = self.collector.tables()
            self._ended = write_or_show(self.collector.options.stream, text) if text else self._explain()
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            shutil.rmtree(self.folder, ignore_errors=True)
        return self._ended

    def _explain(self) -> bool:
        """Say why there is no table."""
        if self.collector.marked:
            why, hint = "no marked function was called", "the table of a function appears once a call of it has ended"
        else:
            why, hint = "no function is marked", "put `@profile` above the functions to measure; it needs no import"
        with contextlib.suppress(Exception):
            sys.stderr.write(f"rscalene: no table: {why}\nhint: {hint}\n")
        return True

    def _keep(self) -> None:
        """Write this child's outcomes into the folder; once the first process has ended, there is none."""
        with contextlib.suppress(OSError):
            whole = Path(self.folder, f"{os.getpid()}")
            part = whole.with_suffix(".part")
            part.write_text("\n".join(outcome.dump() for outcome in self.collector.outcomes()), encoding="utf-8")
            part.rename(whole)

    def _add_children(self) -> None:
        for kept in sorted(Path(self.folder).glob("*")):
            if kept.suffix != ".part":
                for line in kept.read_text(encoding="utf-8").splitlines():
                    self.collector.gather(LineOutcome.load(line))

    def _watch_ends(self) -> None:
        leave: Callable[[int], NoReturn] = os._exit

        def end_and_leave(status: int) -> NoReturn:
            self.end()
            leave(status)

        os._exit = end_and_leave
        if os.getpid() != self.leader:
            atexit.register(self.end)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.end()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _watch_children(self) -> None:
        os.register_at_fork(after_in_child=self.collector.forget)
        prepare = multiprocessing.spawn.get_preparation_data

        def prepare_and_join(name: str) -> dict[str, Any]:
            # The child unpickles this dictionary first, and ignores unknown keys.
            return {**prepare(name), "rscalene_lines": _Joining(self)}

        multiprocessing.spawn.get_preparation_data = prepare_and_join
        # The server would import the main module before `profile` exists there.
        server = multiprocessing.forkserver.ForkServer
        ensure_running = server.ensure_running

        def ensure_running_alone(this: Any) -> None:
            this._preload_modules = [name for name in this._preload_modules if name != "__main__"]
            ensure_running(this)

        server.ensure_running = ensure_running_alone  # type: ignore[method-assign, assignment]


class _Joining:
    """Becomes a :class:`Family` when a child unpickles the message."""

    def __init__(self, family: Family) -> None:
        self.arguments = (family.folder, family.leader, replace(family.collector.options, stream=None))

    def __reduce__(self) -> tuple[Callable[..., Family], tuple[str, int, Options]]:
        return _join, self.arguments


def _join(folder: str, leader: int, options: Options) -> Family:
    return Family(Collector(options), folder, leader)
