"""Flask, Django, their toolbars, Jinja2, and who may see what: in one process, through the frameworks' own clients."""

from __future__ import annotations

import json
import pstats
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FLASK = """
import os, sys, json, threading, warnings
from flask import Flask, Response, redirect, render_template, request
from rscalene.flask import RScalene
"""


def run(source: str, folder: Path, env: dict[str, str], *words: str) -> str:
    """What a program prints."""
    (folder / "app.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "app.py", *words], cwd=folder, env=env, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


PAGES = (
    FLASK
    + """
app = Flask(__name__)
app.debug = os.environ.get("DEBUGGED") == "1"
app.config.update(RSCALENE_DIR="kept", PROPAGATE_EXCEPTIONS=False, **json.loads(os.environ.get("CONFIG", "{}")))
RScalene(app)
@app.route("/ok", methods=["GET", "POST"])
def ok(): return "fine"
@app.get("/red")
def red(): return redirect("/ok")
@app.get("/boom")
def boom(): raise RuntimeError("boom")
@app.get("/stream")
def stream(): return Response(str(i) for i in range(3))
client = app.test_client(use_cookies=False)
for word in ("GET /ok", "POST /ok", "GET /red", "GET /nothing", "GET /boom", "GET /stream"):
    method, path = word.split()
    for query, peer, headers in json.loads(os.environ["ASK"]):
        plain = client.open(path, method=method, environ_base={"REMOTE_ADDR": "8.8.8.8"})
        answer = client.open(path + query, method=method, environ_base={"REMOTE_ADDR": peer}, headers=headers)
        page = b"rscalene" in answer.data and answer.content_type.startswith("text/html")
        same = (answer.status, sorted(answer.headers), answer.data) == (plain.status, sorted(plain.headers), plain.data)
        print(json.dumps([path, query, answer.status_code == plain.status_code, page, same, answer.status_code]))
print(client.get("/__rscalene/").status_code)
"""
)
LOCAL = ["?profile", "127.0.0.1", {}]


def asked(folder: Path, env: dict[str, str], ask: list[Any], **config: object) -> tuple[list[list[Any]], str]:
    debug = "1" if config.pop("debug", False) else "0"
    env = env | {"ASK": json.dumps(ask), "CONFIG": json.dumps(config), "DEBUGGED": debug}
    *rows, index = run(PAGES, folder, env).splitlines()
    return [json.loads(row) for row in rows], index


def test_the_page_stands_for_every_kind_of_answer_in_debug(tmp_path: Path, clean_env: dict[str, str]) -> None:
    rows, index = asked(tmp_path, clean_env, [LOCAL, ["?profile=follow", "::1", {}]], debug=True)
    for path, query, same_status, page, _, status in rows:
        follows = path == "/red" and query.endswith("follow")
        assert same_status or follows
        assert page == (path != "/red" or follows)
        assert status == 200 or not follows
    assert index == "200"


@pytest.mark.parametrize(
    ("ask", "config"),
    [
        ([LOCAL], {}),
        ([["?profile", "8.8.8.8", {}]], {"debug": True}),
        ([["?profile", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}]], {"debug": True}),
        ([["?profile", "127.0.0.1", {"Forwarded": "for=127.0.0.1"}]], {"debug": True}),
        (
            [LOCAL, ["?profile&rscalene_token=wrong-token", "127.0.0.1", {}]],
            {"debug": True, "RSCALENE_TOKEN": "the-right-one"},
        ),
    ],
    ids=["not in debug", "another machine", "behind a proxy", "behind a newer proxy", "a wrong token"],
)
def test_who_may_not_is_answered_as_if_nothing_were_there(
    tmp_path: Path, clean_env: dict[str, str], ask: list[Any], config: dict[str, object]
) -> None:
    rows, _ = asked(tmp_path, clean_env, ask, **config)
    assert all(same and not page for _, _, _, page, same, _ in rows)


def test_a_token_opens_from_query_header_and_cookie(tmp_path: Path, clean_env: dict[str, str]) -> None:
    token = "the-right-one"
    ask = [
        [f"?profile&rscalene_token={token}", "8.8.8.8", {}],
        ["?profile", "8.8.8.8", {"X-Rscalene-Token": token}],
        ["?profile", "8.8.8.8", {"Cookie": f"a=b; rscalene_token={token}"}],
    ]
    rows, index = asked(tmp_path, clean_env, ask, RSCALENE_TOKEN=token)
    assert all(page for path, _, _, page, _, _ in rows if path != "/red")
    assert index == "404"


