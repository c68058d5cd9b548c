"""The Flask extension: after ``RScalene(app)``, `?profile` on any page shows the cost of the page's request."""

from __future__ import annotations

import os
import warnings
from typing import Any

from rscalene._rscalene import labels_followed
from rscalene.web.wsgi import ProfilerMiddleware

# Keys of the application's configuration, and the middleware's parameter for each.
SETTINGS = {
    "RSCALENE_WHEN": "when",
    "RSCALENE_RESPOND": "respond",
    "RSCALENE_DIR": "keep_in",
    "RSCALENE_KEEP": "keep",
    "RSCALENE_ALLOW": "allow",
    "RSCALENE_TOKEN": "token",
    "RSCALENE_MEMORY": "memory",
    "RSCALENE_SQL": "sql",
    "RSCALENE_LINES": "lines",
    "RSCALENE_FUNCTIONS": "functions",
    "RSCALENE_SCOPE": "scope",
    "RSCALENE_JSONL": "jsonl",
    "RSCALENE_STREAM": "stream",
    "RSCALENE_SERVICE": "service",
}


class RScalene:
    """Profiles requests of a Flask application; knows its routes, and serves ``/__rscalene/``.

    Configured by ``app.config``: ``RSCALENE_WHEN`` (``"?profile"``), ``RSCALENE_RESPOND`` (``"page"``),
    ``RSCALENE_ENABLED`` (``app.debug``; ``PROFILE = True`` counts as well), and the middleware's other parameters by
    the same pattern.
    """

    def __init__(self, app: Any = None) -> None:
        """Wrap ``app`` now, or later by ``init_app``."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any) -> None:
        """Wrap the application; do nothing if the extension is not enabled."""
        config = app.config
        debug = bool(app.debug)
        enabled = config.get("RSCALENE_ENABLED")
        if enabled is None:
            enabled = (
                debug
                or bool(config.get("PROFILE"))
                or bool(config.get("RSCALENE_TOKEN"))
                or bool(config.get("RSCALENE_ALLOW"))
            )
        app.extensions["rscalene"] = self
        if os.environ.get("RSCALENE") == "0" or not (enabled or labels_followed()):
            return
        settings = {
            "when": "?profile",
            "respond": "page",
            "stream": None,
            "lines": True,
            "pages": True,
            "service": app.name,
        }
        settings |= {name: config[key] for key, name in SETTINGS.items() if key in config}
        if not enabled:
            # `rscalene run` records this process: only give it the names of routes.
            settings |= {"when": "never", "pages": False}
        app.wsgi_app = ProfilerMiddleware(
            app.wsgi_app,
            **settings,
            debug=debug or bool(config.get("PROFILE")),
            route_of=lambda environ: route_of(app, environ),
        )
        app.before_request(_Once(app).look)


class _Once:
    """Checks the views before the first request."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._looked = False

    def look(self) -> None:
        if not self._looked:
            self._looked = True
            warn_of_lost_profiles(self._app)


def warn_of_lost_profiles(app: Any) -> None:
    """Warn of functions that ``@app.route`` registered before ``@profile`` decorated them."""
    for endpoint, view in app.view_functions.items():
        home = getattr(view, "__globals__", {})
        there = home.get(getattr(view, "__name__", ""))
        code = getattr(view, "__code__", None)
        if code is not None and there is not view and getattr(there, "__wrapped__", None) is view:
            warnings.warn(
                f"`{endpoint}` is registered without its decorator: {code.co_filename}:{code.co_firstlineno}: "
                "put `@app.route` above `@profile`",
                stacklevel=2,
            )


def route_of(app: Any, environ: Any) -> str | None:
    """Return the rule of a request, as Flask writes the rule; None if no rule matches."""
    request = environ.get("werkzeug.request")
    rule = getattr(request, "url_rule", None)
    if rule is not None:
        return str(rule.rule)
    adapter = app.create_url_adapter(None) if app.config.get("SERVER_NAME") else app.url_map.bind("")
    try:
        rule, _ = adapter.match(environ.get("PATH_INFO", "/"), method=environ.get("REQUEST_METHOD"), return_rule=True)
    except Exception:
        return None
    return str(rule.rule)
