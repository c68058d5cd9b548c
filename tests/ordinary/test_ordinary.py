"""Ordinary programs: the first answer of table, page and notebook is the line that a person would name."""

from __future__ import annotations

from pathlib import Path

import pytest

from .answers import Program, answers, programs, record


@pytest.mark.parametrize("program", programs(), ids=lambda program: program.name)
def test_the_first_answer_is_the_line_that_a_person_would_name(program: Program, tmp_path: Path) -> None:
    found = answers(record(program, tmp_path))
    for word, said in found.items():
        assert said.terminal == said.page == said.notebook, (word, said)
        if (truth := program.truth(word)) is not None:
            assert said.terminal == truth, (word, said)
    assert found["slowest"].table == found["slowest"].terminal
