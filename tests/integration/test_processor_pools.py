"""The processor knows the pools: a task that asks for more than its pool has is an error of its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dagd.engine.processor import Processor
from dagd.model.errors import PoolTooSmall
from dagd.model.settings import load_settings
from dagd.observe.talk import Talk
from dagd.store import catalog, reads, versions
from dagd.store.database import Database
from tests import factories as make

WIDE = """
from dagd import DAG
from dagd_operators.empty import EmptyOperator

with DAG("wide", schedule=None):
    EmptyOperator(task_id="narrow", pool="p")
    EmptyOperator(task_id="a", pool={pool!r}, pool_slots={slots})
"""


class Rig:
    """One processor over a folder of the test."""

    def __init__(self, url: str, home: Path) -> None:
        environment = {"DAGD_HOME": str(home), "DAGD_DATABASE_URL": url, "DAGD_DAGS_FOLDER": str(home / "dags")}
        self.folder = home / "dags"
        self.folder.mkdir()
        self.settings = load_settings(environment, home)
        self.settings.run_folder.mkdir()
        self.database: Database = make.opened(url)
        self.processor = self.start()

    def start(self) -> Processor:
        return Processor(self.settings, self.database, Talk(None))

    def restart(self) -> None:
        self.processor.close()
        self.processor = self.start()
        self.processor.load()

    def put(self, pool: str, slots: int) -> None:
        (self.folder / "wide.py").write_text(WIDE.format(pool=pool, slots=slots))

    def set_pool(self, name: str, slots: int) -> None:
        with self.database.write() as connection:
            catalog.set_pool(connection, name, slots, None, "me")

    def sweep(self) -> tuple[int | None, list[tuple[str, str]]]:
        """The DAG's version after a sweep, and (code, message) of the errors."""
        self.processor.poll()
        with self.database.read() as connection:
            rows = reads.import_errors(connection)
            return versions.number_of(connection, "wide"), [(row.code, row.error) for row in rows]

    def close(self) -> None:
        self.processor.close()
        self.database.close()


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(database_url, tmp_path)
    yield rig
    rig.close()


def test_more_slots_than_the_pool_has_is_an_error_until_the_pool_has_them(rig: Rig) -> None:
    rig.set_pool("p", 2)
    rig.put("p", 3)
    version, errors = rig.sweep()
    assert version is None
    assert [code for code, _ in errors] == [PoolTooSmall.code]
    assert "'a' asks for 3 slots of pool 'p', which has 2" in errors[0][1]
    rig.set_pool("p", 3)
    assert rig.sweep() == (1, [])


def test_a_pool_that_shrinks_later_breaks_no_file_but_an_edit_is_refused(rig: Rig) -> None:
    rig.set_pool("p", 3)
    rig.put("p", 3)
    assert rig.sweep() == (1, [])
    rig.set_pool("p", 2)
    rig.restart()
    assert rig.sweep() == (1, [])
    rig.put("p", 4)
    version, errors = rig.sweep()
    assert version == 1  # the last good version runs on
    assert [code for code, _ in errors] == [PoolTooSmall.code]


def test_the_default_pool_counts_and_a_missing_or_closed_pool_is_waited_for(rig: Rig) -> None:
    rig.put("default_pool", 129)
    assert [code for code, _ in rig.sweep()[1]] == [PoolTooSmall.code]
    rig.put("nowhere", 129)
    assert rig.sweep() == (1, [])
    rig.set_pool("closed", 0)
    rig.put("closed", 1)
    assert rig.sweep() == (2, [])
