"""``propagate=True``: threads and pool jobs started by a request belong to the request, as its tasks always do."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import current_request
from rscalene.locks import ForkLock

if TYPE_CHECKING:
    from collections.abc import Callable

_lock = ForkLock()
_done = False


def follow_threads() -> None:
    """Wrap ``Thread.start`` and ``ThreadPoolExecutor.submit``, once; outside of requests nothing changes."""
    global _done
    with _lock:
        if _done:
            return
        _done = True
    start, submit = threading.Thread.start, ThreadPoolExecutor.submit

    def start_with_context(self: threading.Thread) -> None:
        if current_request() is not None:
            context, run = copy_context(), self.run

            def run_in_context() -> None:
                del self.run
                context.run(run)

            self.run = run_in_context  # type: ignore[method-assign]
        start(self)

    def submit_with_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        if current_request() is None:
            return submit(self, fn, *args, **kwargs)
        return submit(self, copy_context().run, fn, *args, **kwargs)

    threading.Thread.start = start_with_context  # type: ignore[method-assign]
    ThreadPoolExecutor.submit = submit_with_context  # type: ignore[assignment, method-assign]
