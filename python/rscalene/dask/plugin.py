"""The workers' side: a profiler for each process, and labels for tasks.

The scheduler keeps the latest profile of each worker, so a killed worker loses only its last seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from typing import TYPE_CHECKING, Any

from dask.utils import key_split
from distributed import SchedulerPlugin, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from rscalene.labels import label
from rscalene.packed import Recorder, latest

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["NAME", "Keeper", "Plugin", "dask_setup"]

#: The plugins' name, on workers and on the scheduler.
NAME = "rscalene"


class Keeper(SchedulerPlugin):
    """Keeps the latest profile of each worker process on the scheduler."""

    name = NAME

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.kept: dict[str, tuple[int, bytes]] = {}

    async def start(self, scheduler: Any) -> None:
        """Take profiles from workers."""
        scheduler.handlers["rscalene_keep"] = self.keep

    async def keep(self, member: str, number: int, profile: bytes) -> None:
        """Take a profile in place of the worker's earlier one."""
        self.kept = latest(self.kept, {member: (number, profile)})


class Plugin(WorkerPlugin):
    """Profiles workers: ``client.register_plugin(rscalene.dask.Plugin())``, then :func:`rscalene.dask.collect`."""

    name = NAME

    def __init__(self, *, every: float = 5.0, **options: Any) -> None:
        """Set the options; nothing runs yet.

        :param every: seconds between two profiles that a worker sends to the scheduler; a killed worker loses at most
            this time.
        :param options: options of :class:`rscalene.Profiler`, such as ``memory=False``.
        """
        self.every, self.options = every, options
        self.recorder: Recorder | None = None

    async def setup(self, worker: Worker) -> None:
        """Begin on a worker."""
        self._worker: Any = worker
        self._plain = worker.execute
        self._worker.execute = self._labelled
        self.recorder = Recorder.begin(**self.options)
        if self.recorder.launched:
            return
        # The first worker registers the plugin; `idempotent` makes later registrations do nothing.
        keeper = pickle.dumps(Keeper())
        await self._worker.scheduler.register_scheduler_plugin(plugin=keeper, name=NAME, idempotent=True)
        self._ticks = PeriodicCallback(self._send, self.every * 1000)
        self._ticks.start()

    async def teardown(self, worker: Worker) -> None:
        """End on a worker that leaves, after a last profile for the scheduler."""
        self._worker.execute = self._plain
        recorder, self.recorder = self.recorder, None
        if recorder is None or recorder.launched:
            return
        self._ticks.stop()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._send_from(recorder)
        recorder.end()

    async def packed(self) -> dict[str, tuple[int, bytes]]:
        """Return the process' profile so far under the process' name; nothing under ``rscalene run``."""
        recorder = self.recorder
        if recorder is None or recorder.launched:
            return {}
        return {recorder.member: await asyncio.to_thread(recorder.packed)}

    async def _labelled(self, key: Any, *, stimulus_id: str) -> Any:
        # Dask runs the task in a copy of this context.
        with label(task=key_split(key)):
            return await self._plain(key, stimulus_id=stimulus_id)

    async def _send(self) -> None:
        if self.recorder is not None:
            # The scheduler may end before its workers.
            with contextlib.suppress(OSError):
                await self._send_from(self.recorder)

    async def _send_from(self, recorder: Recorder) -> None:
        number, profile = await asyncio.to_thread(recorder.packed)
        await self._worker.scheduler.rscalene_keep(member=recorder.member, number=number, profile=profile)


async def dask_setup(worker: Any) -> None:
    """Profile a worker from its beginning: ``dask worker --preload rscalene.dask``."""
    if hasattr(worker, "plugin_add") and hasattr(worker, "execute"):
        await worker.plugin_add(plugin=Plugin())
