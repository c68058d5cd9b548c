"""Odd surroundings (users, helpers, locales, names) change neither the program nor its profile; disks: `tests/root`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import LINE, WORK, seconds

Alike = Callable[..., dict[str, Any]]


def test_helpers_with_other_rights_run_as_they_would(alike: Alike, tmp_path: Path) -> None:
    helper = [shutil.which("su") or "/bin/su", "--version"]
    if os.geteuid() == 0:
        # For root its own files change nothing: a file of somebody else does.
        shutil.copy(shutil.which("id") or "/usr/bin/id", tmp_path / "helper")
        os.chown(tmp_path / "helper", 65534, 65534)
        (tmp_path / "helper").chmod(0o6755)
        helper = [str(tmp_path / "helper")]
    profile = alike(
        f"""{WORK}
helper = {helper}
print(subprocess.run(helper, capture_output=True, text=True))
os.waitpid(os.posix_spawn(helper[0], helper, os.environ), 0)
os.fork() or os.execv(helper[0], helper)
print(os.wait()[1])
work()
"""
    )
    assert seconds(profile) > 0.08


def test_a_process_may_become_another_user(alike: Alike) -> None:
    profile = alike(
        f"""{WORK}
user = 65534 if os.geteuid() == 0 else os.geteuid()
if os.fork() == 0:
    os.setuid(user)
    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    try:
        print(subprocess.run(["sh", "-c", "id -u; echo to stderr >&2"], capture_output=True), flush=True)
        print(subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True), flush=True)
    except OSError as error:
        print(error, flush=True)
    os._exit(0)
print(os.wait()[1])
work()
"""
    )
    assert seconds(profile) == pytest.approx(0.45, abs=0.2)


LOCALES = {
    "c": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "posix": {"LC_ALL": "POSIX"},
    "turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR", "LANGUAGE": "tr"},
    "unknown": {"LC_ALL": "\u00fcber.\u0130", "TZ": "Nowhere/At all"},
}


@pytest.mark.parametrize("locale", LOCALES.values(), ids=LOCALES)
def test_no_locale_changes_what_is_run_and_reported(alike: Alike, clean_env: dict[str, str], locale: Any) -> None:
    show = "import locale\nprint(sys.getfilesystemencoding(), sys.flags.utf8_mode, 'I'.lower(), locale.setlocale(0))\n"
    assert seconds(alike(f"{WORK}\nwork()\n{show}", env=clean_env | locale)) > 0.08


@pytest.mark.parametrize("locale", [LOCALES["c"], {"LC_ALL": "C.UTF-8"}], ids=["ascii", "utf-8"])
def test_names_of_files_may_be_any_bytes(tmp_path: Path, clean_env: dict[str, str], locale: dict[str, str]) -> None:
    folder = os.fsdecode(b"caf\xe9 \xff\xfe")
    (tmp_path / folder).mkdir()
    script = Path(folder, os.fsdecode(b"\xe9t\xe9 '\"\n.py"))
    (tmp_path / script).write_text(f"{WORK}\nwork()\nprint(ascii(sys.argv), ascii(__file__))\n")
    env = clean_env | locale
    plain = subprocess.run([sys.executable, script, folder], cwd=tmp_path, env=env, capture_output=True, check=False)
    output = Path(folder, os.fsdecode(b"\xe0.json"))
    ours = [sys.executable, "-m", "rscalene"]
    command = [*ours, "run", "-q", "-o", str(output), str(script), folder]
    profiled = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (profiled.returncode, profiled.stdout, profiled.stderr) == (plain.returncode, plain.stdout, b"")
    assert seconds(json.loads((tmp_path / output).read_text())) > 0.08
    view = subprocess.run([*ours, "view", str(output)], cwd=tmp_path, env=env, capture_output=True, check=False)
    assert (view.returncode, view.stderr) == (0, b"rscalene: `--full` prints all tables\n")
    assert f".py:{LINE} " in view.stdout.decode()
