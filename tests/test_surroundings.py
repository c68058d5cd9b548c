"""Odd surroundings (disks, mounts, users, locales) change neither the program nor, where it can be had, its profile.

What has to be mounted is mounted in a namespace of the command's own, which ends with it.
"""

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
from workload import LINE, WORK

Alike = Callable[..., dict[str, Any]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
# Gives the words that run a command after a line of shell, which may mount.
After = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def after() -> After:
    """Where a process may have mounts of its own: as root, else where users may have namespaces, else by sudo."""
    ways = [["unshare", "-m"], ["unshare", "-rm"], ["sudo", "-nE", "unshare", "-m"]]
    if " shared:" not in Path("/proc/self/mountinfo").read_text():
        # Within a chroot; nobody outside sees what is mounted here.
        ways.append(["unshare", "-m", "--propagation", "unchanged"])
    for words in ways:
        try:
            subprocess.run([*words, "mount", "-t", "tmpfs", "none", "/tmp"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return lambda first, words=words: [*words, "sh", "-c", f'{first} && exec "$@"', "sh"]  # type: ignore[misc]
    pytest.fail("these tests mount file systems: run them as root, or where `unshare -rm true` works")


def seconds(profile: dict[str, Any]) -> float:
    """CPU time on the line of `WORK`."""
    return sum(
        float(line["python_s"] + line["native_s"] + line["system_s"])
        for file in profile["files"]
        if LINE in {line["line"] for line in file["lines"]} and file["path"].endswith(".py")
        for line in file["lines"]
        if line["line"] == LINE
    )


SHOW = f"{WORK}\nwork()\nprint('end', file=sys.stderr)\nsys.exit(3)\n"


def test_the_size_of_dev_shm_does_not_matter(alike: Alike, after: After) -> None:
    full = "mount -t tmpfs -o size=64k none /dev/shm && ! head -c 70000 /dev/zero 2>&- >/dev/shm/full 2>/dev/null"
    profile = alike(f"{WORK}\nwork()\nprint(os.stat('/dev/shm/full').st_size)\n", prefix=after(full))
    assert seconds(profile) > 0.08


def test_on_a_read_only_file_system_only_the_report_is_missing(
    rscalene: Run, after: After, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text(SHOW)
    clean_env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path)}
    read_only = after(f"mount --bind '{tmp_path}' '{tmp_path}' && mount -o remount,ro,bind '{tmp_path}' && cd .")
    # Somewhere else the report is whole; a pipe is somewhere else.
    (tmp_path / "pipe.json").symlink_to("/proc/self/fd/1")
    kept = rscalene("run", "-q", "-o", "pipe.json", "app.py", prefix=read_only)
    assert (kept.returncode, kept.stderr) == (3, "end\n")
    assert seconds(json.loads(kept.stdout)) > 0.08
    lost = rscalene("run", "-q", "-o", "out.json", "app.py", prefix=read_only)
    assert (lost.returncode, lost.stdout) == (3, "")
    assert lost.stderr.startswith("end\nrscalene: cannot write `")
    assert "Read-only file system" in lost.stderr


def test_on_a_full_disk_only_the_report_is_missing(
    rscalene: Run, after: After, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text(SHOW)
    disk = tmp_path / "disk"
    disk.mkdir()
    clean_env |= {"XDG_STATE_HOME": str(disk / "state"), "TMPDIR": str(disk)}
    full = after(f"mount -t tmpfs -o size=64k none '{disk}' && ! cat /dev/zero 2>/dev/null >'{disk}/full'")
    result = rscalene("run", "-q", "-o", f"{disk}/out.json", "app.py", prefix=full)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr.startswith(f"end\nrscalene: cannot write `{disk}/out.json`")
    assert "No space left on device" in result.stderr


def test_a_program_may_leave_for_another_root(alike: Alike, after: After) -> None:
    profile = alike(
        f"""{WORK}
os.mkdir("root") if not os.path.isdir("root") else None
work()
os.chroot("root")
os.chdir("/")
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
if os.fork() == 0:
    work()
    os._exit(4)
print(os.wait()[1], os.listdir("/"))
""",
        prefix=after("true"),
    )
    assert len(profile["processes"]) == 2
    assert seconds(profile) == pytest.approx(0.6, abs=0.25)


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
    assert (view.returncode, view.stderr) == (0, b"")
    assert f".py:{LINE} " in view.stdout.decode()
