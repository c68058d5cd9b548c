"""What runs where Spark's executors are: a daemon whose workers profile themselves, where the driver asks for it."""

from __future__ import annotations

import json
import os
from typing import Any

from rscalene.labels import label
from rscalene.packed import Recorder

__all__ = ["VARIABLE", "manager"]

#: What the driver tells its workers, in their environment: the accumulator's number and the profiler's options.
VARIABLE = "RSCALENE_SPARK"


class _Update:
    """What Spark sends of an accumulator."""

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
    """Name a task as Spark's pages do: its job's description, else where the driver called."""
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
        # In a forked process; a process that is used again comes here for each task.
        nonlocal begun
        asked = os.environ.get(VARIABLE)
        if asked is not None and not begun:
            begun = True
            _profiled(json.loads(asked))
        code: int = plain(sock, authenticated)
        return code

    daemon.worker = worker
    daemon.manager()
