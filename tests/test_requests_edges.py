"""Requests at their edges: failures, forks, bodies that are the application's, many files in a second."""

from __future__ import annotations

import io
import os
import pstats
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from rscalene._rscalene import Request, current_request
from rscalene.wsgi import ProfilerMiddleware


class _Fails:
    def enter(self) -> object:
        raise RuntimeError("no ledger")

    def leave(self, token: object) -> None:
        raise AssertionError("it was never entered")


def test_a_ledger_that_fails_leaves_no_request_in_the_context() -> None:
    request = Request()
    request.sql = _Fails()
    with pytest.raises(RuntimeError, match="no ledger"):
        request.enter()
    assert current_request() is None
    request.sql = None
    stretch = request.enter()
    assert current_request() is request
    request.exit(stretch)
    assert current_request() is None
    request.close()


@pytest.mark.filterwarnings("ignore:.*is multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_finds_the_locks_free() -> None:
    from rscalene.locks import ForkLock

    middleware = ProfilerMiddleware(_plain, stream=None)
    lock = middleware._recorder._lock
    assert isinstance(lock, ForkLock)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            code = 0 if b"".join(middleware(_environ("/"), _start)) == b"plain" else 2
        finally:
            os._exit(code)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body or b"plain"]


def _start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
    return lambda data: None


def _environ(path: str, method: str = "GET", body: bytes = b"", peer: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "REMOTE_ADDR": peer,
        "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "SERVER_NAME": "x", "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "peer"),
    [("/__rscalene/clear", "10.0.0.9"), ("/a/__rscalene/clear", "127.0.0.1"), ("/a/__rscalene/", "::1")],
)
def test_a_body_that_no_page_takes_is_the_applications(path: str, peer: str, tmp_path: Path) -> None:
    middleware = ProfilerMiddleware(_plain, stream=None, respond="page", keep_in=str(tmp_path), when="?profile")
    assert middleware.options.pages
    body = b"form=" + b"x" * 5_000
    assert b"".join(middleware(_environ(path, "POST", body, peer), _start)) == body


def test_fifty_requests_in_a_second_are_fifty_files_that_pstats_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "missing" / "folder"
    middleware = ProfilerMiddleware(_plain, stream=None, profile_dir=str(folder), max_selected=50)
    statuses: list[str] = []

    def start(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        statuses.append(status)
        return lambda data: None

    def ask(path: str) -> None:
        body = middleware(_environ(path), start)
        assert b"".join(body) == b"plain"
        body.close()  # type: ignore[attr-defined]

    for _ in range(50):
        ask("/")
    assert len(list(folder.glob("*.prof"))) == 50
    ask("/" + "long/" * 60)
    files = list(folder.glob("*.prof"))
    assert len(files) == 51
    for file in files:
        assert pstats.Stats(str(file)).total_calls > 0  # type: ignore[attr-defined]
    gone = ProfilerMiddleware(_plain, stream=None, profile_dir="/proc/self/nothing")
    middleware = gone
    ask("/")
    ask("/")
    assert statuses == ["200 OK"] * 53
    told = [line for line in capsys.readouterr().err.splitlines() if "cannot write the file of a request" in line]
    assert len(told) == 1
