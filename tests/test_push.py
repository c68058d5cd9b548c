"""Laws of continuous profiles: windows add up, and no server harms the program."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Run

SPIN = """
import time
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(200): pass
"""


class Server:
    """Takes what is posted. ``mode``: ``ok``, ``500``, ``hang`` or ``close``."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.posts: list[tuple[dict[str, str], dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                if outer.mode == "close":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.mode == "hang":
                    time.sleep(30)
                query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                outer.posts.append(
                    (
                        query | {"path": urlsplit(self.path).path},
                        {key.lower(): value for key, value in self.headers.items()},
                        body,
                    )
                )
                self.send_response(500 if outer.mode == "500" else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()

    def windows(self) -> list[dict[str, Any]]:
        return [pprof(part(body, "profile")) for _, _, body in self.posts]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def part(body: bytes, name: str) -> bytes:
    boundary = body.split(b"\r\n", 1)[0]
    for piece in body.split(boundary)[1:-1]:
        head, content = piece.split(b"\r\n\r\n", 1)
        if f'name="{name}"'.encode() in head:
            return content[:-2]
    raise KeyError(name)


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            yield key >> 3, data[at : at + value]
            at += value
        else:
            yield key >> 3, value


def numbers(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = varint(data, at)
        values.append(value)
    return values


def pprof(data: bytes) -> dict[str, Any]:
    """Sums by sample type; own CPU nanoseconds by function and by label; own bytes allocated by function."""
    message = list(fields(gzip.decompress(data)))
    texts = [value.decode() for field, value in message if field == 6]
    types = [texts[dict(fields(value))[1]] for field, value in message if field == 1]
    functions = {(row := dict(fields(value)))[1]: texts[row[2]] for field, value in message if field == 5}
    places = {}
    for field, value in message:
        if field == 4:
            row = dict(fields(value))
            places[row[1]] = functions[dict(fields(row[4]))[1]]
    sums, own, alloc, labels = Counter[str](), Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for field, value in message:
        if field == 2:
            sample = list(fields(value))
            values = next(numbers(packed) for number, packed in sample if number == 2)
            stack = next(numbers(packed) for number, packed in sample if number == 1)
            sums.update(dict(zip(types, values, strict=True)))
            own[places[stack[0]]] += values[0]
            alloc[places[stack[0]]] += values[types.index("alloc_space")]
            for label in (dict(fields(row)) for number, row in sample if number == 3):
                if 2 in label:
                    labels[texts[label[1]], texts[label[2]]] += values[0]
    return {"sums": sums, "own": own, "alloc": alloc, "labels": labels}


def total(windows: list[dict[str, Any]], kind: str) -> Counter[Any]:
    return sum((window[kind] for window in windows), Counter[Any]())


def script(tmp_path: Path, text: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    (tmp_path / "app.py").write_text(SPIN + text)
    return subprocess.run(
        [sys.executable, "app.py", *args], cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_windows_of_a_running_process_add_up_to_its_work(server: Server, tmp_path: Path) -> None:
    done = script(
        tmp_path,
        """
import rscalene, sys
kept = []
with rscalene.push(sys.argv[1], every=1, name="shop", labels={"env": "a,b"}, auth=("me", "secret"),
                   headers={"X-Scope-OrgID": "team"}) as pushing:
    for _ in range(8):
        with rscalene.label(task="one"): spin(0.3)
        kept.append(bytearray(3_000_000))
print(pushing.sent, pushing.dropped, pushing.error)
""",
        server.url,
    )
    assert done.stderr == ""
    sent, dropped, error = done.stdout.split()
    assert (int(sent), dropped, error) == (len(server.posts), "0", "None")
    assert len(server.posts) >= 2
    windows = server.windows()
    assert total(windows, "own")["spin"] == pytest.approx(2.4e9, rel=0.12)
    assert total(windows, "alloc")["<module>"] == pytest.approx(24_000_000, rel=0.25)
    assert windows[-1]["sums"]["inuse_space"] == pytest.approx(24_000_000, rel=0.25)
    assert total(windows, "labels")["task", "one"] == pytest.approx(2.4e9, rel=0.2)
    for query, headers, body in server.posts:
        assert query["path"] == "/ingest"
        assert query["format"] == "pprof"
        assert query["name"] == f"shop{{env=a_b,host={socket.gethostname()}}}"
        assert int(query["from"]) <= int(query["until"])
        assert headers["authorization"].startswith("Basic ")
        assert headers["x-scope-orgid"] == "team"
        assert "alloc_space" in json.loads(part(body, "sample_type_config"))
    ends = [int(query["until"]) for query, _, _ in server.posts]
    assert [int(query["from"]) for query, _, _ in server.posts[1:]] == ends[:-1]


@pytest.mark.parametrize(
    "mode", ["500", *(pytest.param(mode, marks=pytest.mark.once) for mode in ("hang", "close", "away"))]
)
def test_a_broken_server_changes_nothing_in_the_program(server: Server, tmp_path: Path, mode: str) -> None:
    server.mode = mode
    url = server.url
    if mode == "away":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    done = script(
        tmp_path,
        """
import os, rscalene, sys, threading, warnings
warnings.simplefilter("error")
pushing = rscalene.push(sys.argv[1], every=1)
gaps, last = [], time.perf_counter()
for _ in range(260):
    spin(0.005); time.sleep(0.005)
    now = time.perf_counter(); gaps.append(now - last); last = now
child = os.fork() if sys.argv[2] != "hang" else None
if child == 0:
    spin(0.05); os._exit(7)
if child: assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
before = time.perf_counter()
pushing.stop(timeout=1)
print(time.perf_counter() - before < 2.5, max(gaps) < 1, pushing.sent, pushing.error, threading.active_count())
""",
        url,
        mode,
    )
    assert done.stderr == ""
    quick, smooth, sent, *why, threads = done.stdout.split()
    assert (quick, smooth, sent, threads) == ("True", "True", "0", "1")
    assert mode == "hang" or why != ["None"]
    assert time.monotonic() - began < 30
    assert mode != "500" or " ".join(why) == "the server answers 500"


@pytest.mark.once
def test_windows_wait_for_a_server_that_comes_back_and_the_rest_is_counted(server: Server, tmp_path: Path) -> None:
    server.mode = "500"
    (tmp_path / "app.py").write_text(
        SPIN
        + """
import rscalene, sys
pushing = rscalene.push(sys.argv[1], every=1)
for _ in range(75): spin(0.1)
print("now", flush=True); sys.stdin.readline()
spin(0.1)
pushing.stop(10)
print(pushing.sent, pushing.dropped)
"""
    )
    words = [sys.executable, "app.py", server.url]
    with subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "now\n"
        refused = len(server.posts)
        server.posts.clear()
        server.mode = "ok"
        child.stdin.write("\n")
        child.stdin.flush()
        sent, dropped = (int(word) for word in child.stdout.readline().split())
    assert refused >= 5
    assert sent == len(server.posts)
    assert 3 <= sent <= 5
    assert dropped >= 1


def test_a_run_pushes_its_windows_with_all_processes(
    rscalene: Run, clean_env: dict[str, str], server: Server, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        SPIN
        + """
import os
child = os.fork()
spin(1.5)
if child: os.waitpid(child, 0)
"""
    )
    env = clean_env | {"RSCALENE_PUSH_AUTH": "token-17"}
    done = rscalene(
        "run", "-q", "--push", server.url, "--push-every", "1s", "--push-label", "env=test", "-o", "p.json", "app.py",
        env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(server.posts) >= 2
    query, headers, _ = server.posts[0]
    assert re.fullmatch(r"app\{env=test,host=.*\}", query["name"])
    assert headers["authorization"] == "Bearer token-17"
    profile = json.loads((tmp_path / "p.json").read_text())
    whole = sum(node["cpu_s"] for node in profile["stacks"]["nodes"]) * 1e9
    assert total(server.windows(), "sums")["cpu"] == pytest.approx(whole, rel=0.05)
    assert total(server.windows(), "own")["spin"] == pytest.approx(3e9, rel=0.15)


@pytest.mark.once
def test_a_run_reports_failed_pushes(rscalene: Run, server: Server, tmp_path: Path) -> None:
    server.mode = "500"
    (tmp_path / "app.py").write_text(SPIN + "spin(0.2)\nraise SystemExit(3)\n")
    done = rscalene("run", "-q", "--push", server.url, "-o", "p.json", "app.py")
    assert done.returncode == 3
    assert "1 window of the profile was not sent by `--push`: the server answers 500" in done.stderr
    assert (tmp_path / "p.json").exists()


@pytest.mark.once
@pytest.mark.parametrize("url", ["", "127.0.0.1:4040", "ftp://h", "http://h/?x=1"])
def test_an_address_that_cannot_be_one_is_refused_before_anything_runs(rscalene: Run, tmp_path: Path, url: str) -> None:
    import rscalene as module

    with pytest.raises(ValueError, match=r"no address of a server|has a query"):
        module.push(url)
    (tmp_path / "app.py").write_text("open('ran', 'w')\n")
    done = rscalene("run", f"--push={url}", "app.py")
    assert done.returncode == 2
    assert "cannot push" in done.stderr
    assert "hint:" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_outermost_spans_of_opentelemetry_are_labels() -> None:
    import rscalene as module
    from opentelemetry.sdk.trace import TracerProvider
    from rscalene.opentelemetry import SpanProcessor

    def spin(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            for _ in range(300):
                pass

    plain, exact = TracerProvider(), TracerProvider()
    plain.add_span_processor(SpanProcessor())
    exact.add_span_processor(SpanProcessor(ids=True))
    with module.Profiler(memory=False) as profiler:
        for _ in range(3):
            tracer = plain.get_tracer("shop")
            with tracer.start_as_current_span("GET /users"), tracer.start_as_current_span("query"):
                spin(0.05)
        with exact.get_tracer("shop").start_as_current_span("job") as job:
            spin(0.05)
    rows = {tuple(sorted(row["labels"].items())): row for row in profiler.result().to_dict()["labels"]}
    assert rows[("span", "GET /users"),]["count"] == 3
    assert rows[("span", "GET /users"),]["cpu_s"] == pytest.approx(0.15, abs=0.06)
    context = job.get_span_context()
    ids = (("span", "job"), ("span_id", f"{context.span_id:016x}"), ("trace_id", f"{context.trace_id:032x}"))
    assert rows[ids]["count"] == 1
    assert len(rows) == 2
