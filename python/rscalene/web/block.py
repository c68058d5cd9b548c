"""``rscalene.request``: profiles a block or a function like a request."""

from __future__ import annotations

import functools
import inspect
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import Request, Stretch
from rscalene.web.django_templates import follow_django
from rscalene.web.options import disabled
from rscalene.web.recording import sql_ledger, tell_end
from rscalene.web.result import About, RequestResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self


class request:
    """Profile a block, or each call of a function, exactly: ``with rscalene.request("import") as r: ...``.

    Counts all code in the block's context: called functions, started tasks, ``asyncio.to_thread``. Blocks may overlap
    in threads and tasks. ``r.result()`` returns the result once the block has ended. A decorated function calls
    ``on_end`` with the result of each call.
    """

    def __init__(
        self,
        name: str | Callable[..., Any] = "",
        *,
        route: str | None = None,
        lines: bool = True,
        functions: bool = False,
        memory: bool = False,
        sql: bool = True,
        on_end: Callable[[RequestResult], object] | None = None,
    ) -> None:
        """Start nothing yet. Each end calls ``on_end`` with the result."""
        self._function = name if callable(name) else None
        self.name = getattr(name, "__qualname__", "") if callable(name) else name
        self._route = route
        self._wanted = {"lines": lines, "functions": functions, "memory": memory}
        self._sql = sql
        self._is_async = False
        self._on_end = on_end
        self._request: Request | None = None
        self._stretch: Stretch | None = None
        self._about: About | None = None
        self._result: RequestResult | None = None
        self._notes: dict[str, Any] = {}
        if self._function is not None:
            functools.update_wrapper(self, self._function)

    def __enter__(self) -> Self:
        """Begin."""
        if self._request is not None:
            raise RuntimeError("this request has begun already\nhint: make one `rscalene.request(...)` for each block")
        if disabled():
            return self
        self._about = About(
            name=self.name, route=self._route, started_at=time.time(), pid=os.getpid(),
            thread=threading.get_native_id(), id=secrets.token_hex(16), notes=self._notes,
        )  # fmt: skip
        ledger = sql_ledger() if self._sql else None
        follow_django()
        self._request = Request(**self._wanted)
        self._request.sql = ledger
        self._stretch = self._request.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End. An exception of the block propagates."""
        if self._request is None or self._stretch is None or self._about is None:
            return
        self._request.exit(self._stretch)
        self._request.close()
        tell_end(self._request, [("request", self.name)], own_thread=False)
        if kind is not None:
            self._about.error = kind.__name__
        self._result = RequestResult(self._request, self._about)
        if self._is_async:
            self._result.memory = None  # other tasks of the thread may have allocated meanwhile
        if self._on_end is not None:
            self._on_end(self._result)

    async def __aenter__(self) -> Self:
        """Begin."""
        self._is_async = True
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.__exit__(kind, error, trace)

    def note(self, **values: Any) -> None:
        """Keep values with the result."""
        self._notes.update(values)

    def result(self) -> RequestResult:
        """Return the cost of the block; RuntimeError before the block's end, or under ``RSCALENE=0``."""
        if self._result is None:
            hint = "RSCALENE=0 switches requests off" if disabled() else "ask behind the `with` block"
            raise RuntimeError(f"this request has no result yet\nhint: {hint}")
        return self._result

    def _once(self) -> request:
        def end(result: RequestResult) -> None:
            self._result = result
            if self._on_end is not None:
                self._on_end(result)

        return request(self.name, route=self._route, sql=self._sql, on_end=end, **self._wanted)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Decorate a function; after a bare ``@rscalene.request``, call the decorated function."""
        if self._function is not None:
            return self._wrap(self._function)(*args, **kwargs)
        (function,) = args
        self.name = self.name or getattr(function, "__qualname__", "")
        return self._wrap(function)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind a method that a bare ``@rscalene.request`` decorates to its instance."""
        return self if instance is None or self._function is None else functools.partial(self, instance)

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                async with self._once():
                    return await function(*args, **kwargs)

            waited.request = self  # type: ignore[attr-defined]
            return waited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._once():
                return function(*args, **kwargs)

        called.request = self  # type: ignore[attr-defined]
        return called


__all__ = ["request"]