def test_no_secret_is_kept(tmp_path: Path, clean_env: dict[str, str]) -> None:
    run(
        FLASK
        + """
import sqlite3
SECRET = os.environ["SECRET"]
app = Flask(__name__)
app.debug = True
app.config.update(RSCALENE_DIR="kept", RSCALENE_JSONL="log.jsonl", RSCALENE_STREAM="text.txt")
RScalene(app)
@app.route("/", methods=["POST"])
def index():
    base = sqlite3.connect(":memory:")
    base.execute("create table t (x)")
    base.execute("insert into t values (?)", (SECRET,))
    base.execute(f"select * from t where x = '{SECRET}'").fetchall()
    return "fine"
client = app.test_client()
client.set_cookie("session", SECRET)
answer = client.post(f"/?profile&key={SECRET}", data={"word": SECRET}, headers={"Authorization": SECRET})
open("page.html", "wb").write(answer.data)
open("index.html", "wb").write(client.get("/__rscalene/").data)
name = [name for name in os.listdir("kept") if name.endswith(".json")][0]
data = json.load(open("kept/" + name))
assert data["request"]["query_keys"] == ["profile", "key"], data["request"]
""",
        tmp_path,
        clean_env | {"SECRET": "s3cret"},
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"log.jsonl", "text.txt", "page.html", "index.html"} < {path.name for path in written}
    for path in written:
        assert b"s3cret" not in path.read_bytes(), path
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("kept/*"))


def test_pages_are_closed_documents(tmp_path: Path, clean_env: dict[str, str]) -> None:
    out = run(
        FLASK
        + """
app = Flask(__name__)
app.debug = True
app.config["RSCALENE_DIR"] = "kept"
app.config["RSCALENE_KEEP"] = 5
RScalene(app)
@app.route("/<path:name>")
def index(name): return name
client = app.test_client()
for at in range(8):
    client.get("/<script>alert(1)</script>?profile")
index = client.get("/__rscalene/")
numbers = [name[-37:-5] for name in sorted(os.listdir("kept")) if name.endswith("json")]
assert len(numbers) == 5, numbers
for answer in [index] + [client.get(f"/__rscalene/r/{numbers[-1]}{ending}") for ending in ("", ".json", ".txt")]:
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    if answer.content_type.startswith("text/html"):
        assert b"<script" not in answer.data and b"http" not in answer.data.replace(b"http-equiv", b"")
open("x.prof", "wb").write(client.get("/__rscalene/r/" + numbers[-1] + ".prof").data)
assert client.get("/__rscalene/r/" + "0" * 32).status_code == 404
assert client.get("/__rscalene/r/../../etc/passwd").status_code == 404
assert client.post("/__rscalene/clear", data={"form": "guessed"}).status_code == 403
form = index.get_data(as_text=True).split('name="form" value="')[1].split('"')[0]
assert client.post("/__rscalene/clear", data={"form": form}).status_code == 303
assert [name for name in os.listdir("kept") if name.endswith("json")] == []
print("ok")
""",
        tmp_path,
        clean_env,
    )
    assert out == "ok\n"
    assert pstats.Stats(str(tmp_path / "x.prof")).total_calls > 100  # type: ignore[attr-defined]


def test_the_lines_of_a_jinja_template_are_the_templates_own(tmp_path: Path, clean_env: dict[str, str]) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/page.html").write_text(
        "<html>\n<body>\n{% set x = 1 %}\n<p>{{ x }}</p>\n{# nothing #}\n<ul>\n"
        "{% for i in range(20000) %}<li>{{ i * i }}</li>{% endfor %}\n</ul>\n</body>\n"
    )
    run(
        FLASK
        + """
app = Flask(__name__)
app.debug = True
app.config["RSCALENE_DIR"] = "kept"
RScalene(app)
@app.route("/")
def index(): return render_template("page.html")
client = app.test_client()
for _ in range(2):
    client.get("/?profile")
""",
        tmp_path,
        clean_env,
    )
    for path in tmp_path.glob("kept/*.json"):
        rows = [row for row in json.loads(path.read_text())["lines"] if row["file"].endswith("page.html")]
        slow = next(row for row in rows if row["line"] == 7)
        assert slow["time_s"] > 0.9 * sum(row["time_s"] for row in rows)
        assert slow["source"].startswith("{% for i in range(20000)")
        assert all(row["line"] <= 9 for row in rows)


