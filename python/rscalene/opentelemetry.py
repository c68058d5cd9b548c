"""Labels for OpenTelemetry spans: a profile then has a row for each name of a span.

>>> provider.add_span_processor(rscalene.opentelemetry.SpanProcessor())

Needs ``opentelemetry-sdk``; a program that makes spans has this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk import trace

from rscalene.labels import label

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["SpanProcessor"]

#: Most open spans with a label. If a program never ends its spans, the oldest spans are forgotten.
_MOST_OPEN = 4096


class SpanProcessor(trace.SpanProcessor):
    """Gives the work of each outermost span of this process a label."""

    def __init__(self, *, ids: bool = False) -> None:
        """Choose the labels.

        :param ids: label with ``trace_id`` and ``span_id``, too. A process has 2,048 labels at most; later labels share
            ``(others)``. So use ``ids`` for a few long traces, not for each request of a server.
        """
        self.ids = ids
        self._open: dict[int, label] = {}

    def on_start(self, span: trace.Span, parent_context: Context | None = None) -> None:
        """Begin the label ``span=NAME``, unless the span's parent is a span of this process."""
        if span.parent is not None and not span.parent.is_remote:
            return
        context = span.get_span_context()
        pairs = {"span": span.name}
        if self.ids:
            pairs |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        begun = label(**pairs)
        begun.__enter__()
        if len(self._open) >= _MOST_OPEN:
            self._open.pop(next(iter(self._open)), None)
        self._open[context.span_id] = begun

    def on_end(self, span: trace.ReadableSpan) -> None:
        """End the label."""
        context = span.get_span_context()
        begun = self._open.pop(context.span_id, None) if context is not None else None
        if begun is not None:
            begun.__exit__(None, None, None)

    def shutdown(self) -> None:
        """Do nothing: this processor holds no data."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing, because ``rscalene.push`` sends by itself."""
        return True
