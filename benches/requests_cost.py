"""What the profile of a request costs: CPU of a gunicorn worker, paired with the plain application.

Usage: python benches/requests_cost.py [ROUNDS]   (needs flask, gunicorn, pyinstrument)

A Flask application with SQLite and a Jinja2 page of 30 posts. One worker answers blocks of 40 requests, each block with
another middleware, in turn; the ratio is the median over rounds of a block's CPU to that of the plain block beside it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = """
import os, sqlite3, time
from flask import Flask, g, render_template
from pyinstrument import Profiler
from rscalene.wsgi import ProfilerMiddleware as Ours
from werkzeug.middleware.profiler import ProfilerMiddleware as Werkzeug
flask = Flask(__name__, template_folder=os.path.dirname(os.path.abspath(__file__)))
def base():
    if "db" not in g:
        g.db = sqlite3.connect(os.environ["BASE"])
        g.db.row_factory = sqlite3.Row
    return g.db
@flask.teardown_appcontext
def close(_):
    db = g.pop("db", None)
    if db is not None:
        db.close()
@flask.before_request
def user():
    g.user = base().execute("select * from user where id = ?", (1,)).fetchone()
@flask.get("/")
def index():
    posts = base().execute(
        "select p.id, title, body, created, name from post p join user u on p.author = u.id order by created desc"
    ).fetchall()
    return render_template("index.html", posts=posts)
plain = flask.wsgi_app
null = open(os.devnull, "w")
def pyinstrument(environ, start):
    profiler = Profiler()
    profiler.start()
    try:
        return plain(environ, start)
    finally:
        profiler.stop()
kinds = {
    "plain": plain,
    "not-selected": Ours(plain, stream=None, when="?profile", sql=False),
    "lines": Ours(plain, stream=None, functions=False, lines=True, sql=False),
    "lines-sql": Ours(plain, stream=None, functions=False, lines=True),
    "functions": Ours(plain, stream=None, sql=False),
    "functions-text": Ours(plain, stream=null, restrictions=[30], sql=False),
    "werkzeug": Werkzeug(plain, stream=None),
    "werkzeug-text": Werkzeug(plain, stream=null, restrictions=[30]),
    "pyinstrument": pyinstrument,
}
def app(environ, start):
    path = environ["PATH_INFO"]
    if path == "/":
        return flask(environ, start)
    if path == "/cpu":
        answer = str(time.process_time())
    else:
        answer = path[1:]
        flask.wsgi_app = kinds[answer]
    start("200 OK", [])
    return [answer.encode()]
"""

PAGE = """<!doctype html><title>{% block title %}Posts{% endblock %}</title><nav><h1>Blog</h1><ul>
{% if g.user %}<li><span>{{ g.user['name'] }}</span><li>
<a href="{{ url_for('index') }}">Log Out</a>{% endif %}</ul></nav>
{% for message in get_flashed_messages() %}<div class="flash">{{ message }}</div>{% endfor %}
{% for post in posts %}<article class="post"><header><div><h1>{{ post['title'] }}</h1>
<div class="about">by {{ post['name'] }} on {{ post['created'] }}</div></div>
<a class="action" href="{{ url_for('index', id=post['id']) }}">Edit</a></header><p class="body">{{ post['body'] }}</p>
</article>{% if not loop.last %}<hr>{% endif %}{% endfor %}"""

KINDS = (
    "plain", "not-selected", "lines", "lines-sql", "functions", "functions-text", "werkzeug", "werkzeug-text",
    "pyinstrument",
)  # fmt: skip
BLOCK = 40


def ask(port: int, path: str) -> bytes:
    """Return an answer's body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    client.request("GET", path)
    answer = client.getresponse()
    body = answer.read()
    client.close()
    assert answer.status == 200, path
    return body


def make(folder: Path) -> None:
    """Write the application and its base."""
    (folder / "served.py").write_text(APP)
    (folder / "index.html").write_text(PAGE)
    base = sqlite3.connect(folder / "base.sqlite")
    base.executescript(
        "create table user(id integer primary key, name text);"
        "create table post(id integer primary key, author int, title text, body text, created text);"
        "insert into user values (1, 'someone');"
    )
    posts = [(f"title {at}", "body " * 20, f"2020-01-{at % 28 + 1:02d}") for at in range(30)]
    base.executemany("insert into post(author, title, body, created) values (1, ?, ?, ?)", posts)
    base.commit()
    base.close()


def measure(port: int, rounds: int) -> dict[str, list[float]]:
    """Return milliseconds of CPU a request, of each kind in each round."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            ask(port, f"/{kind}")
            for _ in range(4):
                ask(port, "/")
            before = float(ask(port, "/cpu"))
            for _ in range(BLOCK):
                ask(port, "/")
            took[kind].append((float(ask(port, "/cpu")) - before) / BLOCK * 1e3)
    return took


def main() -> None:
    """Measure, and print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        words = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "served:app"]
        env = os.environ | {"BASE": f"{folder}/base.sqlite"}
        server = subprocess.Popen(words, cwd=folder, env=env, stderr=subprocess.DEVNULL)
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    ask(port, "/cpu")
                    break
                time.sleep(0.1)
            took = measure(port, rounds)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(f"CPython {sys.version.split()[0]}")
    for kind, figures in took.items():
        ratio = statistics.median(one / plain for one, plain in zip(figures, took["plain"], strict=True))
        least = min(figures) / min(took["plain"])
        print(f"{kind:16} {statistics.median(figures):7.3f} ms  x{ratio:.3f} paired  x{least:.3f} of the least")


if __name__ == "__main__":
    main()
