"""``rscalene run`` under launchers of many processes: names of files, and which ranks are profiled."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Run

WORK = "import os, sys\nsum(i * i for i in range(200_000))\nprint(os.environ.get('LD_PRELOAD', 'plain'))\n"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path / "work.py"


@pytest.mark.once
def test_ranks_that_name_the_same_file_write_a_file_each(
    work: Path, tmp_path: Path, clean_env: dict[str, str], rscalene: Run
) -> None:
    command = [sys.executable, "-m", "rscalene", "run", "-q", "-o", "out.json", "work.py"]
    ranks = [
        subprocess.Popen(command, env={**clean_env, variable: str(rank)}, cwd=tmp_path, stdout=subprocess.PIPE)
        for rank, variable in enumerate(["RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"])
    ]
    assert [(rank.wait(60), rank.stdout and rank.stdout.close()) for rank in ranks] == [(0, None)] * 4
    names = [f"out.rank{rank}.json" for rank in range(4)]
    assert sorted(path.name for path in tmp_path.glob("*.json")) == names
    for rank, name in enumerate(names):
        target = json.loads((tmp_path / name).read_text())["target"]
        assert (target["rank"], target["host"]) == (rank, socket.gethostname())
    assert rscalene("merge", tmp_path, "-o", "all.json").returncode == 0
    spread = json.loads((tmp_path / "all.json").read_text())["merge"]["spread"]
    assert (spread["by"], spread["groups"]) == ("rank", [f"rank {rank}" for rank in range(4)])


@pytest.mark.once
def test_placeholders_are_replaced(work: Path, tmp_path: Path, clean_env: dict[str, str], rscalene: Run) -> None:
    env = {**clean_env, "RANK": "7", "SLURM_PROCID": "1"}
    rscalene("run", "-q", "-o", "p-{host}-{rank}.json", "-o", "{pid}.collapsed", work, env=env)
    assert (tmp_path / f"p-{socket.gethostname()}-7.json").exists()
    assert len([path for path in tmp_path.glob("*.collapsed") if path.stem.isdigit()]) == 1
    rscalene("run", "-q", "-o", "p-{rank}.json", work)
    assert (tmp_path / "p-none.json").exists()
    refused = rscalene("run", "-o", "{rank}/p.json", work, env=env)
    assert refused.returncode == 2
    assert "there is no folder `7`" in refused.stderr


@pytest.mark.once
def test_ranks_that_are_left_out_run_without_a_profile(
    work: Path, tmp_path: Path, clean_env: dict[str, str], rscalene: Run
) -> None:
    work.write_text(WORK + "sys.exit(3)\n")
    for rank in "012":
        done = rscalene("run", "--ranks", "0,2", "-o", "out.json", work, env={**clean_env, "RANK": rank})
        assert done.returncode == 3
        assert ("librscalene" in done.stdout) == (rank != "1")
        assert done.stdout == "plain\n" or rank != "1"
        assert bool(done.stderr) == (rank != "1")
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["out.rank0.json", "out.rank2.json"]
    assert rscalene("run", "-q", "--ranks", "1", "-o", "alone.json", work).returncode == 3
    assert (tmp_path / "alone.json").exists(), "without a launcher the program is profiled"
    assert "numbers and ranges of ranks" in rscalene("run", "--ranks", "first", work).stderr
