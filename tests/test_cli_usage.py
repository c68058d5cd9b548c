"""The command line itself: help, version, usage errors."""

from __future__ import annotations

from importlib.metadata import version

from conftest import Run


def test_version_names_the_installed_distribution(rscalene: Run) -> None:
    result = rscalene("--version")
    assert (result.returncode, result.stdout) == (0, f"rscalene {version('rscalene')}\n")


def test_an_unknown_option_is_a_usage_error_on_stderr(rscalene: Run) -> None:
    result = rscalene("--frobnicate")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "--frobnicate" in result.stderr
