"""The parameters of the middlewares: figures to record, and outputs."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rscalene.web.select import Access, When
from rscalene.web.text import sort_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RESPONDS = ("none", "page", "header", "link")
WERKZEUG_NAME = "{method}.{path}.{elapsed:.0f}ms.{time:.0f}.prof"


def disabled() -> bool:
    """Whether ``RSCALENE=0`` switches everything off."""
    return os.environ.get("RSCALENE") == "0"


@dataclass
class Options:
    """The parameters of a middleware, checked."""

    when: When
    access: Access
    respond: tuple[str, ...] = ()
    functions: bool = True
    lines: bool = False
    memory: bool = False
    sql: bool = True
    scope: tuple[str, ...] = ()
    min_ms: float = 0
    keep: int = 200
    max_selected: int = 8
    max_s: float = 30.0
    propagate: bool = False
    service: str = ""
    details: bool = False
    source: bool = True
    # Output for the text of each request: a stream, a path, a logger, None, or "stdout" for the current `sys.stdout`.
    stream: Any = None
    sort_by: list[str] = field(default_factory=lambda: ["time", "calls"])
    restrictions: list[object] = field(default_factory=list)
    profile_dir: str | None = None
    filename_format: str | Callable[[Any], str] = WERKZEUG_NAME
    keep_in: str | None = None
    jsonl: Any = None
    jsonl_rows: tuple[str, ...] = ("request", "line", "sql")
    # Whether to keep requests in `folder` and to serve the pages of `/__rscalene/`.
    pages: bool = False

    @property
    def folder(self) -> Path:
        """The folder for kept requests: `keep_in`, `profile_dir`, or a folder for this user and service."""
        named = self.keep_in or self.profile_dir
        if named is not None:
            return Path(named)
        base = os.environ.get("XDG_RUNTIME_DIR")
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self.service) or "web"
        if base and os.path.isdir(base):
            return Path(base) / "rscalene" / name
        return Path(tempfile.gettempdir()) / f"rscalene-{os.getuid()}" / name


def options(
    *,
    when: object,
    respond: str | Iterable[str] = "none",
    allow: Callable[[Any], object] | None = None,
    token: str | None = None,
    debug: bool = True,
    sort_by: Iterable[object] = ("time", "calls"),
    restrictions: Iterable[object] = (),
    pages: bool | None = None,
    profile_dir: str | os.PathLike[str] | None = None,
    scope: str | Iterable[str] = (),
    service: str | None = None,
    **more: Any,
) -> Options:
    """Check the parameters of a middleware; ValueError or TypeError for an invalid parameter."""
    answers = (respond,) if isinstance(respond, str) else tuple(respond)
    for one in answers:
        if one not in RESPONDS:
            raise ValueError(f"respond: cannot use {one!r}\nhint: one of {', '.join(RESPONDS)}")
    for name in ("max_selected", "keep"):
        if name in more and (not isinstance(more[name], int) or more[name] < 1):
            raise ValueError(f"{name}: must be a number from 1 on, not {more[name]!r}")
    answers = tuple(one for one in answers if one != "none")
    return Options(
        when=When(when),
        access=Access(allow, token, debug=debug),
        respond=answers,
        pages=bool(answers or allow or token) if pages is None else pages,
        sort_by=sort_keys([sort_by] if isinstance(sort_by, str) else list(sort_by)),
        restrictions=list(restrictions),
        profile_dir=None if profile_dir is None else os.path.abspath(os.fspath(profile_dir)),
        scope=(scope,) if isinstance(scope, str) else tuple(scope),
        service=service if service is not None else os.path.basename(sys.argv[0] or "web"),
        **more,
    )
