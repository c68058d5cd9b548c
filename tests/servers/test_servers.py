"""Real servers, their workers, reloaders and greenlets under `rscalene run`: `make test-servers`.

Each is run twice, plain and profiled: both must answer, end by the same signal with the same exit code, and leave
nobody behind; the profile must have the processes that answered, and their time on the line that took it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import LINE, WORK, dropped, seconds

# What each answer costs, on line `LINE` of `burn.py`.
COST = 0.03
ANSWERS = 20

APPS = {
    "wsgi.py": """
import os
from burn import work
def app(environ, start_response):
    work({cost})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
async def asgi(scope, receive, send):
    if scope["type"] == "http":
        work({cost})
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": str(os.getpid()).encode()}})
""",
    "flasks.py": """
import os, sys
from burn import work
from flask import Flask
app = Flask(__name__)
@app.route("/")
def index():
    work({cost})
    return str(os.getpid())
app.run(port=int(sys.argv[1]), debug=True)
""",
    "djangos.py": """
import os, sys
from burn import work
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
def index(request):
    work({cost})
    return HttpResponse(str(os.getpid()))
urlpatterns = [path("", index)]
if not settings.configured:
    settings.configure(DEBUG=True, ROOT_URLCONF=__name__, SECRET_KEY="-", ALLOWED_HOSTS=["*"])
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
""",
    "queue_.py": """
import os
from burn import work
from celery import Celery
app = Celery("queue_", broker="filesystem://", backend="file://" + os.path.abspath("results"))
for folder in ("results", "tasks"):
    os.makedirs(folder, exist_ok=True)
app.conf.broker_transport_options = {{
    "data_folder_in": "tasks", "data_folder_out": "tasks", "control_folder": "tasks",
}}
@app.task
def heavy():
    work({cost})
    return os.getpid()
""",
    "ask.py": """
import queue_
print(*{{queue_.heavy.delay().get(timeout=60) for _ in range({answers})}})
""",
}


@pytest.fixture
def apps(tmp_path: Path) -> Path:
    """A folder with every program below."""
    (tmp_path / "burn.py").write_text(WORK)
    for name, source in APPS.items():
        (tmp_path / name).write_text(source.format(cost=COST, answers=ANSWERS))
    return tmp_path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answer(port: int) -> int:
    """Process that answers, as soon as one does."""
    for _ in range(600):
        with contextlib.suppress(OSError):
            # Local, so that no proxy of the environment is asked.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{port}/", timeout=10) as response:
                return int(response.read())
        time.sleep(0.1)
    pytest.fail("the server does not answer")


def lead(
    words: list[str], apps: Path, env: dict[str, str], ending: int, group: bool, ask: Callable[[], set[int]]
) -> tuple[int, set[int]]:
    """Start a server, ask it, end it: its exit code, and the processes that answered."""
    with (
        open(apps / "said.txt", "w") as said,
        subprocess.Popen(words, cwd=apps, env=env, stdout=said, stderr=said, process_group=0) as server,
    ):
        try:
            pids = ask()
            if group:
                os.killpg(server.pid, ending)
            else:
                server.send_signal(ending)
            code = server.wait(60)
            return (code if code >= 0 else 128 - code), pids
        except BaseException:
            print((apps / "said.txt").read_text())
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def both(
    words: list[str],
    apps: Path,
    env: dict[str, str],
    ask: Callable[[], set[int]],
    ending: int = signal.SIGTERM,
    group: bool = False,
) -> None:
    """Hold a profiled server to the plain one, and its profile to what it answered."""
    plain, _ = lead([sys.executable, *words], apps, env, ending, group, ask)
    ours = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", *words]
    code, pids = lead(ours, apps, env, ending, group, ask)
    assert code == plain
    profile: dict[str, Any] = json.loads((apps / "out.json").read_text())
    assert pids <= {process["pid"] for process in profile["processes"]}
    spent = sum(
        line["python_s"] + line["native_s"] + line["system_s"]
        for file in profile["files"]
        if file["path"].endswith("burn.py")
        for line in file["lines"]
        if line["line"] == LINE
    )
    assert spent > ANSWERS * COST * 0.6
    assert dropped(profile) == []


@pytest.mark.parametrize(
    "options",
    [["--workers", "3"], ["--worker-class", "gthread", "--threads", "3", "--workers", "2", "--preload"]],
    ids=["sync", "gthread-preload"],
)
def test_gunicorn(apps: Path, clean_env: dict[str, str], options: list[str]) -> None:
    port = free_port()
    words = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", *options, "wsgi:app"]
    both(words, apps, clean_env, lambda: {answer(port) for _ in range(ANSWERS)})


def test_uvicorn_workers(apps: Path, clean_env: dict[str, str]) -> None:
    port = free_port()
    words = ["-m", "uvicorn", "--port", str(port), "--workers", "2", "wsgi:asgi"]
    both(words, apps, clean_env, lambda: {answer(port) for _ in range(ANSWERS)})


def test_celery_prefork(apps: Path, clean_env: dict[str, str]) -> None:
    def ask() -> set[int]:
        asked = subprocess.run([sys.executable, "ask.py"], cwd=apps, env=clean_env, stdout=subprocess.PIPE, check=True)
        return {int(pid) for pid in asked.stdout.split()}

    words = ["-m", "celery", "-A", "queue_", "worker", "--pool", "prefork", "--concurrency", "2"]
    both(words, apps, clean_env, ask)


@pytest.mark.parametrize("words", [["flasks.py"], ["djangos.py", "runserver"]], ids=["flask", "django"])
def test_a_reloader_restarts_its_server(apps: Path, clean_env: dict[str, str], words: list[str]) -> None:
    port = free_port()

    def ask() -> set[int]:
        first = {answer(port) for _ in range(ANSWERS // 2)}
        for attempt in range(600):
            if attempt % 50 == 0:
                # Again from time to time: what comes before the reloader's first look is no change to it.
                os.utime(apps / words[0], (time.time() + 5, time.time() + 5))
            second = {answer(port)}
            if second != first:
                return first | second | {answer(port) for _ in range(ANSWERS // 2)}
            time.sleep(0.1)
        pytest.fail("the server is not restarted")

    both([*words, str(port)], apps, clean_env, ask, signal.SIGINT, group=True)


GREENLETS = (
    WORK
    + """
