"""What runs where the client is: ask the workers, and merge."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from rscalene.dask.plugin import NAME, Plugin
from rscalene.packed import Merged, latest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, Scheduler, Worker

    from rscalene.result import Result

__all__ = ["collect", "profile"]

_NONE = """no worker of this cluster is profiled
hint: `client.register_plugin(rscalene.dask.Plugin())` before the work"""


def collect(client: Client) -> Result:
    """Return the merged profile of all workers so far; the workers go on.

    A worker that has gone since contributes what it sent last.

    :raises RuntimeError: if no worker has the plugin, or the workers run under ``rscalene run``.
    """
    merged = Merged(_NONE)
    merged.take(_profiles(client))
    return merged.result()


@contextlib.contextmanager
def profile(client: Client, *, every: float = 5.0, **options: Any) -> Iterator[Merged]:
    """Profile the workers of a cluster during a block; workers that join meanwhile are profiled too.

    Under ``rscalene run`` the block labels the tasks in the run's profile, and there is no profile of its own.

    :param every: seconds between two profiles that a worker sends to the scheduler: what a killed worker loses.
    :param options: as :class:`rscalene.Profiler` takes them, such as ``memory=False``.
    """
    client.run_on_scheduler(_forget)
    client.register_plugin(Plugin(every=every, **options))
    merged = Merged(_NONE)
    try:
        yield merged
    finally:
        try:
            merged.take(_profiles(client))
        finally:
            client.unregister_worker_plugin(NAME)


def _profiles(client: Client) -> dict[str, tuple[int, bytes]]:
    """Return the latest profile of every worker process, by its name: threads of one process share a profile."""
    found: dict[str, tuple[int, bytes]] = {}
    for answer in client.run(_packed, on_error="ignore").values():
        found = latest(found, answer)
    # Asked last: a worker that ended meanwhile has sent its profile there.
    return latest(found, client.run_on_scheduler(_kept))


async def _packed(dask_worker: Worker) -> dict[str, tuple[int, bytes]]:
    plugin = dask_worker.plugins.get(NAME)
    return await plugin.packed() if isinstance(plugin, Plugin) else {}


def _keeper(scheduler: Scheduler) -> Any:
    return scheduler.plugins.get(NAME)


def _kept(dask_scheduler: Scheduler) -> dict[str, tuple[int, bytes]]:
    keeper = _keeper(dask_scheduler)
    return {} if keeper is None else keeper.kept


def _forget(dask_scheduler: Scheduler) -> None:
    keeper = _keeper(dask_scheduler)
    if keeper is not None:
        keeper.kept = {}
