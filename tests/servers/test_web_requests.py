"""The middlewares in real servers: the same answers as without them, and a profile of its own for each request."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pstats
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

KINDS = """
import os, sys, time
from flask import Flask, Response, redirect, request, send_file
app = Flask(__name__)
HERE = os.path.dirname(os.path.abspath(__file__))
@app.route("/")
def index(): return "index"
@app.route("/boom")
def boom(): raise RuntimeError("boom")
@app.route("/redir")
def redir(): return redirect("/")
@app.route("/stream")
def stream():
    def rows():
        for i in range(5):
            time.sleep(0.05); yield f"{i}\\n"
    return Response(rows(), mimetype="text/plain")
@app.route("/sse")
def sse():
    def events():
        for i in range(50):
            time.sleep(0.1); yield f"data: {i}\\n\\n"
    return Response(events(), mimetype="text/event-stream")
@app.route("/file")
def file(): return send_file(os.path.join(HERE, "big.bin"))
@app.route("/post", methods=["POST"])
def post(): return str(len(request.get_data()))
@app.route("/slow/<int:n>")
def slow(n):
    time.sleep(0.2)
    for _ in range(n): leaf()
    return "slow"
def leaf(): pass
@app.route("/empty")
def empty(): return "", 204
if os.environ.get("WEB_OUT"):
    from rscalene.wsgi import ProfilerMiddleware
    app.wsgi_app = ProfilerMiddleware(
        app.wsgi_app, stream=None, profile_dir=os.environ["WEB_OUT"], jsonl=os.environ["WEB_OUT"] + ".jsonl",
        lines=True,
        filename_format="{method}.{path}.{pid}.{n}.prof", jsonl_rows=("request", "line", "function"), max_selected=64,
    )
if __name__ == "__main__":
    app.run(port=int(sys.argv[1]), debug=True)
"""

ASGI = """
import asyncio, os, time
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from starlette.responses import FileResponse, RedirectResponse, StreamingResponse
app = FastAPI()
HERE = os.path.dirname(os.path.abspath(__file__))
def work(n): return sum(work_leaf(i) for i in range(n))
def work_leaf(i): return i
async def child(n):
    await asyncio.sleep(0.01); return work(n)
@app.get("/a")
async def a():
    await asyncio.sleep(0.05); await asyncio.gather(child(100), child(100)); return "a"
@app.get("/d")
def d(): time.sleep(0.05); work(300); return "d"
@app.get("/boom")
async def boom(): raise RuntimeError("boom")
@app.get("/none")
async def none(): raise HTTPException(404)
@app.get("/redir")
async def redir(): return RedirectResponse("/a")
@app.get("/file")
async def file(): return FileResponse(os.path.join(HERE, "big.bin"))
@app.get("/s")
async def s():
    async def body():
        for i in range(5):
            await asyncio.sleep(0.05); work(10); yield str(i)
    return StreamingResponse(body())
@app.get("/bg")
async def bg(t: BackgroundTasks): t.add_task(work, 50); return "bg"
@app.websocket("/ws")
async def ws(w: WebSocket):
    await w.accept()
    for _ in range(3):
        x = await w.receive_text(); work(7); await w.send_text(x.upper())
    await w.close()
if os.environ.get("WEB_OUT"):
    from rscalene.asgi import ProfilerMiddleware
    app = ProfilerMiddleware(
        app, when="always", respond="none", jsonl=os.environ["WEB_OUT"] + ".jsonl", max_selected=64,
        jsonl_rows=("request", "line", "function"),
    )
"""


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    (tmp_path / "kinds.py").write_text(KINDS)
    (tmp_path / "fkinds.py").write_text(ASGI)
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 4096 * 3)
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def ask(port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, int, float]:
    """Status, length and the time to the first byte of an answer."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.monotonic()
    client.request(method, path, body)
    answer = client.getresponse()
    first = answer.read(1)
    took = time.monotonic() - began
    rest = answer.read()
    client.close()
    return answer.status, len(first) + len(rest), took


def wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.fail("the server does not listen")


