"""The client's side: fetches the profiles of the workers, and merges them."""

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
    """Return the merged profile of all workers so far; the workers continue.

    For a worker that has ended, the result contains the last profile sent to the scheduler.

    :raises RuntimeError: if no worker has the plugin, or the workers run under ``rscalene run``.
    """
    merged = Merged(_NONE)
    merged.take(_profiles(client))
    return merged.result()


@contextlib.contextmanager
def profile(client: Client, *, every: float = 5.0, **options: Any) -> Iterator[Merged]:
    """Profile the workers of a cluster during a block, including workers that join meanwhile.

    Under ``rscalene run`` the block only labels the tasks in the run's profile, and makes no profile of its own.

    :param every: seconds between two profiles that a worker sends to the scheduler; a killed worker loses at most this
        time.
    :param options: options of :class:`rscalene.Profiler`, such as ``memory=False``.
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
    """Return the latest profile of every worker process, by the process' name; workers in a process share a profile."""
    found: dict[str, tuple[int, bytes]] = {}
    for answer in client.run(_packed, on_error="ignore").values():
        found = latest(found, answer)
    # Ask the scheduler last: a worker that ended meanwhile has sent its profile to the scheduler.
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
