"""Requests of ASGI applications: each has its own CPU time, whatever its thread does while it waits."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from rscalene.asgi import ProfilerMiddleware
from rscalene.web.steps import Steps


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def application(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    for _ in range(10):
        spin(float(scope["path"][1:]) / 10)
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def test_requests_that_overlap_have_their_own_cpu_time(tmp_path: Path) -> None:
    app = ProfilerMiddleware(application, when="always", keep_in=str(tmp_path), debug=True)

    async def send(message: Any) -> None:
        pass

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def serve() -> None:
        paths = ("/0.3", "/0.1", "/0.02")
        await asyncio.gather(*(app({"type": "http", "path": path, "method": "GET"}, receive, send) for path in paths))

    asyncio.run(serve())
    kept = [json.loads(file.read_text()) for file in tmp_path.rglob("*.json")]
    took = {one["request"]["path"]: one["cpu"]["cpu_s"] for one in kept}
    assert took.keys() == {"/0.3", "/0.1", "/0.02"}
    for path, seconds in took.items():
        assert float(path[1:]) <= seconds < float(path[1:]) * 1.3 + 0.03, took


async def parent(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """Work in tasks, and tasks of tasks; the application itself only waits."""

    async def child(seconds: float, deeper: bool) -> None:
        for _ in range(5):
            spin(seconds / 5)
            await asyncio.sleep(0)
        if deeper:
            await asyncio.create_task(child(seconds, False))

    seconds = float(scope["path"][1:]) / 3
    await asyncio.gather(child(seconds, True), child(seconds, False))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def test_the_cpu_time_of_a_request_includes_its_tasks(tmp_path: Path) -> None:
    app = ProfilerMiddleware(parent, when="always", keep_in=str(tmp_path), debug=True)

    async def send(message: Any) -> None:
        pass

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def serve() -> None:
        async def other() -> None:
            spin(0.5)

        elsewhere = asyncio.create_task(other())
        paths = ("/0.3", "/0.06")
        await asyncio.gather(*(app({"type": "http", "path": path, "method": "GET"}, receive, send) for path in paths))
        await elsewhere

    asyncio.run(serve())
    kept = [json.loads(file.read_text()) for file in tmp_path.rglob("*.json")]
    took = {one["request"]["path"]: one["cpu"]["cpu_s"] for one in kept}
    assert took.keys() == {"/0.3", "/0.06"}
    for path, seconds in took.items():
        assert float(path[1:]) <= seconds < float(path[1:]) * 1.3 + 0.03, took


def test_steps_pass_on_values_errors_and_the_end() -> None:
    steps = Steps()

    async def inner(future: asyncio.Future[int]) -> int:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            spin(0.02)
        return await future + 1

    async def outer() -> int:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        async def driven() -> int:
            return int(await steps.run(inner(future)))

        task = asyncio.ensure_future(driven())
        await asyncio.sleep(0)
        task.cancel()
        loop.call_later(0.15, future.set_result, 41)
        spin(0.1)
        return await task

    assert asyncio.run(outer()) == 42
    assert 0.02 <= steps.cpu_s < 0.1
    with pytest.raises(KeyError):
        asyncio.run(_raises(steps))


async def _raises(steps: Steps) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError

    await steps.run(fails())
