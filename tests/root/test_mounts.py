"""Odd disks and namespaces change neither the program nor, where it can be had, its profile.

What has to be mounted is mounted in a namespace of the command's own, which ends with it. Needs the right to make one:
`make test-root`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workload import WORK, seconds

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


NEW_PIDS = ["unshare", "-pf"] if os.geteuid() == 0 else ["unshare", "-rpf"]


def test_a_process_in_a_pid_namespace_is_not_taken_for_another(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(f"{WORK}\nwork()\nprint(os.getpid())\n")
    result = rscalene("run", "-o", "out.json", *NEW_PIDS, sys.executable, "app.py")
    assert (result.returncode, result.stdout) == (4, "1\n")
    assert "Python ran in a sandbox or container of its own" in result.stderr
    assert "run `rscalene` inside of the sandbox or container" in result.stderr
    profile = json.loads((tmp_path / "out.json").read_text())
    assert [process["pid"] for process in profile["processes"]] == [profile["target"]["pid"]]
    assert any(notice["code"] == "other_namespace" for notice in profile["notices"])


def test_a_proc_of_other_processes_is_refused(rscalene: Run, after: After, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("print('ran')\n")
    for prefix, why in [(NEW_PIDS, "that of another PID namespace"), (after("umount -l /proc"), "there is no `/proc`")]:
        for words in [("run", "app.py"), ("doctor",)]:
            result = rscalene(*words, prefix=prefix)
            assert (result.returncode, result.stdout) == (4, "")
            assert why in result.stderr
            assert "hint: mount it" in result.stderr
