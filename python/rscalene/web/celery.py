"""Celery: each task as a request, by its name."""

from __future__ import annotations

from typing import Any

from rscalene._rscalene import Stretch
from rscalene.web.failures import failures
from rscalene.web.options import disabled, options
from rscalene.web.recording import Recorder, Recording
from rscalene.web.select import View


def instrument(
    app: Any, *, when: object = "always", stream: Any = None, lines: bool = True, functions: bool = True, **more: Any
) -> None:
    """Profile the tasks of a Celery application; the parameters are the same as the middlewares'.

    The name of a task is the route of its requests, ``CELERY`` their method. ``when`` may be a callable of the task.
    """
    from celery.signals import task_postrun, task_prerun

    if disabled():
        return
    recorder = Recorder(options(when=when, stream=stream, lines=lines, functions=functions, **more))
    running: dict[str, tuple[Recording, Stretch]] = {}

    def begin(task_id: str | None = None, task: Any = None, **_: Any) -> None:
        if task is None or task_id is None or task.app is not app:
            return
        view = View(method="CELERY", path=task.name, query="", peer="", header=lambda name: None, raw=task)
        try:
            recording = recorder.begin(view)
            if recording is not None:
                recording.about.route = recording.about.name = task.name
                running[task_id] = (recording, recording.request.enter())
        except Exception as error:
            failures.tell("cannot profile a task", error)

    def end(task_id: str | None = None, task: Any = None, state: str | None = None, **_: Any) -> None:
        recording, stretch = running.pop(task_id or "", (None, None))
        if recording is None or stretch is None:
            return
        recording.request.exit(stretch)
        if state is not None and state != "SUCCESS":
            recording.about.error = state
        recording.finish(task)

    task_prerun.connect(begin, weak=False)
    task_postrun.connect(end, weak=False)


__all__ = ["instrument"]
