"""The recipes of docs/clusters.md for containers, queues and CI: valid by their schemas, and their commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs/clusters.md").read_text()
APP = "kept = [bytearray(1_000_000) for _ in range(9)]\nsum(i * i for i in range(400_000))\n"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture
def env(clean_env: dict[str, str]) -> dict[str, str]:
    """The environment in which ``rscalene`` is on PATH."""
    return clean_env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean_env['PATH']}"}


def runs(words: list[str], folder: Path, env: dict[str, str]) -> None:
    ran = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


def lines(path: Path) -> dict[int, Any]:
    profile = json.loads(path.read_text())
    return {line["line"]: line for file in profile["files"] for line in file["lines"]}


def test_the_images_command_leaves_a_profile_in_the_volume(tmp_path: Path, env: dict[str, str]) -> None:
    (block,) = blocks("dockerfile")
    steps = dict(line.split(" ", 1) for line in block.splitlines() if line)
    assert steps["RUN"] == "pip install rscalene"
    volume = steps["VOLUME"]
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "profiles").mkdir()
    runs([word.replace(volume, str(tmp_path / "profiles")) for word in json.loads(steps["CMD"])], tmp_path, env)
    (profile,) = (tmp_path / "profiles").iterdir()
    assert lines(profile)[1]["alloc_bytes"] == pytest.approx(9_000_000, rel=0.05)


def test_the_manifest_is_valid_and_its_command_runs(tmp_path: Path, env: dict[str, str]) -> None:
    import kubernetes_validate
    import yaml

    (block,) = (block for block in blocks("yaml") if "apiVersion" in block)
    manifest = yaml.safe_load(block)
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    spec = manifest["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == spec["volumes"][0]["name"]
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "profiles").mkdir()
    words = [word.replace(mount["mountPath"], str(tmp_path / "profiles")) for word in container["command"]]
    words += [word.replace(mount["mountPath"], str(tmp_path / "profiles")) for word in container["args"]]
    # Nobody listens there: the program must not mind.
    pushed = {entry["name"]: "http://127.0.0.1:9" for entry in container["env"]}
    runs(words, tmp_path, env | pushed)
    assert len(list((tmp_path / "profiles").iterdir())) == 1


def test_the_job_of_slurm_makes_one_profile_of_its_ranks(tmp_path: Path, env: dict[str, str]) -> None:
    (block,) = blocks("bash")
    (tmp_path / "train.py").write_text(APP)
    (tmp_path / "job").write_text(block)
    (tmp_path / "profiles").mkdir()
    ranks = re.search(r"--ntasks=(\d+)", block)
    assert ranks is not None
    srun = tmp_path / "bin/srun"
    srun.parent.mkdir()
    srun.write_text(f'#!/bin/bash\nfor rank in $(seq 0 {int(ranks[1]) - 1}); do SLURM_PROCID=$rank "$@" & done\nwait\n')
    srun.chmod(0o755)
    runs(["bash", "-eu", "job"], tmp_path, env | {"PATH": f"{srun.parent}{os.pathsep}{env['PATH']}"})
    merged = json.loads((tmp_path / "train.json").read_text())
    assert sorted(member["rank"] for member in merged["merge"]["members"]) == list(range(int(ranks[1])))
    assert lines(tmp_path / "train.json")[1]["alloc_bytes"] == pytest.approx(int(ranks[1]) * 9_000_000, rel=0.05)


def test_the_workflow_is_valid_and_fails_where_memory_grows(tmp_path: Path, env: dict[str, str]) -> None:
    import yaml

    (block,) = (block for block in blocks("yaml") if "runs-on" in block)
    (tmp_path / "memory.yml").write_text(block)
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", "memory.yml"]
    runs(check, tmp_path, env)
    steps = [step["run"] for step in yaml.safe_load(block)["jobs"]["memory"]["steps"] if "run" in step]
    assert steps.pop(0) == "pip install rscalene"
    run, compare = (shlex.split(step) for step in steps)
    (tmp_path / "app.py").write_text(APP)
    runs([word.replace("head.json", "base.json") for word in run], tmp_path, env)
    runs(run, tmp_path, env)
    runs(compare, tmp_path, env)
    (tmp_path / "app.py").write_text(APP.replace("range(9)", "range(12)"))
    runs(run, tmp_path, env)
    failed = subprocess.run(compare, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 3
    assert "::error file=app.py,line=1" in failed.stdout
