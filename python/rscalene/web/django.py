"""The Django middleware, for WSGI and ASGI; configured by ``settings.RSCALENE``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse

from rscalene._rscalene import labels_followed
from rscalene.web.failures import failures
from rscalene.web.options import disabled, options
from rscalene.web.recording import Recorder, Recording
from rscalene.web.select import View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# Keys of `settings.RSCALENE` are parameters of the middlewares, in upper case.
DEFAULTS: dict[str, Any] = {"when": "?profile", "respond": "page", "lines": True, "functions": True, "pages": True}


class ProfilerMiddleware:
    """Profiles requests: put ``"rscalene.django.ProfilerMiddleware"`` first in ``MIDDLEWARE``."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        """Check the settings and start nothing; off unless ``DEBUG``, ``ALLOW`` or ``TOKEN`` is set."""
        values = {key.lower(): value for key, value in getattr(settings, "RSCALENE", {}).items()}
        if "dir" in values:
            values["keep_in"] = values.pop("dir")
        if isinstance(values.get("allow"), str):
            home, _, name = values["allow"].rpartition(".")
            values["allow"] = getattr(import_module(home), name)
        guarded = str(values.get("when", "?profile")).startswith("?") and not (
            values.get("allow") or values.get("token")
        )
        off = guarded and not settings.DEBUG
        if disabled() or (off and not labels_followed()):
            raise MiddlewareNotUsed
        if off:
            # `rscalene run` records this process: only give it the names of routes.
            values |= {"when": "never", "pages": False}
        self.get_response = get_response
        self._async = iscoroutinefunction(get_response)
        if self._async:
            markcoroutinefunction(self)
        self._recorder = Recorder(options(**{**DEFAULTS, **values, "debug": settings.DEBUG}))

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if self._async:
            return self._answer_async(request)
        found = self._page(request)
        if found is not None:
            return found
        recording = self._begin(request)
        if recording is None:
            return self.get_response(request)
        stretch = recording.request.enter()
        try:
            response = self.get_response(request)
        except BaseException as error:
            recording.about.error = type(error).__name__
            recording.request.exit(stretch)
            recording.finish(request)
            raise
        recording.request.exit(stretch)
        return self._after(recording, request, response)

    async def _answer_async(self, request: Any) -> Any:
        found = self._page(request)
        if found is not None:
            return found
        recording = self._begin(request)
        if recording is None:
            return await self.get_response(request)
        recording.own_thread = False
        stretch = recording.request.enter()
        try:
            response = await self.get_response(request)
        except BaseException as error:
            recording.about.error = type(error).__name__
            recording.request.exit(stretch)
            recording.finish(request)
            raise
        recording.request.exit(stretch)
        return self._after(recording, request, response)

    def _begin(self, request: Any) -> Recording | None:
        try:
            return self._recorder.begin(view_of(request))
        except Exception as error:
            failures.tell("cannot profile requests", error)
            return None

    def _page(self, request: Any) -> Any:
        if not self._recorder.options.pages or "/__rscalene/" not in f"{request.path_info}/":
            return None
        from rscalene.web.pages import answer, takes_form

        options, view = self._recorder.options, view_of(request)
        body = request.body if takes_form(options, view) else b""
        found = answer(options, view, body, self._recorder.notices())
        if found is None:
            return None
        return HttpResponse(found.body, status=found.status, headers=dict(found.headers))

    def _after(self, recording: Recording, request: Any, response: Any) -> Any:
        about = recording.about
        about.status = response.status_code
        match = getattr(request, "resolver_match", None)
        about.route = getattr(match, "route", None)
        recording.first_byte()
        if getattr(response, "streaming", False):
            if getattr(response, "file_to_stream", None) is None:
                wrap = _stream_async if getattr(response, "is_async", False) else _stream
                response.streaming_content = wrap(recording, response.streaming_content, request)
                return response
            recording.finish(request)
            return response
        about.bytes_out = len(response.content)
        result = recording.finish(request)
        opts, view = self._recorder.options, view_of(request)
        if "page" not in opts.respond or result is None or not (opts.when.triggered(view) or opts.when.always):
            return response
        redirects = 300 <= response.status_code < 400
        if not opts.access.permits(view) or (redirects and opts.when.value(view) != "follow"):
            return response
        from rscalene.web.pages import headers_of_page

        page = result.html().encode()
        status = 200 if redirects or response.status_code in (204, 304) else response.status_code
        return HttpResponse(page, status=status, headers=dict(headers_of_page(len(page))))


def _stream(recording: Recording, content: Any, request: Any) -> Iterator[bytes]:
    """Produce each part of a body in the request's context."""
    parts = iter(content)
    try:
        while True:
            stretch = recording.request.enter()
            try:
                part = next(parts)
            except StopIteration:
                return
            except BaseException as error:
                recording.about.error = type(error).__name__
                raise
            finally:
                recording.request.exit(stretch)
            yield part
    finally:
        close = getattr(content, "close", None)
        if close is not None:
            close()
        recording.finish(request)


async def _stream_async(recording: Recording, content: Any, request: Any) -> AsyncIterator[bytes]:
    """Produce each part of an asynchronous body in the request's context."""
    parts = aiter(content)
    try:
        while True:
            stretch = recording.request.enter()
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                return
            except BaseException as error:
                recording.about.error = type(error).__name__
                raise
            finally:
                recording.request.exit(stretch)
            yield part
    finally:
        recording.finish(request)


def view_of(request: Any) -> View:
    """Return the parts of a request that the selection uses."""
    meta = request.META

    def header(name: str) -> str | None:
        value = meta.get("HTTP_" + name.upper().replace("-", "_"))
        return value if isinstance(value, str) else None

    return View(
        method=request.method,
        path=request.path_info,
        query=meta.get("QUERY_STRING", ""),
        peer=meta.get("REMOTE_ADDR", "") or "",
        header=header,
        raw=request,
    )