def test_a_profile_above_the_route_shows_the_lines_of_the_view(tmp_path: Path, clean_env: dict[str, str]) -> None:
    out = run(
        FLASK
        + """
import rscalene
app = Flask(__name__)
app.debug = True
@rscalene.profile
@app.route("/lost")
def lost(): return "lost"
RScalene(app)
app.test_client().get("/lost")
""",
        tmp_path,
        clean_env,
    )
    assert "Line #" in out
    assert 'def lost(): return "lost"' in out


TOOLBAR = """
import re, sys, threading, time
from flask import Flask
from flask_debugtoolbar import DebugToolbarExtension
app = Flask(__name__)
app.debug = True
app.config.update(SECRET_KEY="x", DEBUG_TB_PANELS=["rscalene.flask.panel.RscalenePanel"])
def work_0(): time.sleep(0.1)
def work_1(): time.sleep(0.1)
@app.route("/<int:n>")
def view(n): (work_0 if n % 2 == 0 else work_1)(); return f"<html><body>{n}</body></html>"
DebugToolbarExtension(app)
got = []
def ask(n):
    answer = app.test_client().get(f"/{n}")
    worked = re.findall(r"<code>(work_\\d)</code>", answer.get_data(as_text=True))
    got.append((n, answer.status_code, sorted(set(worked))))
threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(got))
"""


def test_the_panel_of_flasks_toolbar_shows_each_request_its_own(tmp_path: Path, clean_env: dict[str, str]) -> None:
    assert run(TOOLBAR, tmp_path, clean_env) == f"{[(n, 200, [f'work_{n % 2}']) for n in range(4)]}\n"


DJANGO = """
import asyncio, json, os, re, sys, threading, time
from django.conf import settings
settings.configure(
    DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, INTERNAL_IPS=["127.0.0.1"], **SETTINGS
)
import django
django.setup()
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
def work_0(): time.sleep(0.1)
def work_1(): time.sleep(0.1)
def view(request, n): (work_0 if n % 2 == 0 else work_1)(); return HttpResponse(f"<html><body>{n}</body></html>")
async def aview(request):
    await asyncio.sleep(0.01)
    leaf()
    return HttpResponse("async")
def leaf(): pass
def stream(request): return StreamingHttpResponse(part(i) for i in range(3))
def part(i): return str(i)
def file(request): return FileResponse(open(__file__, "rb"))
def boom(request): raise RuntimeError("boom")
urlpatterns = [
    path("<int:n>", view), path("async", aview), path("stream", stream), path("file", file), path("boom", boom),
]
"""

DJANGO_TOOLBAR = (
    DJANGO.replace(
        "SETTINGS",
        """dict(
    INSTALLED_APPS=["django.contrib.staticfiles", "debug_toolbar"], STATIC_URL="/static/",
    MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DEBUG_TOOLBAR_PANELS=["rscalene.django.panel.LinesPanel"],
    DEBUG_TOOLBAR_CONFIG={"DISABLE_PANELS": set(), "IS_RUNNING_TESTS": False})""",
    )
    + """
urlpatterns.append(path("__debug__/", include("debug_toolbar.urls")))
from rscalene.django.panel import LinesPanel
seen = []
generate = LinesPanel.generate_stats
def generate_stats(self, request, response):
    generate(self, request, response)
    seen.append((request.path, sorted(set(re.findall(r"<code>(work_\\d)</code>", self.content)))))
LinesPanel.generate_stats = generate_stats
def ask(n): codes.append(Client(REMOTE_ADDR="127.0.0.1").get(f"/{n}").status_code)
codes = []
threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(codes, sorted(seen))
"""
)


def test_the_panel_of_djangos_toolbar_shows_each_request_its_own(tmp_path: Path, clean_env: dict[str, str]) -> None:
    expected = [(f"/{n}", [f"work_{n % 2}"]) for n in range(4)]
    assert run(DJANGO_TOOLBAR, tmp_path, clean_env) == f"{[200] * 4} {expected}\n"


