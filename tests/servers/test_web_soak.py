"""Ten thousand requests, eight at once, half of them profiled: none mixed, no memory kept, no answer changed."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rscalene.wsgi import ProfilerMiddleware

REQUESTS = 10_000
THREADS = 8
VIEWS = 8

SCOPE: dict[str, Any] = {}
for number in range(VIEWS):
    exec(compile(f"def f_{number}(x):\n    return x\n", __file__, "exec"), SCOPE)


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
    """Calls `f_N` as often as the path says, before, while and after the body is sent; some answers fail."""
    kind, view, times = environ["PATH_INFO"][1:].split("-")
    work = SCOPE[f"f_{view}"]
    for at in range(int(times)):
        work(at)
    if kind == "boom":
        raise KeyError(view)
    start("404 NOT FOUND" if kind == "none" else "200 OK", [("X-View", view)])
    return stream(work, view) if kind == "stream" else [view.encode() * 3]


def stream(work: Callable[[int], int], view: str) -> Iterator[bytes]:
    for at in range(5):
        work(at)
        yield f"{view}{at}".encode()


def ask(what: Callable[..., Any], path: str, selected: bool) -> tuple[str, bytes, str]:
    """Status, body and error of an answer."""
    told: list[Any] = []
    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "QUERY_STRING": "profile" if selected else ""}
    parts: list[bytes] = []
    try:
        body = what(environ, lambda status, headers, exc_info=None: told.append((status, headers)))
        parts.extend(body)
        close = getattr(body, "close", None)
        if close is not None:
            close()
    except KeyError as error:
        return str(told), b"".join(parts), repr(error)
    return str(told), b"".join(parts), ""


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.timeout(300)
def test_ten_thousand_requests_leave_nothing_and_mix_nothing() -> None:
    wrong: list[object] = []
    seen = [0] * THREADS
    profiled = [0]

    def named(environ: dict[str, Any]) -> str:
        return "x"

    class Watching(ProfilerMiddleware):
        def _finish(self, recording: Any, environ: Any) -> None:
            super()._finish(recording, environ)
            kind, view, times = environ["PATH_INFO"][1:].split("-")
            expected = int(times) + (5 if kind == "stream" else 0)
            rows = {row[2]: row[3] for row in recording.result.table.rows() if row[2].startswith("f_")}
            lines = {row.function: row.hits for row in recording.result.lines if row.function.startswith("f_")}
            profiled[0] += 1
            if rows != {f"f_{view}": expected} or lines != {f"f_{view}": expected}:
                wrong.append((environ["PATH_INFO"], rows, lines))

    ours = Watching(app, stream=None, when=lambda environ: environ["QUERY_STRING"] == "profile", lines=True, sql=False)

    def drive(thread: int, times: int) -> None:
        choose = random.Random(thread)
        for _ in range(times):
            kind = choose.choice(("plain", "stream", "none", "boom"))
            path = f"/{kind}-{choose.randrange(VIEWS)}-{choose.randrange(1, 40)}"
            selected = choose.random() < 0.5
            seen[thread] += selected
            if ask(ours, path, selected) != ask(app, path, selected):
                wrong.append(path)

    def all_threads(times: int) -> None:
        threads = [threading.Thread(target=drive, args=(thread, times)) for thread in range(THREADS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    # What grows at first is caches, and arenas of threads.
    all_threads(REQUESTS // THREADS // 5)
    gc.collect()
    before = resident()
    all_threads(REQUESTS // THREADS)
    gc.collect()
    assert wrong == []
    assert profiled[0] == sum(seen) > REQUESTS // 3
    assert resident() - before < 8 << 20
