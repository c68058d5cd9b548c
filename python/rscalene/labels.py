"""``rscalene.label``: names pieces of work, so a profile has a row for each name."""

from __future__ import annotations

import functools
import inspect
import time
from typing import TYPE_CHECKING, Any

from rscalene._rscalene import label_ended, label_enter, label_exit, label_number, label_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["label"]


class label:
    """Give a block, or each call of a function, a label: ``with rscalene.label(task="resize", size="large"): ...``.

    Under ``rscalene run``, and while a :class:`rscalene.Profiler` runs, the samples and allocations of the block's
    context (tasks that the block starts, ``asyncio.to_thread``) carry the label. The profile then has a row for each
    label. A label inside a labelled block adds its keys to the outer keys. A block that began before the profiler has
    no label in its profile. Without a recording, a label costs a microsecond and does nothing.
    """

    def __init__(self, **pairs: object) -> None:
        """Keep keys and values; TypeError without any."""
        if not pairs:
            raise TypeError('a label needs a key and a value\nhint: `rscalene.label(task="resize")`')
        self._pairs = {key: str(value) for key, value in pairs.items()}
        self._open: list[tuple[int, Any, int]] = []

    def __enter__(self) -> Self:
        """Begin."""
        number = label_number(list((dict(label_pairs()) | self._pairs).items()))
        if number is not None:
            self._open.append((number, label_enter(number), time.perf_counter_ns()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End. An exception of the block propagates."""
        if not self._open:
            return
        number, token, began = self._open.pop()
        if token is not None:
            label_exit(token)
        label_ended(0, number, time.perf_counter_ns() - began, None)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function: each call is a labelled block."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def waited(*args: Any, **kwargs: Any) -> Any:
                with label(**self._pairs):
                    return await function(*args, **kwargs)

            return waited

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with label(**self._pairs):
                return function(*args, **kwargs)

        return called