@contextlib.contextmanager
def served(words: list[str], folder: Path, env: dict[str, str], ended: dict[str, int]) -> Any:
    """A server; `ended` has its exit code after SIGTERM, and how many of its processes were left."""
    with (
        open(folder / "said.txt", "a") as said,
        subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=env, stdout=said, stderr=said, process_group=0
        ) as server,
    ):
        try:
            yield
            server.send_signal(signal.SIGTERM)
            ended["code"] = server.wait(30)
        except BaseException:
            print((folder / "said.txt").read_text()[-5000:])
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


PATHS = ("/", "/none", "/boom", "/redir", "/empty", "/file", "/stream")


def at_once(port: int, paths: tuple[str, ...]) -> list[tuple[str, int, int]]:
    """Path, status and length of answers that are asked for at the same time."""
    with ThreadPoolExecutor(len(paths)) as pool:
        return list(pool.map(lambda path: (path, *ask(port, path)[:2]), paths))


def ask_all(port: int) -> tuple[list[tuple[str, int, int]], float]:
    """Ask for every kind of answer, then eight at once, then leave a stream."""
    wait_for(port)
    told = []
    first = 0.0
    for path in PATHS:
        status, length, took = ask(port, path)
        told.append((path, status, length))
        first = took if path == "/stream" else first
    told.append(("/post", *ask(port, "/post", "POST", b"x" * 100_000)[:2]))
    many = at_once(port, tuple(f"/slow/{n}" for n in range(1, 9)))
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", "/sse")
    answer = client.getresponse()
    told.append(("/sse", answer.status, len(answer.fp.readline())))
    answer.close()
    client.close()
    return told + sorted(many), first


