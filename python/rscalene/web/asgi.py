"""The ASGI middleware: FastAPI, Starlette, Django's ASGI, Quart.

The middleware passes every message on at once, unless the page may replace the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from rscalene.web.failures import failures
from rscalene.web.options import Options, disabled, options
from rscalene.web.recording import Recorder, Recording
from rscalene.web.select import View
from rscalene.web.steps import Steps

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Largest body that is held, so that the page can be sent instead.
LARGEST_BODY = 10_000_000


class ProfilerMiddleware:
    """Profiles each request of an ASGI application, exactly, with its child tasks and threads."""

    def __init__(
        self,
        app: Application,
        *,
        when: object = "?profile",
        respond: str | Iterable[str] = "page",
        stream: Any = None,
        sort_by: Iterable[Any] = ("time", "calls"),
        restrictions: Iterable[Any] = (),
        profile_dir: str | None = None,
        filename_format: str | Callable[[Any], str] | None = None,
        functions: bool = True,
        lines: bool = True,
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
        debug: bool = False,
    ) -> None:
        """Check the parameters and start nothing; ValueError for an invalid parameter."""
        self.app = app
        named = {} if filename_format is None else {"filename_format": filename_format}
        self._recorder = Recorder(
            options(
                when=when, respond=respond, functions=functions, lines=lines, memory=memory, sql=sql, scope=scope,
                min_ms=min_ms, keep=keep, keep_in=keep_in, max_selected=max_selected, max_s=max_s,
                allow=allow, token=token, propagate=propagate, jsonl=jsonl, jsonl_rows=tuple(jsonl_rows),
                service=service, details=details, source=source, stream=stream, sort_by=sort_by,
                restrictions=restrictions, profile_dir=profile_dir,
                pages=pages, debug=debug, **named,
            )
        )  # fmt: skip

    @property
    def options(self) -> Options:
        """The checked parameters."""
        return self._recorder.options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, a websocket or the lifespan."""
        if scope["type"] not in ("http", "websocket") or disabled():
            await self.app(scope, receive, send)
            return
        recording = None
        view = view_of(scope)
        try:
            if self.options.pages and scope["type"] == "http" and "/__rscalene/" in f"{view.path}/":
                from rscalene.web.pages import answer, takes_form

                body = await read(receive) if takes_form(self.options, view) else b""
                found = answer(self.options, view, body, self._recorder.notices())
                if found is not None:
                    await reply(send, int(found.status_line[:3]), found.headers, found.body)
                    return
            recording = self._recorder.begin(view)
        except Exception as error:
            failures.tell("cannot profile requests", error)
        if recording is None:
            await self.app(scope, receive, send)
            return
        await self._run(recording, view, scope, receive, send)

    async def _run(self, recording: Recording, view: View, scope: Scope, receive: Receive, send: Send) -> None:
        options, about = self.options, recording.about
        triggered = options.when.triggered(view) or options.when.always
        whole = "page" in options.respond and scope["type"] == "http" and triggered and options.access.permits(view)
        whole = whole and not recording.bare
        # While this request waits, its thread works for other requests.
        recording.own_thread = False
        recording.steps = steps = None if recording.bare else Steps()
        held = _Held(self, recording, view, send, hold=whole)
        request = recording.request
        stretch = request.enter()
        try:
            work = self.app(scope, receive, held)
            await (work if steps is None else steps.run(work))
        except BaseException as error:
            about.error = type(error).__name__
            raise
        finally:
            request.exit(stretch)
            route = scope.get("route")
            about.route = about.route or getattr(route, "path", None)
            if about.first_byte_s is not None and held.ended_s is not None:
                about.after_response_s = max(request.elapsed_s - held.ended_s, 0.0)
            recording.finish(scope)
            if about.error is not None:
                await held.release()
        await held.answer()


class _Held:
    """The ``send`` for the application: passes messages on, or holds them until the page may replace them."""

    def __init__(self, owner: ProfilerMiddleware, recording: Recording, view: View, send: Send, *, hold: bool) -> None:
        self._owner = owner
        self._recording = recording
        self._view = view
        self._send = send
        self._hold = hold
        self._messages: list[MutableMapping[str, Any]] = []
        self._size = 0
        self.ended_s: float | None = None

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        recording, kind = self._recording, message["type"]
        about = recording.about
        if kind == "http.response.start":
            about.status = message.get("status")
            if not self._hold:
                message = self._added(message)
        elif kind == "websocket.accept":
            about.status = 101
        elif kind in ("http.response.body", "websocket.send"):
            data = message.get("body") or message.get("bytes") or message.get("text") or b""
            self._size += len(data)
            about.bytes_out = self._size
            if kind == "http.response.body" and not message.get("more_body"):
                self.ended_s = recording.request.elapsed_s
        recording.first_byte()
        if not self._hold:
            await self._send(message)
            return
        self._messages.append(message)
        plain = kind in ("http.response.start", "http.response.body")
        if not plain or self._size > LARGEST_BODY or recording.request.elapsed_s > self._owner.options.max_s:
            await self.release()

    def _added(self, message: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        respond, request, steps = self._owner.options.respond, self._recording.request, self._recording.steps
        added: list[tuple[bytes, bytes]] = []
        if self._recording.bare:
            return message
        if "header" in respond:
            timing = f"total;dur={request.elapsed_s * 1e3:.3f}, cpu;dur={(steps or request).cpu_s * 1e3:.3f}"
            added.append((b"server-timing", timing.encode()))
        if "link" in respond:
            added.append((b"x-rscalene", f"/__rscalene/r/{self._recording.about.id}".encode()))
        return {**message, "headers": [*message.get("headers", ()), *added]} if added else message

    async def release(self) -> None:
        """Send the held messages."""
        self._hold = False
        messages, self._messages = self._messages, []
        for message in messages:
            await self._send(message)

    async def answer(self) -> None:
        """Send the page, if the application's answer is still held."""
        if not self._hold:
            return
        result, about = self._recording.result, self._recording.about
        status = about.status or 200
        redirects = 300 <= status < 400 and self._owner.options.when.value(self._view) != "follow"
        if result is None or redirects or not self._messages:
            await self.release()
            return
        from rscalene.web.pages import headers_of_page

        page = result.html().encode()
        status = 200 if status in (204, 304) or 300 <= status < 400 else status
        await reply(self._send, status, headers_of_page(len(page)), b"" if self._view.method == "HEAD" else page)


def view_of(scope: Scope) -> View:
    """Return the parts of a request that the selection uses."""

    def header(name: str) -> str | None:
        wanted = name.encode()
        for key, value in scope.get("headers", ()):
            if key.lower() == wanted:
                return bytes(value).decode("latin-1")
        return None

    client = scope.get("client")
    return View(
        method=scope.get("method", "GET") if scope["type"] == "http" else "WEBSOCKET",
        path=scope.get("path", ""),
        query=bytes(scope.get("query_string") or b"").decode("latin-1"),
        peer=client[0] if client else "",
        header=header,
        raw=scope,
    )


async def read(receive: Receive) -> bytes:
    """Read the body of a small form, at most about 10,000 bytes."""
    body = b""
    while len(body) < 10_000:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def reply(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a complete answer."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
