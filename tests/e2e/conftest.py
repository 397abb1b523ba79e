"""Fixtures of the black-box tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home on the embedded database."""
    found = Home(tmp_path)
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    """A home on SQLite, and on a Postgres database of its own."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    found = Home(tmp_path, url)
    yield found
    found.close()
