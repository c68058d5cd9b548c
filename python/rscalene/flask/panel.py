"""The panel of Flask-DebugToolbar: add ``rscalene.flask.panel.RscalenePanel`` to ``DEBUG_TB_PANELS``."""

from __future__ import annotations

from typing import Any

from flask_debugtoolbar.panels import DebugPanel

from rscalene.web.panels import Panelled, contents, subtitle


class RscalenePanel(DebugPanel):
    """Lines, functions and SQL of the request that the toolbar shows: exact, and each request's own."""

    name = "Rscalene"
    has_content = True
    user_activate = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Nothing is recorded yet."""
        super().__init__(*args, **options)
        self.is_active = True
        self._panelled: Panelled | None = None

    def nav_title(self) -> str:
        """Return the panel's name."""
        return "Lines"

    def nav_subtitle(self) -> str:
        """Return the time, and the number of statements."""
        return subtitle(self._panelled)

    def title(self) -> str:
        """Return the heading."""
        return "Lines and functions of this request"

    def url(self) -> str:
        """Return no address: the panel links to no other page."""
        return ""

    def process_request(self, request: Any) -> None:
        """Begin."""
        self._panelled = Panelled(request.method, request.path)

    def process_response(self, request: Any, response: Any) -> Any:
        """End."""
        if self._panelled is not None:
            self._panelled.end(getattr(response, "status_code", None))
        return response

    def content(self) -> str:
        """Return the tables."""
        return contents(self._panelled)
