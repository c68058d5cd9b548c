"""What is shown and saved: in a pipe, on a terminal, in files."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import signal
import stat
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest
from conftest import Run

SPIN = """\
import time
end = time.process_time() + 0.3
while time.process_time() < end:
    sum(range(1000))
print("done")
"""


class Terminal:
    """A command on a terminal of its own, so many columns wide."""

    def __init__(self, words: list[str], cwd: Path, env: dict[str, str], columns: int = 100) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
            os.chdir(cwd)
            os.execve(sys.executable, [sys.executable, "-m", "rscalene", *words], env)
        self.text = ""
        # A read may end in the middle of a character.
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def read_until(self, part: str) -> None:
        while part not in self.text:
            self.text += self.decoder.decode(os.read(self.fd, 65536))

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def end(self) -> int:
        while True:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                break
            if not data:
                break
            self.text += self.decoder.decode(data)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(SPIN)
    return path


@pytest.fixture
def terminal_env(clean_env: dict[str, str]) -> dict[str, str]:
    return {**clean_env, "TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def test_in_a_pipe_the_short_table_ends_with_the_answer_and_nothing_is_saved(
    rscalene: Run, app: Path, tmp_path: Path
) -> None:
    result = rscalene("run", app)
    assert (result.returncode, result.stdout) == (0, "done\n")
    rows = result.stderr.splitlines()
    assert rows[0].startswith("rscalene: ")
    assert "--full" in rows[0]
    assert rows[-2].startswith("slowest: app.py:4 took ")
    assert rows[-1].startswith("most memory: ")
    assert "Line Contents" not in result.stderr
    assert "\x1b" not in result.stderr
    assert sorted(tmp_path.iterdir()) == [app]


def test_full_prints_the_source_and_still_ends_with_the_answer(rscalene: Run, app: Path) -> None:
    rows = rscalene("run", "--full", app).stderr.splitlines()
    assert any("Line Contents" in row for row in rows)
    assert rows[-2].startswith("slowest: app.py:4 took ")


def test_each_output_is_written_and_a_dash_is_standard_output(rscalene: Run, app: Path, tmp_path: Path) -> None:
    result = rscalene("run", "-q", "-o", "out.json", "-o", "out.html", "-o", "-", app)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("done\n")
    assert result.stdout.splitlines()[-2].startswith("slowest: app.py:4 took ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "out.html", "out.json"]
    shown = rscalene("view", "out.json").stdout
    assert shown.splitlines()[-2:] == result.stdout.splitlines()[-2:]
    tree = rscalene("view", "out.json", "--tree").stdout
    assert "Call tree" in tree
    assert "<module> app.py:4" in tree


def test_verbose_says_what_is_started_and_what_was_recorded(rscalene: Run, app: Path) -> None:
    done = rscalene("run", "-v", "-q", app)
    started, recorded = done.stderr.splitlines()
    assert str(app) in started
    assert "LD_PRELOAD=" in started
    assert "RSCALENE_ARENA=" in started
    assert re.search(r"[\d,]+ CPU samples every [\d.]+ [mu]s \((perf|timer)\), [\d,]+ allocation samples", recorded)
    assert "records lost; the launcher took" in recorded


def test_quiet_prints_nothing_and_saves_the_named_files(rscalene: Run, app: Path, tmp_path: Path) -> None:
    result = rscalene("run", "-q", "-o", "out.json", app)
    assert (result.returncode, result.stderr) == (0, "")
    saved = tmp_path / "out.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert json.loads(saved.read_text())["format"]["name"] == "rscalene-profile"
    assert sorted(tmp_path.iterdir()) == [app, saved]


@pytest.mark.parametrize("name", ["out.xml", "out", "missing/out.json", "."])
def test_an_output_that_cannot_be_is_refused_before_the_program_runs(rscalene: Run, app: Path, name: str) -> None:
    result = rscalene("run", "-o", name, app)
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"rscalene: [^\n]+\nhint: [^\n]+\n", result.stderr)


def test_a_full_disk_gives_an_error_and_the_line_still_comes(rscalene: Run, app: Path, tmp_path: Path) -> None:
    (tmp_path / "full.json").symlink_to("/dev/full")
    result = rscalene("run", "-o", "full.json", app)
    assert (result.returncode, result.stdout) == (4, "done\n")
    assert "cannot write `full.json`" in result.stderr
    assert "hint: " in result.stderr
    assert " CPU " in result.stderr


@pytest.mark.parametrize("change", ["path.unlink()", "path.write_text('# new' + chr(10) + path.read_text())"])
def test_lines_show_the_text_that_ran_though_the_script_is_removed_or_edited_meanwhile(
    rscalene: Run, tmp_path: Path, change: str
) -> None:
    change = f"import pathlib; path = pathlib.Path(__file__); {change}"
    (tmp_path / "app.py").write_text(f"{change}\n{SPIN}")
    assert rscalene("run", "-q", "--cpu-only", "-o", "out.json", "app.py").returncode == 0
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    (file,) = [file for file in files if file["path"].endswith("/app.py")]
    assert {line["line"]: line["source"] for line in file["lines"]}[5] == SPIN.splitlines()[3]


def test_a_module_shows_the_text_that_it_had_when_it_was_first_seen(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "spin.py").write_text(SPIN)
    (tmp_path / "app.py").write_text("import spin, pathlib; pathlib.Path(spin.__file__).unlink()")
    assert rscalene("run", "-q", "--cpu-only", "-o", "out.json", "app.py").returncode == 0
    files = json.loads((tmp_path / "out.json").read_text())["files"]
    (file,) = [file for file in files if file["path"].endswith("/spin.py")]
    assert {line["line"]: line["source"] for line in file["lines"]}[4] == SPIN.splitlines()[3]
    assert not (tmp_path / "spin.py").exists()


def test_on_a_terminal_the_table_comes_with_the_next_command(
    app: Path, tmp_path: Path, terminal_env: dict[str, str]
) -> None:
    terminal = Terminal(["run", "app.py"], tmp_path, terminal_env)
    assert terminal.end() == 0
    assert "app.py:4" in terminal.text
    assert "saved rscalene-app.json" in terminal.text
    assert "rscalene view rscalene-app.json" in terminal.text
    assert (tmp_path / "rscalene-app.json").is_file()


def test_a_file_of_others_is_never_written_over(app: Path, tmp_path: Path, terminal_env: dict[str, str]) -> None:
    theirs = tmp_path / "rscalene-app.json"
    theirs.write_text('{"mine": 1}')
    terminal = Terminal(["run", "app.py"], tmp_path, terminal_env)
    assert terminal.end() == 4
    assert theirs.read_text() == '{"mine": 1}'
    assert "app.py:4" in terminal.text
    assert "hint: " in terminal.text


def test_forty_columns_are_kept_to(app: Path, tmp_path: Path, terminal_env: dict[str, str]) -> None:
    terminal = Terminal(["run", "--color", "never", "-o", "out.json", "app.py"], tmp_path, terminal_env, columns=40)
    assert terminal.end() == 0
    table = [line.rstrip("\r") for line in terminal.text.split("\n") if "saved" not in line]
    assert max(map(len, table)) <= 40


def test_ctrl_c_reaches_the_program_once(tmp_path: Path, terminal_env: dict[str, str]) -> None:
    (tmp_path / "app.py").write_text(
        "import signal, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('ready', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print('got', len(got), flush=True)\n"
    )
    terminal = Terminal(["run", "app.py"], tmp_path, terminal_env)
    terminal.read_until("ready")
    terminal.type(b"\x03")
    assert terminal.end() == 0
    assert "got 1" in terminal.text
    assert "saved" in terminal.text


def test_ctrl_c_ends_a_program_with_its_own_traceback_and_a_report(
    tmp_path: Path, terminal_env: dict[str, str]
) -> None:
    (tmp_path / "app.py").write_text("import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.01)\n")
    terminal = Terminal(["run", "app.py"], tmp_path, terminal_env)
    terminal.read_until("ready")
    terminal.type(b"\x03")
    time.sleep(0.05)
    terminal.type(b"\x03")
    assert terminal.end() == 128 + signal.SIGINT
    assert "KeyboardInterrupt" in terminal.text
    assert "saved" in terminal.text


def test_a_saved_profile_is_shown_again(rscalene: Run, app: Path) -> None:
    rscalene("run", "-q", "-o", "out.json", app)
    result = rscalene("view", "out.json")
    assert result.returncode == 0
    assert "app.py:4" in result.stdout
    assert "sum(range(1000))" in result.stdout


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"format": {"name": "other", "major": 1, "minor": 0}}'])
def test_a_file_that_is_no_profile_is_refused_with_a_hint(rscalene: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    result = rscalene("view", "x.json")
    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"rscalene: [^\n]*`x.json`[^\n]*\nhint: [^\n]+\n", result.stderr)


def test_a_reader_that_leaves_early_is_no_error(rscalene: Run, app: Path, tmp_path: Path) -> None:
    rscalene("run", "-q", "-o", "out.json", app)
    command = f"{sys.executable} -m rscalene view out.json --all-lines | head -1; exit ${{PIPESTATUS[0]}}"
    result = rscalene("run", "-q", "bash", "-c", command)
    assert "Traceback" not in result.stderr
    assert "panicked" not in result.stderr


def test_a_program_whose_reader_leaves_ends_as_without_rscalene(rscalene: Run) -> None:
    program = "-c 'while True: print(1, flush=True)' | head -1; echo ${PIPESTATUS[0]}"
    plain = rscalene("run", "-q", "bash", "-c", f"{sys.executable} {program}")
    result = rscalene("run", "-q", "bash", "-c", f"{sys.executable} -m rscalene run -q {program}")
    assert result.stdout == plain.stdout
    assert result.stdout.startswith("1\n")
