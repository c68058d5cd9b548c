"""Each recipe of docs/web.md runs as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/web.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)

# What stands before a block, and what shows that it did its work; by a word of the block.
AROUND = {
    "rscalene.wsgi": (
        "import glob\nfrom flask import Flask\napp = Flask('x')\n",
        "app.test_client().get('/').data\nassert len(glob.glob('profiles/GET.root.*.prof')) == 1\n",
    ),
    'rscalene.request("import"': ("", "assert open('import.html').read().startswith('<!doctype html>')\n"),
    "rscalene.label(": ("", "assert resize(b'x') == b'x'\n"),
    "rscalene.flask": (
        "",
        "app = create_app()\nassert app.test_client().get('/?profile').data == b'hello'\n"
        "import flask\nflask.Flask.debug = True\n"
        "assert b'Flame graph' in create_app().test_client().get('/?profile').data\n",
    ),
    "rscalene.django": (
        "",
        "RSCALENE['DIR'] = 'kept'\n"
        "from django.conf import settings\n"
        "settings.configure(DEBUG=True, SECRET_KEY='x', ALLOWED_HOSTS=['*'], ROOT_URLCONF=__name__,\n"
        "    MIDDLEWARE=MIDDLEWARE, RSCALENE=RSCALENE)\n"
        "import django\ndjango.setup()\n"
        "from django.http import HttpResponse\nfrom django.test import Client\nfrom django.urls import path\n"
        "urlpatterns = [path('', lambda request: HttpResponse('hello'))]\n"
        "assert b'Flame graph' in Client().get('/?profile').content\n",
    ),
    "rscalene.asgi": (
        "",
        "import asyncio, httpx\n"
        "async def ask():\n"
        "    there = httpx.ASGITransport(app, client=('127.0.0.1', 1))\n"
        "    async with httpx.AsyncClient(transport=there, base_url='http://x') as client:\n"
        "        return (await client.get('/?profile')).text, (await client.get('/')).text\n"
        "page, plain = asyncio.run(ask())\nassert 'Flame graph' in page and plain == '\"hello\"'\n",
    ),
    "rscalene.celery": (
        "",
        "import json\napp.conf.task_always_eager = True\n"
        "@app.task\ndef job(): pass\n"
        "job.delay()\n"
        "assert json.loads(open('tasks.jsonl').readline())['http.route'].endswith('job')\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0][:40])
def test_a_recipe_runs(block: str, tmp_path: Path, clean_env: dict[str, str]) -> None:
    before, after = next(around for word, around in AROUND.items() if word in block)
    command = [sys.executable, "-c", before + block + after]
    done = subprocess.run(command, cwd=tmp_path, env=clean_env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_recipe_is_among_them() -> None:
    assert len(BLOCKS) == len(AROUND)
