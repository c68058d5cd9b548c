"""The command line itself: help, version, usage errors."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from conftest import Run


def test_a_program_in_place_of_a_command_gets_a_hint_to_run(rscalene: Run) -> None:
    done = rscalene("app.py")
    assert done.returncode == 2
    assert "hint: to profile a program, type `rscalene run PROGRAM`" in done.stderr


def test_version_names_the_installed_distribution(rscalene: Run) -> None:
    result = rscalene("--version")
    assert (result.returncode, result.stdout) == (0, f"rscalene {version('rscalene')}\n")


def test_an_unknown_option_is_a_usage_error_on_stderr(rscalene: Run) -> None:
    for words in (["--frobnicate"], ["run", "--frobnicate", "app.py"], ["view", "--frobnicate"]):
        result = rscalene(*words)
        assert result.returncode == 2
        assert result.stdout == ""
        assert "--frobnicate" in result.stderr
        assert "hint: `rscalene COMMAND --help`" in result.stderr


def test_an_impossible_value_gives_an_error_with_the_possible_values(rscalene: Run) -> None:
    for option, value, can in (
        ("--interval", "1us", "from 50us to 1s"),
        ("--interval", "soon", "a time such as 250us"),
        ("--top", "x", "a whole number"),
        ("--min-percent", "101", "a number from 0 to 100"),
        ("--sort", "speed", "one of cpu"),
        ("--memory", "some", "sampled, exact, off"),
    ):
        result = rscalene("run", option, value, "-c", "print('ran')")
        assert (result.returncode, result.stdout) == (2, ""), option
        assert option in result.stderr
        assert can in result.stderr
        assert "\nhint: " in result.stderr


def test_options_are_never_abbreviated(rscalene: Run) -> None:
    assert rscalene("run", "--cpu", "-c", "pass").returncode == 2


def test_help_names_every_command_and_option(rscalene: Run) -> None:
    top = rscalene("--help")
    assert top.returncode == 0
    for command in ("run", "view", "diff", "lines", "doctor", "completions"):
        assert command in top.stdout
    run = rscalene("run", "--help").stdout
    for option in ("--python", "--output", "--cpu-only", "--memory", "--interval", "--duration", "--include", "--top"):
        assert option in run


def test_configuration_environment_and_command_line_rise_in_order(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.rscalene]\noutput = 'file.json'\nquiet = true\n")
    rscalene("run", "-c", "pass")
    assert (tmp_path / "file.json").is_file()
    clean_env["RSCALENE_OUTPUT"] = "environment.json"
    rscalene("run", "-c", "pass", env=clean_env)
    assert (tmp_path / "environment.json").is_file()
    rscalene("run", "-o", "typed.json", "-c", "pass", env=clean_env)
    assert (tmp_path / "typed.json").is_file()


def test_memory_is_left_out_and_measured_by_the_last_word(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    def mode(*words: str, **more: str) -> str:
        done = rscalene("run", "-q", "-o", "out.json", *words, "-c", "pass", env={**clean_env, **more})
        assert done.returncode == 0, done.stderr
        return str(json.loads((tmp_path / "out.json").read_text())["settings"]["memory"]["mode"])

    for how in ("exact", "sampled"):
        both = rscalene("run", "--memory", how, "--cpu-only", "-c", "print('ran')")
        assert (both.returncode, both.stdout) == (2, "")
        assert f"cannot use `--cpu-only` with `--memory {how}`" in both.stderr
        assert "hint: " in both.stderr
    assert mode("--memory", "off", "--cpu-only") == "off"
    assert mode("--cpu-only", RSCALENE_MEMORY="exact") == "off"
    assert mode("--memory", "exact", RSCALENE_CPU_ONLY="1") == "exact"
    assert mode(RSCALENE_CPU_ONLY="1") == "off"
    (tmp_path / "pyproject.toml").write_text("[tool.rscalene]\ncpu-only = true\n")
    assert mode() == "off"
    assert mode("--memory", "sampled") == "sampled"


WORK = "sum(range(60_000_000))"


def test_the_command_line_decides_how_far_apart_samples_are_then_the_environment_then_the_budget(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    def interval(*words: str, **more: str) -> float:
        done = rscalene("run", "-q", "-o", "out.json", "--cpu-only", *words, "-c", WORK, env={**clean_env, **more})
        assert done.returncode == 0, done.stderr
        return float(json.loads((tmp_path / "out.json").read_text())["settings"]["cpu"]["interval_s"])

    # The kernel's ticks are up to 10 ms apart.
    assert interval() < 0.012
    assert 0.03 < interval(RSCALENE_INTERVAL="50ms") < 0.08
    assert 0.013 < interval("--interval", "20ms", RSCALENE_INTERVAL="50ms") < 0.03


def test_a_wrong_configuration_names_its_file(rscalene: Run, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.rscalene]\nintervall = '1ms'\n")
    result = rscalene("run", "-c", "pass")
    assert result.returncode == 2
    assert "`intervall` is no option" in result.stderr
    assert str(tmp_path / "pyproject.toml") in result.stderr


def test_completions_are_printed_for_shells(rscalene: Run) -> None:
    for shell in ("bash", "zsh", "fish"):
        result = rscalene("completions", shell)
        assert result.returncode == 0
        assert "cpu-only" in result.stdout


def test_the_doctor_lists_the_working_parts(rscalene: Run) -> None:
    result = rscalene("doctor")
    assert result.returncode == 0
    assert "starts with the preloaded library" in result.stdout
    assert "programs can be profiled here" in result.stdout
    result = rscalene("doctor", "--python", "/nonexistent/python")
    assert result.returncode == 1
    assert "hint: " in result.stdout


def test_a_preloaded_sanitizer_is_refused_before_the_program_runs(
    rscalene: Run, tmp_path: Path, clean_env: dict[str, str]
) -> None:
    env = {**clean_env, "LD_PRELOAD": f"{tmp_path}/other.so:{tmp_path}/libasan.so.8"}
    result = rscalene("run", "-c", "print('ran')", env=env)
    assert (result.returncode, result.stdout) == (2, "")
    assert "cannot profile with `libasan.so.8` preloaded" in result.stderr
    assert "hint: " in result.stderr