def requests_of(log: Path, several: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The requests of a log, once there are as many; and all its lines."""
    for _ in range(100):
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        found = [line for line in lines if line["event.dataset"] == "rscalene.request"]
        if len(found) >= several:
            break
        time.sleep(0.1)
    return found, lines


SERVERS = {
    "sync": ["--workers", "2"],
    "gthread": ["--worker-class", "gthread", "--threads", "4", "--workers", "1"],
    "gevent": ["--worker-class", "gevent", "--workers", "1"],
    "preload": ["--worker-class", "gthread", "--threads", "2", "--workers", "2", "--preload"],
    "uwsgi": ["--master", "--processes", "2"],
    "uwsgi-threads": ["--master", "--processes", "1", "--enable-threads", "--threads", "4", "--lazy-apps"],
}


def command(kind: str, port: int) -> list[str]:
    """The words behind `python` that start a server of the application `kinds`."""
    if not kind.startswith("uwsgi"):
        return ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *SERVERS[kind], "kinds:app"]
    where = ["--http-socket", f"127.0.0.1:{port}", "--wsgi", "kinds:app", "--pythonpath", ".", "--die-on-term"]
    return ["-c", "import pyuwsgi; pyuwsgi.run()", "--virtualenv", sys.prefix, *where, *SERVERS[kind]]


@pytest.mark.parametrize("kind", SERVERS)
def test_wsgi_servers_answer_as_without_and_every_request_has_its_file(
    apps: Path, clean_env: dict[str, str], kind: str
) -> None:
    told = []
    out = apps / "out"
    for extra in ({}, {"WEB_OUT": str(out)}):
        port = free_port()
        ended: dict[str, int] = {}
        with served(command(kind, port), apps, clean_env | extra, ended):
            told.append(ask_all(port))
            if extra:
                found, lines = requests_of(Path(f"{out}.jsonl"), 17)
        assert ended["code"] == 0
    assert told[0][0] == told[1][0]
    assert told[1][1] < 0.15
    assert len(found) == 17
    assert Counter(one["url.path"] for one in found) == Counter([path for path, *_ in told[0][0]])
    assert len(list(out.glob("*.prof"))) == 17
    for path in out.glob("*.prof"):
        pstats.Stats(str(path))
    for one in found:
        mine = [line for line in lines if line["event.id"] == one["event.id"]]
        leaves = [
            line["rscalene.calls"] for line in mine
            if line["event.dataset"] == "rscalene.function" and line["code.function.name"] == "leaf"
        ]  # fmt: skip
        path = one["url.path"]
        assert leaves == ([int(path[6:])] if path.startswith("/slow/") else [])
        rows = {line["code.function.name"] for line in mine if line["event.dataset"] == "rscalene.line"}
        if path.startswith("/slow/"):
            assert {"slow", "leaf"} <= rows
        assert isinstance(one["event.duration"], int)


def test_a_reloading_server_of_flask_profiles_before_and_after(apps: Path, clean_env: dict[str, str]) -> None:
    out, port = apps / "out", free_port()
    ended: dict[str, int] = {}
    with served(["kinds.py", str(port)], apps, clean_env | {"WEB_OUT": str(out)}, ended):
        wait_for(port)
        assert ask(port, "/")[:2] == (200, 5)
        first, _ = requests_of(Path(f"{out}.jsonl"), 1)
        pids = {one["process.pid"] for one in first}
        for attempt in range(300):
            if attempt % 30 == 0:
                os.utime(apps / "kinds.py", (time.time() + 5 + attempt, time.time() + 5 + attempt))
            with contextlib.suppress(OSError):
                ask(port, "/slow/3")
            found, _ = requests_of(Path(f"{out}.jsonl"), 1)
            if {one["process.pid"] for one in found} != pids:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the server is not restarted, or not profiled")


@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn_has_exact_tables_of_coroutines_threads_and_websockets(
    apps: Path, clean_env: dict[str, str], workers: int
) -> None:
    from websockets.sync.client import connect

    codes = []
    for extra in ({}, {"WEB_OUT": str(apps / "out")}):
        port = free_port()
        ended: dict[str, int] = {}
        words = ["-m", "uvicorn", "--port", str(port), "--workers", str(workers), "fkinds:app"]
        with served(words, apps, clean_env | extra, ended):
            wait_for(port)
            told = [
                (path, *ask(port, path)[:2]) for path in ("/none", "/nothing", "/boom", "/redir", "/file", "/bg", "/s")
            ]
            many = at_once(port, ("/a", "/d") * 5)
            with connect(f"ws://127.0.0.1:{port}/ws", proxy=None) as client:
                for letter in "abc":
                    client.send(letter)
                    assert client.recv() == letter.upper()
            told += sorted(many)
            if extra:
                found, lines = requests_of(apps / "out.jsonl", 18)
        codes.append((ended["code"], told))
    assert codes[0] == codes[1]
    assert len(found) == 18
    expected = {"/a": 200, "/d": 300, "/s": 50, "/bg": 50, "/ws": 21}
    for one in found:
        mine = [line for line in lines if line["event.id"] == one["event.id"]]
        calls = {
            line["code.function.name"]: line["rscalene.calls"] for line in mine
            if line["event.dataset"] == "rscalene.function" and line["code.file.path"].endswith("fkinds.py")
        }  # fmt: skip
        path = one["url.path"]
        assert calls.get("work_leaf") == expected.get(path)
        if path == "/a":
            assert (calls["a"], calls["child"]) == (1, 2)
            waits = [line.get("rscalene.await_ns", 0) for line in mine if line.get("code.function.name") == "a"]
            assert max(waits) > 30e6
        if path == "/ws":
            assert one["http.response.status_code"] == 101
        if path == "/boom":
            assert one["error.type"] == "RuntimeError"
    assert {one["http.route"] for one in found if one["url.path"] == "/a"} == {"/a"}


def test_two_workers_share_a_log_of_whole_lines(apps: Path, clean_env: dict[str, str]) -> None:
    out, port, ended = apps / "out", free_port(), dict[str, int]()
    words = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *SERVERS["sync"], "kinds:app"]
    with served(words, apps, clean_env | {"WEB_OUT": str(out)}, ended):
        wait_for(port)
        for _ in range(50):
            assert {status for _, status, _ in at_once(port, ("/",) * 4)} == {200}
        found, lines = requests_of(Path(f"{out}.jsonl"), 200)
    assert ended["code"] == 0
    assert len(found) == 200
    assert len({one["process.pid"] for one in found}) == 2
    assert len({one["event.id"] for one in found}) == 200
    assert {type(one["event.duration"]) for one in found} == {int}
    assert {one["event.module"] for one in lines} == {"rscalene"}
