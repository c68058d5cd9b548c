"""The servers of these tests, one of each for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import servers


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.Server]:
    with servers.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.Server]:
    with servers.mariadb() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> dict[str, object]:
    """``DATABASES["default"]`` of Django for each of the three."""
    if request.param == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    server: servers.Server = request.getfixturevalue(request.param)
    engine = "postgresql" if request.param == "postgresql" else "mysql"
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": server.database,
        "USER": server.user,
        "HOST": "127.0.0.1",
        "PORT": server.port,
    }
