"""The selection of requests to profile, and the permission to request a profile.

``when`` selects requests. If a client can select its own request (``"?profile"``, ``"header:..."``), it also needs
permission: ``allow``, a token or, if neither is given, debug mode and a peer on this machine without a proxy between.
"""

from __future__ import annotations

import hmac
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN_NAME = "rscalene_token"
TOKEN_HEADER = "x-rscalene-token"


@dataclass
class View:
    """The parts of a request that the selection uses, the same for WSGI and ASGI."""

    method: str
    path: str
    query: str
    peer: str
    header: Callable[[str], str | None]
    # The environ or the scope: the argument of callables.
    raw: Any

    def values(self, name: str) -> list[str]:
        """Return the values of a query key."""
        if name not in self.query:
            return []
        return [value for key, value in parse_qsl(self.query, keep_blank_values=True) if key == name]

    def query_keys(self) -> list[str]:
        """Return the keys of the query, never their values."""
        return [key for key, _ in parse_qsl(self.query, keep_blank_values=True)]


class Access:
    """Decides who may trigger profiles and see pages."""

    def __init__(self, allow: Callable[[Any], object] | None, token: str | None, *, debug: bool) -> None:
        """Keep the rules: ``allow`` gets the environ or the scope; ``token`` is compared in constant time."""
        if token is not None and len(token) < 8:
            raise ValueError("token: shorter than 8 characters\nhint: use `secrets.token_urlsafe()`")
        self.allow = allow
        self.token = token
        self.debug = debug

    def permits(self, view: View) -> bool:
        """Whether this request has permission."""
        if self.allow is None and self.token is None:
            return self.debug and is_local(view)
        if self.allow is not None and self.allow(view.raw):
            return True
        return self.token is not None and any(
            hmac.compare_digest(token.encode(), self.token.encode()) for token in request_tokens(view)
        )


def is_local(view: View) -> bool:
    """Whether the peer is on this machine, and the request came through no proxy."""
    if view.header("x-forwarded-for") is not None or view.header("forwarded") is not None:
        return False
    peer = view.peer
    return peer == "::1" or peer.startswith(("127.", "::ffff:127."))


def request_tokens(view: View) -> list[str]:
    """Return the tokens of a request: in its query, a header or a cookie."""
    tokens = view.values(TOKEN_NAME)
    header = view.header(TOKEN_HEADER)
    if header is not None:
        tokens.append(header)
    for part in (view.header("cookie") or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == TOKEN_NAME:
            tokens.append(value)
    return tokens


class When:
    """The rule that selects requests: a word, a share, a callable, or several of these."""

    def __init__(self, rule: object) -> None:
        """Take ``"always"``, ``"never"``, ``"?key"``, ``"header:Name"``, a share, a callable, or a list of these."""
        self.always = False
        self.share = 0.0
        self.keys: list[str] = []
        self.headers: list[str] = []
        self.callables: list[Callable[[Any], object]] = []
        for part in rule if isinstance(rule, (list, tuple, set, frozenset)) else (rule,):
            self._add(part)

    def _add(self, part: Any) -> None:
        if part == "always":
            self.always = True
        elif part == "never" or part is None or part is False:
            pass
        elif isinstance(part, str) and part.startswith("?") and len(part) > 1:
            self.keys.append(part[1:])
        elif isinstance(part, str) and part.startswith("header:") and len(part) > 7:
            self.headers.append(part[7:].lower())
        elif isinstance(part, (int, float)) and 0 <= part <= 1:
            self.share = max(self.share, float(part))
        elif callable(part):
            self.callables.append(part)
        else:
            raise ValueError(
                f"when: cannot use {part!r}\n"
                'hint: "always", "never", "?profile", "header:X-Rscalene", a share such as 0.01, a callable, or a list'
            )

    def selects(self, view: View, access: Access) -> bool:
        """Whether this request is profiled."""
        if self.always or (self.share and random.random() < self.share):
            return True
        if any(choose(view.raw) for choose in self.callables):
            return True
        return self.triggered(view) and access.permits(view)

    def triggered(self, view: View) -> bool:
        """Whether the client asks for a profile."""
        query = view.query
        if query and any(key in query and view.values(key) for key in self.keys):
            return True
        return any(view.header(name) is not None for name in self.headers)

    def value(self, view: View) -> str | None:
        """Return the value of the key that selected the request: ``follow`` for ``?profile=follow``."""
        for key in self.keys:
            values = view.values(key)
            if values:
                return values[0]
        return None
