"""The WSGI middleware: werkzeug's ``ProfilerMiddleware`` for servers that answer several requests at the same time.

The middleware passes each part of a streamed body on at once, and does not change statuses. A failure of the profiler
does not change the answer. A profile ends at the end of the body, at ``close``, or when the program drops the body,
whichever comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rscalene.web.failures import failures
from rscalene.web.options import WERKZEUG_NAME, Options, disabled, options
from rscalene.web.recording import Recorder, Recording
from rscalene.web.select import View

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

# Largest body that is held, so that the page can be sent instead.
LARGEST_BODY = 10_000_000


class MergeStream:
    """Writes to several streams: ``MergeStream(sys.stdout, file)``."""

    def __init__(self, *streams: Any) -> None:
        """Take the streams."""
        if not streams:
            raise TypeError("at least one stream must be given")
        self.streams = streams

    def write(self, data: str) -> None:
        """Write ``data`` to each stream."""
        for stream in self.streams:
            stream.write(data)


class ProfilerMiddleware:
    """Profiles each request of a WSGI application, exactly, also while other requests run.

    The first six parameters are those of ``werkzeug.middleware.profiler.ProfilerMiddleware``. With only these, text and
    ``.prof`` files are the same as werkzeug's. The documentation of web requests explains the others.
    """

    def __init__(
        self,
        app: Application,
        stream: Any = "stdout",
        sort_by: Iterable[Any] = ("time", "calls"),
        restrictions: Iterable[Any] = (),
        profile_dir: str | None = None,
        filename_format: str | Callable[[Any], str] = WERKZEUG_NAME,
        *,
        when: object = "always",
        respond: str | Iterable[str] = "none",
        functions: bool = True,
        lines: bool = False,
        memory: bool = False,
        sql: bool = True,
        scope: str | Iterable[str] = (),
        min_ms: float = 0,
        keep: int = 200,
        keep_in: str | None = None,
        max_selected: int = 8,
        max_s: float = 30.0,
        allow: Callable[[Any], object] | None = None,
        token: str | None = None,
        propagate: bool = False,
        jsonl: Any = None,
        jsonl_rows: Iterable[str] = ("request", "line", "sql"),
        service: str | None = None,
        details: bool = False,
        source: bool = True,
        pages: bool | None = None,
        debug: bool = True,
        route_of: Callable[[Any], str | None] | None = None,
    ) -> None:
        """Check the parameters and start nothing; ValueError for an invalid parameter."""
        self._app = app
        self._recorder = Recorder(
            options(
                when=when, respond=respond, functions=functions, lines=lines, memory=memory, sql=sql, scope=scope,
                min_ms=min_ms, keep=keep, keep_in=keep_in, max_selected=max_selected, max_s=max_s,
                allow=allow, token=token, propagate=propagate, jsonl=jsonl, jsonl_rows=tuple(jsonl_rows),
                service=service, details=details, source=source, stream=stream, sort_by=sort_by,
                restrictions=restrictions, profile_dir=profile_dir,
                filename_format=filename_format, pages=pages, debug=debug,
            )
        )  # fmt: skip
        self._route_of = route_of

    @property
    def options(self) -> Options:
        """The checked parameters."""
        return self._recorder.options

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if disabled():
            return self._app(environ, start_response)
        view = view_of(environ)
        recording = None
        try:
            if self.options.pages and "/__rscalene/" in f"{view.path}/":
                answer = self._page(view, environ)
                if answer is not None:
                    start_response(answer.status_line, answer.headers)
                    return [answer.body]
            recording = self._recorder.begin(view)
        except Exception as error:
            failures.tell("cannot profile requests", error)
        if recording is None:
            return self._app(environ, start_response)
        return self._run(recording, view, environ, start_response)

    def _page(self, view: View, environ: Environ) -> Any:
        from rscalene.web.pages import answer, takes_form

        length = int(environ.get("CONTENT_LENGTH") or 0) if takes_form(self.options, view) else 0
        body = environ["wsgi.input"].read(min(length, 10_000)) if length else b""
        return answer(self.options, view, body, self._recorder.notices())

    def _run(
        self, recording: Recording, view: View, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        respond = self.options.respond
        whole = "page" in respond and not recording.bare and self._may_answer_with_page(view)
        started = _Started(recording, start_response, view, respond, hold=whole)
        request = recording.request
        stretch = request.enter()
        try:
            body = self._app(environ, started)
        except BaseException as error:
            request.exit(stretch)
            recording.about.error = type(error).__name__
            self._finish(recording, environ)
            raise
        request.exit(stretch)
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(body, wrapper):
            # Return the body as it is, so that the server can use sendfile.
            started.release()
            self._finish(recording, environ)
            return body
        watched = (
            _Sized(self, recording, environ, body)
            if hasattr(body, "__len__")
            else _Body(self, recording, environ, body)
        )
        return self._answer_with_page(watched, started, view) if whole else watched

    def _may_answer_with_page(self, view: View) -> bool:
        """Tell whether the page replaces the answer: only if the client asked for it and has permission."""
        options = self.options
        return (options.when.triggered(view) or options.when.always) and options.access.permits(view)

    def _answer_with_page(self, body: _Body, started: _Started, view: View) -> Iterable[bytes]:
        parts: list[bytes] = []
        size = 0
        for part in body:
            parts.append(part)
            size += len(part)
            if size > LARGEST_BODY or body.recording.request.elapsed_s > self.options.max_s:
                started.release()
                return _Rest(parts, body)
        body.close()
        result = body.recording.result
        status = started.status or "200 OK"
        redirects = status[:1] == "3" and self.options.when.value(view) != "follow"
        if result is None or redirects:
            started.release()
            return parts
        page = result.html().encode()
        from rscalene.web.pages import headers_of_page

        status = "200 OK" if status[:1] == "3" else status
        if status[:3] in ("204", "304"):
            status = "200 OK"
        started.replace(status, headers_of_page(len(page)))
        return [page] if view.method != "HEAD" else []

    def _finish(self, recording: Recording, environ: Environ) -> None:
        """Name the route of a recording and end it."""
        about = recording.about
        if about.route is None and self._route_of is not None:
            try:
                about.route = self._route_of(environ)
            except Exception as error:
                failures.tell("cannot name a route", error)
        recording.finish(environ)


class _Started:
    """The ``start_response`` for the application: passes the call on, or holds the call for the page."""

    def __init__(
        self, recording: Recording, start_response: StartResponse, view: View, respond: tuple[str, ...], *, hold: bool
    ) -> None:
        self._recording = recording
        self._start = start_response
        self._view = view
        self._respond = respond
        self._hold = hold
        self._headers: list[tuple[str, str]] = []
        self._exc_info: Any = None
        self._written: list[bytes] = []
        self.status: str | None = None

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        about = self._recording.about
        number = status[:3]
        about.status = int(number) if number.isdigit() else None
        self.status = status
        if self._hold:
            self._headers, self._exc_info = headers, exc_info
            return self._written.append
        self._recording.first_byte()
        write = self._pass_on(status, self._added(headers), exc_info)
        return write  # type: ignore[no-any-return]

    def _pass_on(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> Any:
        return self._start(status, headers, exc_info) if exc_info else self._start(status, headers)

    def _added(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if not self._respond or self._recording.bare or not isinstance(headers, list):
            return headers
        added = list(headers)
        request = self._recording.request
        if "header" in self._respond:
            timing = f"total;dur={request.elapsed_s * 1e3:.3f}, cpu;dur={request.cpu_s * 1e3:.3f}"
            ledger = request.sql
            if ledger is not None:
                statements = ledger.statements()
                took = sum(float(one.get("time_s") or 0) for one in statements)
                count = sum(int(one.get("count") or 0) for one in statements)
                timing += f', sql;dur={took * 1e3:.3f};desc="{count}"'
            added.append(("Server-Timing", timing))
        if "link" in self._respond:
            added.append(("X-Rscalene", f"/__rscalene/r/{self._recording.about.id}"))
        return added

    def release(self) -> None:
        """Pass on the held answer."""
        if self._hold and self.status is not None:
            self._hold = False
            write = self._pass_on(self.status, self._headers, self._exc_info)
            for part in self._written:
                write(part)

    def replace(self, status: str, headers: list[tuple[str, str]]) -> None:
        """Start another answer in place of the held answer."""
        self._hold = False
        self._start(status, headers)


class _Body:
    """The body for the server: runs the application's body in the request's context, part by part."""

    def __init__(
        self, owner: ProfilerMiddleware, recording: Recording, environ: Environ, body: Iterable[bytes]
    ) -> None:
        self._owner = owner
        self.recording = recording
        self._environ = environ
        self._body = body
        self._iterator: Iterator[bytes] | None = None
        self._sent = 0

    def __iter__(self) -> _Body:
        return self

    def __next__(self) -> bytes:
        recording = self.recording
        request = recording.request
        if recording.done:
            if self._iterator is None:
                self._iterator = iter(self._body)
            return next(self._iterator)
        stretch = request.enter()
        ended = False
        try:
            if self._iterator is None:
                self._iterator = iter(self._body)
            part = next(self._iterator)
            self._sent += len(part) if isinstance(part, (bytes, bytearray)) else 0
            return part
        except StopIteration:
            ended = True
            raise
        except BaseException as error:
            recording.about.error = type(error).__name__
            raise
        finally:
            request.exit(stretch)
            if ended:
                self._end()

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is None or self.recording.done:
            if close is not None:
                close()
            self._end()
            return
        stretch = self.recording.request.enter()
        try:
            close()
        finally:
            self.recording.request.exit(stretch)
            self._end()

    def _end(self) -> None:
        if not self.recording.done:
            self.recording.about.bytes_out = self._sent
            self._owner._finish(self.recording, self._environ)

    def __del__(self) -> None:
        # A test client may drop the body without closing it.
        try:
            self._end()
        except Exception as error:
            failures.tell("cannot report a request", error)


class _Sized(_Body):
    """A body with a length; servers send the length as Content-Length."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class _Rest:
    """A body that was partly read and then found too long for a page: the parts so far, then the rest."""

    def __init__(self, parts: list[bytes], body: _Body) -> None:
        self._parts = parts
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        self._parts = []
        yield from self._body

    def close(self) -> None:
        self._body.close()


def view_of(environ: Environ) -> View:
    """Return the parts of a request that the selection uses."""

    def header(name: str) -> str | None:
        value = environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value if isinstance(value, str) else None

    return View(
        method=environ.get("REQUEST_METHOD", "GET"),
        path=environ.get("PATH_INFO", ""),
        query=environ.get("QUERY_STRING", ""),
        peer=environ.get("REMOTE_ADDR", ""),
        header=header,
        raw=environ,
    )
