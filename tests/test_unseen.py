"""A program that could not be profiled is told why: a sentence and a hint for each reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

OLD = """
#include <stdio.h>
const char *Py_GetVersion(void) { return "3.9.18 (main, Aug 24 2023, 21:20:12) [GCC 12.2.0]"; }
int Py_IsInitialized(void) { return 0; }
int main(void) { puts("old"); return 0; }
"""
LATE = """
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
    puts(dlopen(words[1], RTLD_NOW) ? "loaded" : dlerror());
    usleep(300000);
    return 0;
}
"""
# Linked statically: it has no library of ours, and passes on the environment that it is told to pass on.
STARTER = """
#include <unistd.h>
int main(int count, char **words) { return execve(words[2], words + 2, words[1][0] ? words + 1 : 0); }
"""
# Linked statically: starts a program in a PID namespace of its own (in a user namespace of its own, without rights).
SANDBOX = """
#define _GNU_SOURCE
#include <sched.h>
#include <unistd.h>
#include <sys/wait.h>
int main(int count, char **words) {
    if (unshare(geteuid() ? 0x30000000 : 0x20000000)) return 77;
    if (!fork()) return execv(words[1], words + 1);
    wait(0);
    return 0;
}
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., Path]:
    """Compile a program from its text, with these flags."""

    def compile(name: str, text: str, *flags: str) -> Path:
        (tmp_path / f"{name}.c").write_text(text)
        subprocess.run(["cc", "-o", tmp_path / name, tmp_path / f"{name}.c", *flags], check=True)
        return tmp_path / name

    return compile


def told(result: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """The reason and the hint of a run without a profile."""
    assert result.returncode == 4, result.stderr
    why, hint = (line for line in result.stderr.splitlines() if line.startswith(("rscalene: nothing", "hint: ")))
    return why.removeprefix("rscalene: nothing was profiled: "), hint.removeprefix("hint: ")


def test_an_old_python_is_refused_with_its_version(rscalene: Run, compiled: Callable[..., Path]) -> None:
    old = compiled("old", OLD, "-rdynamic")
    why, hint = told(rscalene("run", old))
    assert why == "Python 3.9.18 is not supported"
    assert hint.startswith("CPython 3.11 to 3.15 is supported")
    doctor = rscalene("doctor", "--python", old).stdout
    first = doctor.split("\n\n")[1]
    assert "Python 3.9.18 is not supported" in first
    assert "0.0.0" not in doctor
    assert first.count("hint:") == 1


def test_a_python_loaded_late_is_recognised_by_its_library(rscalene: Run, compiled: Callable[..., Path]) -> None:
    library = compiled("libpython3.99.so", "int nothing;", "-shared", "-fPIC")
    result = rscalene("run", compiled("late", LATE, "-ldl"), library)
    assert result.stdout == "loaded\n"
    why, hint = told(result)
    assert why == "the program loaded Python (`libpython3.99.so`) after its start, as frozen programs do"
    assert "rscalene attach PID" in hint


@pytest.mark.parametrize("preload", ["", "LD_PRELOAD=libm.so.6"], ids=["cleared", "replaced"])
def test_an_environment_without_the_preload_gives_a_notice(
    rscalene: Run, compiled: Callable[..., Path], preload: str
) -> None:
    starter = compiled("starter", STARTER.replace("words + 1 : 0", "(char *[]){words[1], 0} : 0"), "-static")
    # A script in between, or the reason would be that the program itself is linked statically.
    python = os.path.realpath(sys.executable)
    command = f'"{starter}" "{preload}" "{python}" -S -E -c "import time; time.sleep(0.3)"; true'
    why, hint = told(rscalene("run", "sh", "-c", command))
    if preload:
        assert why == "Python was started with another `LD_PRELOAD` (`libm.so.6`)"
        assert "`LD_PRELOAD=libm.so.6:$LD_PRELOAD`" in hint
    else:
        assert why == "Python was started with an environment without `LD_PRELOAD`"
        assert "`LD_PRELOAD` and `RSCALENE_ARENA`" in hint
    why, hint = told(rscalene("run", starter, "", "/bin/true"))
    assert why.endswith("is statically linked: no library can be preloaded into it")


def test_a_sandbox_gives_a_notice(rscalene: Run, compiled: Callable[..., Path]) -> None:
    sandbox = compiled("sandbox", SANDBOX, "-static")
    python = os.path.realpath(sys.executable)
    command = f'"{sandbox}" "{python}" -S -E -c "import time; time.sleep(0.3)" || echo none'
    result = rscalene("run", "sh", "-c", command)
    if result.stdout:
        pytest.skip("no namespaces here")
    why, hint = told(result)
    assert why == "Python ran in a sandbox or container of its own, which the preload does not reach"
    assert hint == "run `rscalene` inside of the sandbox or container"


def test_file_capabilities_give_a_notice(rscalene: Run, compiled: Callable[..., Path], tmp_path: Path) -> None:
    setcap = shutil.which("setcap") or "/usr/sbin/setcap"
    if os.geteuid() != 0 or not Path(setcap).exists():
        pytest.skip("only root gives a file capabilities")
    program = compiled("able", "int main(void) { return 0; }")
    if subprocess.run([setcap, "cap_net_raw+ep", program], capture_output=True, check=False).returncode:
        pytest.skip("this file system keeps no capabilities")
    # In a user namespace without a map, root is some user.
    prefix = ["unshare", "--user"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    script = tmp_path / "script"
    script.write_text(f"#!{program}\n")
    script.chmod(0o755)
    for words in ([program], [script]):
        why, hint = told(rscalene("run", *words, prefix=prefix))
        assert why == f"`{program}` has file capabilities: the system lets no library be preloaded into it"
        assert "as root" in hint
