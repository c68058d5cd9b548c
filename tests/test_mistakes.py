"""What a person does wrong, and the answer: what, why, and one thing to do.

A row is a mistake. Each must end with the exit code of its kind, leave standard output alone, name what is wrong and
give a hint, without a traceback or a panic.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run

USAGE, NO_PROFILE, CANNOT_RUN, NOT_FOUND = 2, 4, 126, 127

#: Words, exit code, what the message names.
MISTAKES: list[tuple[str, int, str]] = [
    # Words that are none.
    ("rum app.py", USAGE, "rum"),
    ("profile app.py", USAGE, "profile"),
    ("app.py", USAGE, "app.py"),
    ("viev p.json", USAGE, "viev"),
    ("run --colour never app.py", USAGE, "--colour"),
    ("run --outfile x.json app.py", USAGE, "--outfile"),
    ("run --html app.py", USAGE, "--html"),
    ("run --json app.py", USAGE, "--json"),
    ("run -x app.py", USAGE, "-x"),
    ("run --cpu app.py", USAGE, "--cpu"),
    ("run --memry exact app.py", USAGE, "--memry"),
    ("view --cpu-only p.json", USAGE, "--cpu-only"),
    ("diff --sort cpu p.json p.json", USAGE, "--sort"),
    ("--frobnicate", USAGE, "--frobnicate"),
    # Values that cannot be.
    ("run --interval 10 --interval", USAGE, "--interval"),
    ("run --interval 10us app.py", USAGE, "from 50us to 1s"),
    ("run --interval 2s app.py", USAGE, "from 50us to 1s"),
    ("run --interval fast app.py", USAGE, "fast"),
    ("run --interval -1ms app.py", USAGE, "--interval"),
    ("run --duration 0 app.py", USAGE, "--duration"),
    ("run --duration tomorrow app.py", USAGE, "tomorrow"),
    ("run --top many app.py", USAGE, "many"),
    ("run --top -3 app.py", USAGE, "--top"),
    ("run --min-percent 200 app.py", USAGE, "200"),
    ("run --min-percent half app.py", USAGE, "half"),
    ("run --sort speed app.py", USAGE, "speed"),
    ("run --memory all app.py", USAGE, "all"),
    ("run --cpu-source gpu app.py", USAGE, "gpu"),
    ("run --color maybe app.py", USAGE, "maybe"),
    ("run --width wide app.py", USAGE, "wide"),
    ("run --include [ app.py", USAGE, "["),
    ("run --exclude {a app.py", USAGE, "{a"),
    ("run --cpu-only --memory exact app.py", USAGE, "--cpu-only"),
    ("view p.json --format xml", USAGE, "xml"),
    ("view p.json --html --format text", USAGE, "--html"),
    ("completions csh", USAGE, "csh"),
    # Nothing where something is due.
    ("run", USAGE, "nothing to run"),
    ("run -o x.json", USAGE, "nothing to run"),
    ("run -m", USAGE, "-m"),
    ("run -c", USAGE, "-c"),
    ("view", USAGE, "FILE"),
    ("diff p.json", USAGE, "AFTER"),
    # Programs that are none.
    ("run nothing.py", NOT_FOUND, "nothing.py"),
    ("run ./nothing", NOT_FOUND, "nothing"),
    ("run no-such-command", NOT_FOUND, "no-such-command"),
    ("run folder", CANNOT_RUN, "folder"),
    ("run secret.sh", CANNOT_RUN, "secret.sh"),
    ("run no-line", CANNOT_RUN, "no-line"),
    ("./bad-line", USAGE, "bad-line"),
    ("run ./bad-line", NOT_FOUND, "bad-line"),
    ("run --python nowhere app.py", NOT_FOUND, "nowhere"),
    ("run --python folder app.py", CANNOT_RUN, "folder"),
    # An option of ours behind the program's name is the program's.
    ("run args.py --output x.json", USAGE, "`--output` stands behind `args.py`"),
    ("run args.py -o x.json", USAGE, "`-o` stands behind `args.py`"),
    ("run args.py --cpu-only", USAGE, "run --cpu-only args.py"),
    ("run -m args --top=3", USAGE, "`--top` stands behind `args`"),
    # Files to write.
    ("run -o x.xml app.py", USAGE, "x.xml"),
    ("run -o x app.py", USAGE, "`x`"),
    ("run -o folder app.py", USAGE, "folder"),
    ("run -o no/x.json app.py", USAGE, "no"),
    ("run -o folder.json app.py", USAGE, "folder.json"),
    ("view p.json -o x.xml", USAGE, "x.xml"),
    ("view p.json -o no/x.html", NO_PROFILE, "no/x.html"),
    ("diff p.json p.json -o x.csv", USAGE, "x.csv"),
    # Files to read.
    ("view gone.json", USAGE, "gone.json"),
    ("view folder", USAGE, "folder"),
    ("view app.py", USAGE, "app.py"),
    ("view empty.json", USAGE, "empty.json"),
    ("view half.json", USAGE, "half.json"),
    ("view list.json", USAGE, "list.json"),
    ("view other.json", USAGE, "other.json"),
    ("view newer.json", USAGE, "newer.json"),
    ("view wrong.json", USAGE, "wrong.json"),
    ("diff p.json gone.json", USAGE, "gone.json"),
    ("diff gone.json p.json", USAGE, "gone.json"),
    ("diff p.json other.json", USAGE, "other.json"),
    ("recover gone.capture", USAGE, "gone.capture"),
    ("recover app.py", USAGE, "app.py"),
    ("recover", USAGE, "capture"),
    # Other commands.
    ("merge", USAGE, "DIR|FILE"),
    ("merge gone.json", USAGE, "gone.json"),
    ("merge empty.json -o m.json", USAGE, "empty.json"),
    ("merge p.json p.json -o x.xml", USAGE, "x.xml"),
    ("merge p.json -o no/m.json", USAGE, "no/m.json"),
    ("attach", USAGE, "PID"),
    ("attach app.py", USAGE, "a process id is a number"),
    ("attach 99999999", NO_PROFILE, "99999999"),
    ("top app.py", USAGE, "a process id is a number"),
    ("dump app.py", USAGE, "a process id is a number"),
    ("dump 99999999", NO_PROFILE, "99999999"),
    ("report 99999999", NO_PROFILE, "99999999"),
    ("report p.json", USAGE, "`rscalene view FILE` shows a saved profile"),
    ("run --ranks x app.py", USAGE, "--ranks"),
    ("run --python app.py app.py", CANNOT_RUN, "app.py"),
    ("diff --fail cpu:fast p.json p.json", USAGE, "--fail"),
    ("view p.json p.json", USAGE, "p.json"),
    ("recover p.json", USAGE, "p.json"),
    ("doctor app.py", USAGE, "app.py"),
    ("lines", USAGE, ""),
    ("lines nothing.py", USAGE, "nothing.py"),
    ("lines --columns speed app.py", USAGE, "speed"),
]


@pytest.fixture
def place(tmp_path: Path, rscalene: Run) -> Path:
    """A folder with a program, a profile, and files that are neither."""
    (tmp_path / "app.py").write_text("print('ran')\n")
    (tmp_path / "args.py").write_text("import argparse\nargparse.ArgumentParser().parse_args()\n")
    assert rscalene("run", "-q", "-o", "p.json", "-c", "pass").returncode == 0
    text = (tmp_path / "p.json").read_text()
    profile = json.loads(text)
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "other.json").write_text('{"name": "package", "version": "1.0.0"}')
    (tmp_path / "newer.json").write_text(json.dumps(profile | {"format": profile["format"] | {"major": 99}}))
    (tmp_path / "wrong.json").write_text(json.dumps(profile | {"totals": 3}))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "secret.sh").write_text("#!/bin/sh\n")
    for name, first in (("no-line", "words without a first line\n"), ("bad-line", "#!/no/such/interpreter\n")):
        (tmp_path / name).write_text(first)
        os.chmod(tmp_path / name, 0o755)
    return tmp_path


@pytest.mark.usefixtures("place")
def test_every_error_gives_the_fault_the_reason_and_one_hint(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    wrong = []
    env = clean_env | {"XDG_STATE_HOME": str(tmp_path / "state")}
    for words, code, part in MISTAKES:
        done = rscalene(*words.split(), env=env)
        said = done.stderr
        faults = [
            fault
            for fault, found in (
                (f"exit {done.returncode}, not {code}", done.returncode != code),
                ("standard output was used", bool(done.stdout)),
                (f"{part!r} is not named", part not in said),
                ("no hint", not re.search(r"^(hint|Usage|usage): ", said, re.M)),
                ("a file of ours is named", ".rscalene-" in said),
                ("a traceback", "Traceback" in said or "panicked" in said),
            )
            if found
        ]
        if faults:
            wrong.append(f"rscalene {words}: {', '.join(faults)}\n{said}{done.stdout}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("place")
def test_a_program_keeps_its_options_and_a_failed_write_gives_an_error(rscalene: Run, tmp_path: Path) -> None:
    # The program takes no options, so the file is missing at the end.
    ignored = rscalene("run", "-q", "app.py", "--output", "x.json")
    assert (ignored.returncode, ignored.stdout) == (0, "ran\n")
    hint = "hint: an option of rscalene stands before the program: `rscalene run --output x.json app.py ...`"
    assert hint in ignored.stderr
    assert not (tmp_path / "x.json").exists()
    # The program has an option of the same name: its file is its own.
    (tmp_path / "own.py").write_text("import sys\nopen(sys.argv[2], 'w').write('mine')\n")
    taken = rscalene("run", "-q", "own.py", "--output", "y.json")
    assert (taken.returncode, taken.stderr) == (0, "")
    assert (tmp_path / "y.json").read_text() == "mine"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    "words",
    [
        "view p.json", "view p.json --full", "view p.json --format json", "diff p.json p.json", "merge p.json",
        "run -o - app.py", "completions bash", "doctor", "view p.json -o -",
        "diff p.json p.json -o -", "merge p.json -o -",
    ],
)  # fmt: skip
def test_output_that_a_full_disk_refuses_is_an_error(words: str, tmp_path: Path, clean_env: dict[str, str]) -> None:
    """A reader that closes the pipe early (``| head``) is no error."""
    command = [sys.executable, "-m", "rscalene", *words.split()]
    (tmp_path / "app.py").write_text("sum(range(1_000_000))\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=tmp_path, env=clean_env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == NO_PROFILE
    assert "cannot write to stdout: No space left on device" in done.stderr
    assert "hint: " in done.stderr
    shut, pipe = os.pipe()
    os.close(shut)
    closed = subprocess.run(command, cwd=tmp_path, env=clean_env, stdout=pipe, stderr=subprocess.PIPE, check=False)
    os.close(pipe)
    assert closed.returncode in (0, 1), closed.stderr
    assert b"stdout" not in closed.stderr