from gevent import monkey
monkey.patch_all()
import gevent, gevent.pool, gevent.queue, gevent.subprocess, gevent.threadpool, greenlet, socket
def serve(server):
    while True:
        client, _ = server.accept()
        gevent.spawn(lambda client: client.sendall(client.recv(100).upper()) or client.close(), client)
def ask(number):
    with socket.create_connection(server.getsockname()) as client:
        client.sendall(b"number %d" % number)
        work(0.01)
        return client.recv(100)
server = socket.create_server(("127.0.0.1", 0))
gevent.spawn(serve, server)
print(gevent.pool.Pool(5).map(ask, range(20)))
print(gevent.threadpool.ThreadPool(2).map(work, [0.05] * 4))
threads = [threading.Thread(target=time.sleep, args=(0.05,)) for _ in range(50)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
code = "import time; end = time.process_time() + 0.2\\nwhile time.process_time() < end: pass\\nprint(1)"
print(gevent.subprocess.check_output([sys.executable, "-c", code]))
if os.fork() == 0:
    print(gevent.pool.Pool(2).map(work, [0.05, 0.05]), flush=True)
    os._exit(0)
print(os.wait()[1])
try:
    with gevent.Timeout(0.1):
        gevent.sleep(10)
except gevent.Timeout as timeout:
    print(timeout)
signal.signal(signal.SIGTERM, lambda *_: print("asked to end"))
os.kill(os.getpid(), signal.SIGTERM)
def deep(level):
    if level:
        greenlet.getcurrent().parent.switch(level)
        deep(level - 1)
lets = [greenlet.greenlet(deep) for _ in range(50)]
print(sum(let.switch(40) or 0 for let in lets), sum(let.switch() or 0 for let in lets))
sys.exit(5)
"""
)


def test_greenlets_behave_as_without_rscalene(alike: Callable[..., dict[str, Any]]) -> None:
    profile = alike(GREENLETS)
    # Two threads at a time work on the process' clock, which counts for both of them.
    worked = 20 * 0.01 + 2 * 0.05 + 2 * 0.05
    assert seconds(profile) > worked * 0.6
    assert len(profile["processes"]) == 3
