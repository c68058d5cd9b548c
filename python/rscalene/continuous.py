"""``rscalene.push``: profiles the process until its end, and sends windows of the profile to a server."""

from __future__ import annotations

import atexit
import os
import socket
import sys
from typing import TYPE_CHECKING

from rscalene._rscalene import Push as _Push
from rscalene.profiler import Profiler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = ["Pushing", "push"]


class Pushing:
    """The result of :func:`push`; ``with rscalene.push(...):`` stops at the end of the block."""

    def __init__(self, profiler: Profiler, push: _Push) -> None:
        """Hold the profiler and the sender that :func:`push` made."""
        self._profiler = profiler
        self._push = push
        atexit.register(self.stop)

    @property
    def sent(self) -> int:
        """Number of windows accepted by the server."""
        return self._push.sent

    @property
    def dropped(self) -> int:
        """Number of windows dropped because the server did not accept them."""
        return self._push.dropped

    @property
    def error(self) -> str | None:
        """The reason why the server did not accept the last window; ``None`` if the server accepted it."""
        return self._push.error

    def stop(self, timeout: float = 2.0) -> None:
        """Send the last window and stop profiling.

        :param timeout: seconds to wait for the server; afterwards the window is dropped.
        """
        atexit.unregister(self.stop)
        self._push.stop(timeout)
        self._profiler.stop()

    def __enter__(self) -> Self:
        """Return this object; the profile has begun already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop."""
        self.stop()


def push(
    url: str,
    *,
    every: float = 15.0,
    name: str | None = None,
    labels: Mapping[str, object] | None = None,
    auth: str | tuple[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    interval: float = 0.01,
    memory: bool = True,
    all: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Pushing:
    """Profile this process from now on, and send a window of the profile every few seconds.

    The server gets pprof files (CPU and wall time, bytes and blocks allocated, bytes in use) by ``POST`` at
    ``/ingest``, in the form of Grafana Pyroscope. A slow, absent or broken server does not affect the program: a
    separate thread sends, without the GIL. At most four windows wait for the server; further windows are dropped and
    counted. A forked child sends nothing: call ``push`` again in the child.

    >>> rscalene.push("http://127.0.0.1:4040", name="shop", labels={"env": "test"})

    :param url: ``http://HOST:PORT`` or ``https://...``; ``/ingest`` is added to a URL without a path.
    :param every: seconds between two windows, at least 1, varied by a tenth.
    :param name: name of the application; the default is the name of the script.
    :param labels: labels of all windows, beside ``host``.
    :param auth: ``(name, password)``, or a token.
    :param headers: further headers, such as ``{"X-Scope-OrgID": "team"}``.
    :param interval: option of :class:`rscalene.Profiler`, as are ``memory``, ``all``, ``include`` and ``exclude``.
    :raises ValueError: for a URL or a header that cannot be used.
    :raises RuntimeError: if the interpreter's frames cannot be read.
    """
    if isinstance(auth, str):
        auth = ("", auth)
    script = os.path.basename(getattr(sys.modules.get("__main__"), "__file__", None) or "python")
    profiler = Profiler(
        interval=interval, memory=memory, all=all, include=include, exclude=exclude, name="push"
    ).start()
    try:
        pushed = _Push(
            profiler._sampler,
            url,
            name=name or os.path.splitext(script)[0],
            labels={"host": socket.gethostname()} | {key: str(value) for key, value in (labels or {}).items()},
            every_s=every,
            auth=auth,
            headers=dict(headers or {}),
        )
    except BaseException:
        profiler.stop()
        raise
    return Pushing(profiler, pushed)


# Before a fork, the sending threads end, so CPython counts only the program's threads and does not warn.
os.register_at_fork(
    before=lambda: _Push.fork(True), after_in_parent=lambda: _Push.fork(False), after_in_child=_Push.forked
)
