"""Routes under ``rscalene run``: real servers with workers, threads and tasks; each route has its own costs."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from test_web_requests import ask, free_port, served, wait_for

APPS = {
    "flask": """
import time
from flask import Flask
from rscalene.flask import RScalene
app = Flask(__name__)
kept = []
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(200): pass
@app.route("/large/<int:n>")
def large(n):
    kept.append(bytearray(25 << 20)); spin(0.1); return "large"
@app.route("/small")
def small():
    spin(0.05); return "small"
RScalene(app)
""",
    "fastapi": """
import asyncio, time
from fastapi import FastAPI
from rscalene.asgi import ProfilerMiddleware
app = FastAPI()
kept = []
def spin(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        for _ in range(200): pass
async def child(seconds):
    for _ in range(5):
        spin(seconds / 5); await asyncio.sleep(0.01)
@app.get("/large/{n}")
async def large(n: int):
    kept.append(bytearray(25 << 20)); await asyncio.gather(child(0.05), child(0.05)); return "large"
@app.get("/small")
def small():
    spin(0.05); return "small"
app.add_middleware(ProfilerMiddleware)
""",
}
SERVERS = {
    "gunicorn": ("flask", "-m gunicorn -w 2 -k gthread --threads 4 -b 127.0.0.1:{port} app:app"),
    "uvicorn": ("fastapi", "-m uvicorn app:app --port {port} --log-level warning"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_routes_that_overlap_in_a_real_server_have_their_own_costs(
    tmp_path: Path, clean_env: dict[str, str], server: str
) -> None:
    app, command = SERVERS[server]
    (tmp_path / "app.py").write_text(APPS[app])
    port = free_port()
    words = ["-m", "rscalene", "run", "-q", "--interval", "2ms", "-o", "run.json"]
    words += command.format(port=port).split()
    ended: dict[str, int] = {}
    with served(words, tmp_path, clean_env, ended):
        wait_for(port)
        paths = [f"/large/{n}" for n in range(4)] + ["/small"] * 8
        with ThreadPoolExecutor(6) as pool:
            assert {ask(port, path)[0] for path in paths} == {200}
            assert {status for status, _, _ in pool.map(lambda path: ask(port, path), paths)} == {200}
    profile: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    rows = {row["labels"]["route"]: row for row in profile["labels"]}
    large = rows.pop("/large/<int:n>" if app == "flask" else "/large/{n}")
    small = rows.pop("/small")
    assert not rows
    assert (large["count"], small["count"]) == (8, 16)
    # The first pages of each 25 MiB are touched by the view as well: it takes more than it spins.
    assert 0.8 * 0.75 < large["cpu_s"] < 0.8 * 1.25 + 0.4
    assert 0.8 * 0.75 < small["cpu_s"] < 0.8 * 1.25 + 0.2
    # Frameworks allocate as well.
    assert 190 << 20 < large["alloc_bytes"] < 300 << 20
    assert large["kept_bytes"] == pytest.approx(200 << 20, rel=0.1)
    assert small["kept_bytes"] < 4 << 20
    assert 0.05 <= small["median_s"] <= small["p95_s"] <= small["longest_s"]
