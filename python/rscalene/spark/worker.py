"""The executors' side: a daemon for Spark whose workers profile themselves, if the driver requests profiles."""

from __future__ import annotations

import json
import os
from typing import Any

from rscalene.labels import label
from rscalene.packed import Recorder

__all__ = ["VARIABLE", "manager"]

#: Environment variable of the workers, set by the driver: the accumulator's number and the profiler's options.
VARIABLE = "RSCALENE_SPARK"


class _Update:
    """A value in the form in which Spark sends accumulators."""

    def __init__(self, value: object) -> None:
        self._value = value


def _profiled(asked: dict[str, Any]) -> None:
    """Profile this worker: label its tasks, and send its profile with the accumulators of each task."""
    import pyspark.worker as worker
    from pyspark import TaskContext, accumulators

    recorder = Recorder.begin(**asked["options"])
    send, set_context = worker.send_accumulator_updates, TaskContext._setTaskContext
    open_label: list[label] = []

    def send_all(outfile: Any) -> None:
        if not recorder.launched:
            update = _Update({recorder.member: recorder.packed()})
            accumulators._accumulatorRegistry[asked["accumulator"]] = update
        send(outfile)

    def labelled(context: Any) -> None:
        while open_label:
            open_label.pop().__exit__(None, None, None)
        if context is not None:
            open_label.append(label(task=_name(context)).__enter__())
        set_context(context)

    worker.send_accumulator_updates = send_all
    TaskContext._setTaskContext = labelled


def _name(context: Any) -> str:
    """Name a task as Spark's pages do: by its job's description, otherwise by the driver's line."""
    for key in ("spark.job.description", "callSite.short"):
        name = context.getLocalProperty(key)
        if name:
            return str(name)
    return f"stage {context.stageId()}"


def manager() -> None:
    """Run Spark's daemon."""
    import pyspark.daemon as daemon

    plain = daemon.worker
    begun = False

    def worker(sock: Any, authenticated: bool) -> int:
        # This runs in a forked process; in a reused process it runs again for each task.
        nonlocal begun
        asked = os.environ.get(VARIABLE)
        if asked is not None and not begun:
            begun = True
            _profiled(json.loads(asked))
        code: int = plain(sock, authenticated)
        return code

    daemon.worker = worker
    daemon.manager()
