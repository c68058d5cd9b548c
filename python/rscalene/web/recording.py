"""A request from its start to its result, for every protocol and for blocks of code.

Nothing is installed before the first selected request of a process. If recording a request fails, the failure is
counted and printed on stderr; the answer to the request never changes.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import Request, label_ended, label_number, labels_followed, request_scope
from rscalene.locks import ForkLock
from rscalene.web.django_templates import follow_django
from rscalene.web.failures import failures
from rscalene.web.options import Options, disabled
from rscalene.web.outputs import Outputs
from rscalene.web.propagate import follow_threads
from rscalene.web.result import About, RequestResult
from rscalene.web.steps import Steps

if TYPE_CHECKING:
    from rscalene.web.select import View


class Recorder:
    """Selects requests and records them, according to its options."""

    def __init__(self, options: Options) -> None:
        """Start nothing."""
        self.options = options
        self.outputs = Outputs(options)
        self._lock = ForkLock()
        self._pid = 0
        self._open = 0
        self._number = 0
        self._seen: set[str] = set()
        self.unselected_full = 0

    def begin(self, view: View) -> Recording | None:
        """Open a recording, if this request is selected and fewer than ``max_selected`` are open."""
        if not self.options.when.selects(view, self.options.access):
            return self._label(view)
        with self._lock:
            pid = os.getpid()
            if pid != self._pid:
                self._pid, self._open, self._number, self.unselected_full = pid, 0, 0, 0
                self._seen = set()
            full = self._open >= self.options.max_selected
            if full:
                self.unselected_full += 1
            self._open += not full
            self._number += 1
            number, overlapped = self._number, self._open > 1
            cold = view.path not in self._seen
            if len(self._seen) < 10_000:
                self._seen.add(view.path)
        if full:
            return self._label(view)
        about = About(
            method=view.method,
            path=view.path,
            query_keys=view.query_keys() if view.query else [],
            cold=cold,
            overlapped=overlapped,
            number=number,
        )
        about.trace_id, about.span_id = trace_of(view.header("traceparent"))
        try:
            return Recording(self, about)
        except Exception as error:
            self.ended()
            failures.tell("cannot profile requests", error)
            return None

    def _label(self, view: View) -> Recording | None:
        """Open a recording that only names its route, if ``rscalene run`` records this process."""
        if not labels_followed():
            return None
        try:
            return Recording(self, About(method=view.method, path=view.path), bare=True)
        except Exception as error:
            failures.tell("cannot name requests", error)
            return None

    def notices(self) -> list[str]:
        """Return the notices of this process for the index."""
        notices = []
        if self.unselected_full:
            most = self.options.max_selected
            notices.append(
                f"process {os.getpid()}: {self.unselected_full} requests have no profile, "
                f"because {most} at once were recorded (`max_selected`)"
            )
        notices += [f"process {os.getpid()}: {what}, {count} times" for what, count in failures.counts.items()]
        return notices

    def ended(self) -> None:
        """Decrease the number of open recordings."""
        with self._lock:
            self._open -= 1


def trace_of(header: str | None) -> tuple[str | None, str | None]:
    """Return the trace's and the span's id of a ``traceparent`` header."""
    parts = (header or "").split("-")
    if len(parts) >= 4 and len(parts[1]) == 32 and len(parts[2]) == 16 and (parts[1] + parts[2]).isalnum():
        return parts[1], parts[2]
    return None, None


class Recording:
    """One request that is being recorded. The first ``finish`` ends it."""

    def __init__(self, recorder: Recorder, about: About, *, bare: bool = False) -> None:
        """Open the request; from ``enter`` on, work of the context is counted. ``bare``: only name its route."""
        options = recorder.options
        self.bare = bare
        #: Whether the request's thread works for no other request meanwhile.
        self.own_thread = True
        #: The request's own CPU time, if its thread works for other requests too.
        self.steps: Steps | None = None
        self.done = False
        self.result: RequestResult | None = None
        follow_django()
        if bare:
            self.about = about
            self.recorder = recorder
            self.request = Request(lines=False, functions=False)
            return
        if options.scope:
            request_scope(list(options.scope))
        if options.propagate:
            follow_threads()
        about.pid = os.getpid()
        about.thread = threading.get_native_id()
        about.started_at = time.time()
        about.id = secrets.token_hex(16)
        self.about = about
        self.recorder = recorder
        # The first ledger of a process hooks the drivers. Make it before the request begins to count its time.
        ledger = sql_ledger() if options.sql else None
        self.request = Request(
            lines=options.lines, functions=options.functions, memory=options.memory, max_s=options.max_s
        )
        self.request.sql = ledger

    def first_byte(self) -> None:
        """Note that the answer begins now."""
        if self.about.first_byte_s is None:
            self.about.first_byte_s = self.request.elapsed_s

    def finish(self, raw: Any = None) -> RequestResult | None:
        """End the request and write the outputs; None if it has ended before."""
        with self.recorder._lock:
            if self.done:
                return None
            self.done = True
        self.request.close()
        tell_end(self.request, labels_of(self.about), own_thread=self.own_thread)
        if self.bare:
            return None
        self.recorder.ended()
        try:
            self.result = RequestResult(self.request, self.about, source=self.recorder.options.source)
            if self.steps is not None:
                self.steps.end()
                self.result.cpu_s = self.steps.cpu_s
            if not self.own_thread:
                # The thread worked for other requests too, so its bytes are not the request's alone.
                self.result.memory = None
            if self.result.elapsed_s * 1e3 >= self.recorder.options.min_ms:
                self.recorder.outputs.write(self.result, raw)
        except Exception as error:
            failures.tell("cannot report a request", error)
        return self.result


def labels_of(about: About) -> list[tuple[str, str]]:
    """Return the label of a request: the keys and values by which costs of requests are summed."""
    if about.method == "CELERY":
        return [("task", about.name)]
    unknown = "(no route)" if about.status in (404, 405) else about.path
    return [("method", about.method), ("route", about.route or unknown)]


def tell_end(request: Request, pairs: list[tuple[str, str]], *, own_thread: bool) -> None:
    """Report to ``rscalene run`` that the request has ended; does nothing without a recorder."""
    if not labels_followed():
        return
    try:
        name = label_number(pairs)
        if name is not None:
            cpu_ns = round(request.cpu_s * 1e9) if own_thread else None
            label_ended(request.label, name, round(request.elapsed_s * 1e9), cpu_ns)
    except Exception as error:
        failures.tell("cannot name requests", error)


def sql_ledger() -> Any:
    """Return a ledger for a request's SQL; None if SQL cannot be counted."""
    try:
        ledger = import_module("rscalene.sql").ledger
    except (ImportError, AttributeError):
        return None
    try:
        return ledger()
    except Exception as error:
        failures.tell("cannot count SQL", error)
        return None


__all__ = ["Recorder", "Recording", "disabled", "sql_ledger", "tell_end", "trace_of"]