DJANGO_MIDDLEWARE = (
    DJANGO.replace(
        "SETTINGS",
        """dict(
    MIDDLEWARE=["rscalene.django.ProfilerMiddleware"],
    RSCALENE={"WHEN": "always", "RESPOND": "none", "DIR": "kept", "PAGES": True, "SERVICE": "dj"})""",
    )
    + """
for word in ("/1", "/stream", "/file", "/boom", "/nothing"):
    client = Client(REMOTE_ADDR="127.0.0.1", raise_request_exception=False)
    answer = client.get(word)
    length = len(b"".join(answer.streaming_content)) if answer.streaming else len(answer.content)
    answer.close()
async def ask(): return await AsyncClient(raise_request_exception=False).get("/async")
assert asyncio.run(ask()).content == b"async"
found = {}
for name in os.listdir("kept"):
    if name.endswith(".json"):
        data = json.load(open("kept/" + name))
        calls = {one["function"]: one["calls"] for one in data["functions"]}
        picked = {key: calls[key] for key in ("work_1", "part", "leaf", "aview", "boom") if key in calls}
        found[data["request"]["path"]] = [data["request"]["route"], data["request"]["status"], picked]
print(json.dumps(found))
print(Client(REMOTE_ADDR="127.0.0.1").get("/__rscalene/").status_code)
print(Client(REMOTE_ADDR="8.8.8.8").get("/__rscalene/").status_code)
"""
)


def test_djangos_middleware_sync_and_async(tmp_path: Path, clean_env: dict[str, str]) -> None:
    told, local, far = run(DJANGO_MIDDLEWARE, tmp_path, clean_env).splitlines()
    found = json.loads(told)
    assert found["/1"] == ["<int:n>", 200, {"work_1": 1}]
    assert found["/stream"] == ["stream", 200, {"part": 3}]
    assert found["/async"] == ["async", 200, {"aview": 1, "leaf": 1}]
    assert found["/boom"] == ["boom", 500, {"boom": 1}]
    assert found["/nothing"][1] == 404
    assert found["/file"][:2] == ["file", 200]
    assert (local, far) == ("200", "404")


CELERY = """
import io, json, sys
from celery import Celery
import rscalene.celery
app = Celery("tasks", broker="memory://", backend="cache+memory://")
app.conf.task_always_eager = True
def leaf(): pass
@app.task
def add(x, y):
    for _ in range(x): leaf()
    return x + y
@app.task
def fails(): raise ValueError("no")
out = io.StringIO()
rscalene.celery.instrument(app, jsonl=out, jsonl_rows=("request", "function"))
add.delay(3, 4).get()
fails.delay()
rows = [json.loads(line) for line in out.getvalue().splitlines()]
print([(row["http.route"], row.get("error.type")) for row in rows if row["event.dataset"] == "rscalene.request"])
print([row["rscalene.calls"] for row in rows if row.get("code.function.name") == "leaf"])
"""


def test_celery_profiles_by_the_names_of_tasks(tmp_path: Path, clean_env: dict[str, str]) -> None:
    told, calls = run(CELERY, tmp_path, clean_env).splitlines()
    assert told == "[('tasks.add', None), ('tasks.fails', 'FAILURE')]"
    assert calls == "[3]"


WERKZEUG = """
import io, re, sys
from flask import Flask
from rscalene.wsgi import ProfilerMiddleware as Ours
from werkzeug.middleware.profiler import ProfilerMiddleware as Theirs
app = Flask(__name__)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
@app.route("/")
def index(): return str(fib(12))
inner = app.wsgi_app
texts = []
for kind in (Theirs, Ours):
    out = io.StringIO()
    app.wsgi_app = kind(inner, out, sort_by=("ncalls",), restrictions=("fib",), filename_format="x")
    client = app.test_client()
    client.get("/").data
    out.truncate(0); out.seek(0)
    client.get("/").data
    text = re.sub(r"\\d+ (function|primitive) calls", "N", out.getvalue())
    texts.append(re.sub(r"\\d+\\.\\d{3}", "0.000", re.sub(r"from \\d+", "from N", text)))
assert texts[0] == texts[1], "\\n".join(texts)
print(texts[1].count("465/1"))
"""


def test_the_block_is_werkzeugs_but_for_numbers(tmp_path: Path, clean_env: dict[str, str]) -> None:
    assert run(WERKZEUG, tmp_path, clean_env) == "1\n"
