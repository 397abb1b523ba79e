"""A fresh database for each daemon that is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.postgres import Server


@contextmanager
def fresh(server: str | None) -> Iterator[str | None]:
    """The URL of a database of its own on a Postgres server, dropped afterwards; None is SQLite in the home."""
    if server is None:
        yield None
        return
    with Server(server).database() as url:
        yield url
