"""The profiled program runs as it would have under plain ``python``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import Run

FACTS = """\
import os, sys
main = sys.modules["__main__"]
print(sys.argv)
print(sys.path[0])
print(sorted(name for name in vars(main) if name.startswith("__")))
print(getattr(main, "__file__", None), main.__spec__ and main.__spec__.name, main.__package__, main.__doc__)
print(sys.flags)
print(os.getcwd(), sys.executable, sys.orig_argv)
print(sorted(set(os.environ) - {"LD_PRELOAD", "RSCALENE_ARENA"}))
"""
SIGNALS = """\
import os, signal
print({int(n): str(signal.getsignal(n)) for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)})
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
status = open("/proc/self/status").read().split()
print(status[status.index("SigIgn:") + 1])
print(os.getpgrp() == os.getpgid(os.getppid()))
"""
OPEN_FILES = """\
import os
def target(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
    except FileNotFoundError:
        return None
print(sorted((fd, target(fd)) for fd in map(int, os.listdir("/proc/self/fd")) if target(fd)))
"""


def same(rscalene: Run, python: Run, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run both, hold them to the same stdout and exit code, and return what rscalene's run gave."""
    expected = python(*words, **options)
    result = rscalene("run", "-q", *words, **options)
    assert result.stdout == expected.stdout
    assert result.returncode == (expected.returncode if expected.returncode >= 0 else 128 - expected.returncode)
    assert result.stderr == expected.stderr
    return result


@pytest.mark.parametrize(
    "code",
    [
        "",
        "raise SystemExit",
        "raise SystemExit(0)",
        "raise SystemExit(3)",
        "raise SystemExit(None)",
        "raise SystemExit('text')",
        "raise SystemExit(256)",
        "raise SystemExit(-1)",
        "import os; os._exit(7)",
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "def f():\n    1 / 0\nf()",
        "if True print('syntax')",
        "raise KeyboardInterrupt",
    ],
)
def test_a_script_ends_with_the_same_code_and_traceback(rscalene: Run, python: Run, tmp_path: Path, code: str) -> None:
    (tmp_path / "app.py").write_text(code)
    same(rscalene, python, "app.py")


@pytest.mark.parametrize("source", [FACTS, SIGNALS, OPEN_FILES], ids=["facts", "signals", "files"])
@pytest.mark.parametrize("form", [["app.py"], ["-m", "app"], ["./app.py", "-q", "--top", "--", "-o", "x"]], ids=str)
def test_a_program_sees_the_same_as_without_rscalene(
    rscalene: Run, python: Run, tmp_path: Path, source: str, form: Sequence[str]
) -> None:
    (tmp_path / "app.py").write_text(source)
    same(rscalene, python, *form)


def test_code_and_standard_input_run_as_with_the_interpreter(rscalene: Run, python: Run) -> None:
    same(rscalene, python, "-c", FACTS, "-c", "--all")
    same(rscalene, python, "-", "a", "-m", input=FACTS)
    same(rscalene, python, "-c", "import sys; print(len(sys.stdin.read()))", input="x" * 100_003)


def test_packages_folders_and_zip_files_run(rscalene: Run, python: Run, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FACTS)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    same(rscalene, python, "-m", "package", "x")
    same(rscalene, python, "package", "x")
    same(rscalene, python, "app.zip", "x")


def test_source_in_another_encoding_runs(rscalene: Run, python: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_bytes("# coding: latin-1\nprint(ascii('\u00e9'))\n".encode("latin-1"))
    same(rscalene, python, "app.py")


def test_much_output_arrives_whole(rscalene: Run, python: Run) -> None:
    result = same(rscalene, python, "-c", "print('x' * 500_009)")
    assert len(result.stdout) == 500_010


def test_arguments_after_two_dashes_belong_to_the_program(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import sys; print(sys.argv[1:])")
    assert rscalene("run", "-q", "--", "app.py", "-q").stdout == "['-q']\n"
    assert rscalene("run", "-q", "app.py", "--", "-q").stdout == "['--', '-q']\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["missing.py"], 127), (["no-such-command"], 127), (["./folder"], 126), (["./plain.sh"], 126), ([], 2)],
)
def test_a_failed_start_has_the_exit_codes_of_env(rscalene: Run, tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain.sh").write_text("true")
    result = rscalene("run", *words)
    assert result.returncode == code
    assert result.stdout == ""
    assert re.fullmatch(r"rscalene: [^\n]+\nhint: [^\n]+\n", result.stderr)


def test_commands_are_looked_up_on_the_path(rscalene: Run, tmp_path: Path, clean_env: dict[str, str]) -> None:
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv); sys.exit(5)\n")
    tool.chmod(0o755)
    clean_env["PATH"] = f"{tool.parent}:{clean_env.get('PATH', os.defpath)}"
    result = rscalene("run", "-q", "tool", "-x", env=clean_env)
    assert (result.returncode, result.stdout) == (5, f"['{tool}', '-x']\n")
    result = rscalene("run", "-q", "sh", "-c", "exit 9")
    assert result.returncode == 9


def test_a_program_without_python_runs_with_a_notice_that_it_is_not_profiled(rscalene: Run) -> None:
    result = rscalene("run", "echo", "words")
    assert (result.returncode, result.stdout) == (4, "words\n")
    assert "nothing was profiled" in result.stderr
    assert "hint: " in result.stderr


def test_another_interpreter_needs_no_rscalene(rscalene: Run, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "other"], check=True)
    python = tmp_path / "other" / "bin" / "python"
    code = "import importlib.util, sys; print(importlib.util.find_spec('rscalene'), sys.executable)"
    result = rscalene("run", "--python", python, "-c", code)
    assert (result.returncode, result.stdout) == (0, f"None {python}\n")
    assert "nothing was profiled" not in result.stderr


def test_an_empty_environment_is_enough(rscalene: Run) -> None:
    result = rscalene("run", "-q", "-c", "import os; print(sorted(os.environ))", env={})
    shown = eval(result.stdout)
    assert result.returncode == 0
    assert set(shown) <= {"LD_PRELOAD", "RSCALENE_ARENA", "LC_CTYPE"}


def test_earlier_preloads_stay_after_rscalene(rscalene: Run, clean_env: dict[str, str]) -> None:
    clean_env["LD_PRELOAD"] = "libm.so.6"
    result = rscalene("run", "-q", "-c", "import os; print(os.environ['LD_PRELOAD'])", env=clean_env)
    first, second = result.stdout.strip().split(":")
    assert first.endswith("librscalene_shim.so")
    assert second == "libm.so.6"


def test_children_without_python_see_no_harm(rscalene: Run, python: Run) -> None:
    code = "import subprocess; print(subprocess.run('ls / | sort | head -3; exit 4', shell=True).returncode)"
    same(rscalene, python, "-c", code)


LOOP = """\
import sys
total = 0
for number in range(400_000):
    total += number * number % 7
print(total, sys.stdin.fileno())
"""


@pytest.mark.parametrize("way", ["command", "pipe", "file"])
def test_a_program_that_is_no_file_has_its_lines_shown(rscalene: Run, python: Run, tmp_path: Path, way: str) -> None:
    (tmp_path / "loop.txt").write_text(LOOP)
    words = ["-c", LOOP] if way == "command" else ["-"]
    with (tmp_path / "loop.txt").open() as script:
        streams: dict[str, object] = {"input": LOOP if way == "pipe" else ""}
        if way == "file":
            streams = {"input": None, "stdin": script}
        expected = python(*words, **streams)
        script.seek(0)
        result = rscalene("run", "-q", "-o", "out.json", *words, **streams)
    assert (result.returncode, result.stdout, result.stderr) == (0, expected.stdout, "")
    profile = json.loads((tmp_path / "out.json").read_text())
    lines = {entry["line"]: entry["source"] for file in profile["files"] for entry in file["lines"]}
    assert lines[4] == "    total += number * number % 7"


def test_a_program_on_standard_input_reads_the_rest_of_the_input(rscalene: Run, python: Run) -> None:
    same(rscalene, python, "-", input="import os, stat\nprint(stat.S_ISFIFO(os.fstat(0).st_mode))\n" + "#" * 200_000)


@pytest.mark.once
@pytest.mark.parametrize("how", ["option", "first line", "name"])
@pytest.mark.parametrize(("answer", "words"), [("cpython 3.10.4", "Python 3.10.4"), ("pypy 3.11.9", "`pypy` 3.11.9")])
def test_an_unsupported_python_is_refused_with_its_version_before_the_program_starts(
    rscalene: Run, tmp_path: Path, how: str, answer: str, words: str
) -> None:
    old = tmp_path / "python3"
    old.write_text(f'#!/bin/sh\ncase "$*" in *version_info*) echo "{answer}";; *) touch started;; esac\n')
    old.chmod(0o755)
    (tmp_path / "app").write_text(f"#!{old}\n")
    (tmp_path / "app").chmod(0o755)
    (tmp_path / "app.py").write_text("")
    program = {"option": ["--python", str(old), "app.py"], "first line": ["./app"], "name": [str(old), "app.py"]}[how]
    done = rscalene("run", *program)
    assert done.returncode == 126
    assert f"{words} is not supported" in done.stderr
    assert "hint: CPython 3.11" in done.stderr
    assert not (tmp_path / "started").exists()
    checked = rscalene("doctor", "--python", str(old))
    assert checked.returncode == 1
    assert f"FAIL  version     {words} is not supported" in checked.stdout
    assert not (tmp_path / "started").exists()


@pytest.mark.once
def test_an_interpreter_without_a_clear_version_is_started(rscalene: Run, tmp_path: Path) -> None:
    strange = tmp_path / "python3"
    strange.write_text("#!/bin/sh\ntouch started\n")
    strange.chmod(0o755)
    assert rscalene("run", "--python", str(strange), "-c", "pass").returncode == 4
    assert (tmp_path / "started").exists()
