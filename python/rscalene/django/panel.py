"""The panel of django-debug-toolbar: add ``"rscalene.django.panel.LinesPanel"`` to ``DEBUG_TOOLBAR_PANELS``."""

from __future__ import annotations

from typing import Any

from debug_toolbar.panels import Panel

from rscalene.web.panels import Panelled, contents, subtitle


class LinesPanel(Panel):
    """Lines, functions and SQL of the request that the toolbar shows: exact, and each request's own."""

    is_async = True
    nav_title = "Lines"
    title = "Lines and functions of this request"
    has_content = True

    def process_request(self, request: Any) -> Any:
        """Record what the rest of the chain does."""
        panelled = Panelled(request.method, request.path)
        response = super().process_request(request)  # type: ignore[no-untyped-call, unused-ignore]
        if hasattr(response, "__await__"):
            return self._wait(panelled, response)
        self._end(panelled, response)
        return response

    async def _wait(self, panelled: Panelled, response: Any) -> Any:
        answer = await response
        self._end(panelled, answer)
        return answer

    def _end(self, panelled: Panelled, response: Any) -> None:
        panelled.end(getattr(response, "status_code", None))
        self._panelled = panelled

    def generate_stats(self, request: Any, response: Any) -> None:
        """Keep the tables with the toolbar's own."""
        panelled = getattr(self, "_panelled", None)
        self.record_stats({"rscalene": contents(panelled), "subtitle": subtitle(panelled)})  # type: ignore[no-untyped-call, unused-ignore]

    @property
    def nav_subtitle(self) -> str:
        """The time, and the number of statements."""
        return str(self.get_stats().get("subtitle", ""))  # type: ignore[no-untyped-call, unused-ignore]

    @property
    def content(self) -> str:
        """The tables."""
        return str(self.get_stats().get("rscalene", ""))  # type: ignore[no-untyped-call, unused-ignore]
