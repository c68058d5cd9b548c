"""Answers requests of ``/__rscalene/``: the index of all workers, the page of a request, its files, and ``clear``.

A request without permission gets None, and the application answers as if these pages did not exist.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from rscalene.web import formats, page
from rscalene.web.outputs import kept, private_folder

if TYPE_CHECKING:
    from pathlib import Path

    from rscalene.web.options import Options
    from rscalene.web.select import View

NUMBER = re.compile(r"[0-9a-f]{32}")
PREFIX = "/__rscalene/"


@dataclass
class Answer:
    """A complete answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def status_line(self) -> str:
        """The status in the form that WSGI requires."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def headers_of_page(length: int, kind: str = "text/html; charset=utf-8") -> list[tuple[str, str]]:
    """Return the headers that every page has."""
    return [
        ("Content-Type", kind),
        ("Content-Length", str(length)),
        ("Cache-Control", "no-store"),
        ("X-Robots-Tag", "noindex"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", page.policy()),
    ]


def takes_form(options: Options, view: View) -> bool:
    """Tell whether :func:`answer` needs the body; the body of every other request must stay for the application."""
    return view.method == "POST" and _place(view) == "clear" and bool(options.access.permits(view))


def _place(view: View) -> str | None:
    """Return the path behind ``/__rscalene/``, without a slash at its end; None for another path."""
    before, found, rest = f"{view.path}{'' if view.path.endswith('/') else '/'}".partition(PREFIX)
    return rest.rstrip("/") if found and not before else None


def answer(options: Options, view: View, body: bytes, notices: list[str]) -> Answer | None:
    """Answer a request of ``/__rscalene/``; None for another path, or without permission.

    ``body``: the request's body if :func:`takes_form` is true, otherwise empty.
    """
    rest = _place(view)
    if rest is None or not options.access.permits(view):
        return None
    folder = options.folder
    if not rest and view.method in ("GET", "HEAD"):
        if not view.path.endswith("/"):
            return Answer(302, [("Location", PREFIX), ("Content-Length", "0")], b"")
        return html(page.index_page(read_all(folder), form=form_token(folder), notices=notices))
    if rest == "clear" and view.method == "POST":
        token = parse_qs(body.decode("latin-1")).get("form", [""])[0]
        if not hmac.compare_digest(token.encode(), form_token(folder).encode()):
            return html("<!doctype html><title>refused</title><p>The form is out of date: load the index again.", 403)
        for name in kept(folder):
            (folder / name).unlink(missing_ok=True)
        return Answer(303, [("Location", PREFIX), ("Content-Length", "0")], b"")
    if rest.startswith("r/") and view.method in ("GET", "HEAD"):
        number, dot, ending = rest[2:].partition(".")
        if NUMBER.fullmatch(number):
            return one(folder, number, dot + ending)
    return html("<!doctype html><title>not found</title><p>There is no such page.", 404)


def html(text: str, status: int = 200) -> Answer:
    """Return an answer with a page."""
    data = text.encode()
    return Answer(status, headers_of_page(len(data)), data)


def one(folder: Path, number: str, ending: str) -> Answer:
    """Return an answer with the page or a file of a request."""
    name = next((name for name in kept(folder) if name.endswith(f"-{number}.json")), None)
    data = None
    if name is not None:
        with contextlib.suppress(OSError):
            data = (folder / name).read_bytes()
    if data is None:
        return html("<!doctype html><title>not found</title><p>This request is not kept any more.", 404)
    if ending == ".json":
        return Answer(200, headers_of_page(len(data), "application/json"), data)
    parsed = json.loads(data)
    if ending == "":
        return html(page.request_page(parsed))
    kinds = {
        ".prof": "application/octet-stream",
        ".txt": "text/plain; charset=utf-8",
        ".speedscope.json": "application/json",
    }
    if ending not in kinds:
        return html("<!doctype html><title>not found</title><p>There is no such file.", 404)
    made = formats.from_dict(parsed, ending)
    return Answer(200, headers_of_page(len(made), kinds[ending]), made)


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Read the kept requests, the newest first; leave unreadable requests out."""
    found = []
    for name in kept(folder):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads((folder / name).read_bytes()))
    return found


def form_token(folder: Path) -> str:
    """Return the token that the form of `clear` must send: a secret for each folder, readable by every worker."""
    path = private_folder(folder) / ".form"
    with contextlib.suppress(OSError):
        token = path.read_text()
        if token:
            return token
    from rscalene.web.result import write_whole

    token = secrets.token_hex(16)
    write_whole(path, token.encode())
    return path.read_text()
