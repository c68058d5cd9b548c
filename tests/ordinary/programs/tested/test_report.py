"""pytest: one test is slow."""

import pytest


@pytest.fixture(scope="module")
def rows():
    return [{"id": n, "name": f"name {n}"} for n in range(120_000)]  # peak


def test_ids(rows):
    assert rows[5]["id"] == 5


def test_names(rows):
    for _ in range(6):
        names = sorted(rows, key=lambda row: row["name"][::-1])  # slowest
    assert len(names) == 120_000
