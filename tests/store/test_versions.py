"""What the processor writes: versions, tasks' numbers, sources, missing files, import errors."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from sqlalchemy import Connection, select

from dagd.model.specs import content_hash
from dagd.store import facts, reads, versions
from dagd.store.schema import dag, source
from dagd.store.versions import FileError
from tests import factories as make
from tests.factories import NOW

SOURCES = {"/dags/sales.py": "one"}


def store(connection: Connection, *tasks: Any, sources: dict[str, str] | None = None, **more: Any) -> tuple[int, bool]:
    return versions.store_spec(connection, make.spec("sales", *tasks, **more), sources or SOURCES, NOW)


def row_of(connection: Connection) -> Any:
    return versions.known_dags(connection)["sales"]


def test_a_dag_gets_its_row_and_its_shard_at_first_sight(connection: Connection) -> None:
    assert store(connection, is_paused_upon_creation=True) == (1, True)
    row = row_of(connection)
    assert row.shard == zlib.crc32(b"sales") % 64
    assert (row.first_seen_at, row.file, row.paused, row.missing_since, row.held) == (NOW, "sales.py", True, None, None)
    assert versions.number_of(connection, "sales") == 1
    assert versions.number_of(connection, "other") is None


def test_the_same_content_is_the_same_version(connection: Connection) -> None:
    assert [store(connection), store(connection)] == [(1, True), (1, False)]
    assert len(reads.versions(connection, row_of(connection).id)) == 1


def test_another_spec_or_another_source_is_another_version(connection: Connection) -> None:
    assert store(connection) == (1, True)
    assert store(connection, make.task("load", retries=1)) == (2, True)
    assert store(connection, make.task("load", retries=1), sources={"/dags/sales.py": "two"}) == (3, True)
    assert store(connection, make.task("load", retries=1), sources={"/dags/moved.py": "two"}) == (4, True)
    assert versions.number_of(connection, "sales") == 4
    shown = reads.versions(connection, row_of(connection).id)
    assert [row.number for row in shown] == [4, 3, 2, 1]


def test_an_old_content_that_comes_back_is_its_old_version(connection: Connection) -> None:
    store(connection)
    first = row_of(connection).current_version
    store(connection, make.task("other"))
    assert store(connection) == (1, False)
    row = row_of(connection)
    assert row.current_version == first
    assert versions.number_of(connection, "sales") == 1
    shown = reads.version(connection, row.id, None, row.current_version)
    assert shown is not None
    assert reads.spec_of(shown)["tasks"][0]["task_id"] == "load"
    other = reads.version(connection, row.id, 2, None)
    assert other is not None
    assert other.number == 2
    assert store(connection, make.task("third")) == (3, True)


def test_pausing_is_not_the_processors_business(connection: Connection) -> None:
    store(connection)
    assert store(connection, make.task("x"), is_paused_upon_creation=True) == (2, True)
    assert not row_of(connection).paused


def test_a_task_keeps_its_number_for_ever(connection: Connection) -> None:
    store(connection, make.task("a"), make.task("b"))
    store(connection, make.task("c"))
    store(connection, make.task("d"), make.task("b"))
    number = row_of(connection).id
    assert facts.task_numbers(connection, number) == {"a": 1, "b": 2, "c": 3, "d": 4}
    other, _ = make.store_dag(connection, make.spec("other", make.task("b")))
    assert facts.task_numbers(connection, other) == {"b": 1}


def test_sources_are_stored_by_content_and_once(connection: Connection) -> None:
    store(connection, sources={"/dags/sales.py": "same", "/dags/lib.py": "same", "/dags/x.py": "π"})
    version = facts.version(connection, row_of(connection).current_version)
    assert version is not None
    assert json.loads(version.sources) == {
        "/dags/sales.py": content_hash("same"), "/dags/lib.py": content_hash("same"), "/dags/x.py": content_hash("π"),
    }  # fmt: skip
    assert sorted(connection.execute(select(source.c.body)).scalars()) == ["same", "π"]
    assert reads.source_body(connection, content_hash("π")) == "π"
    assert reads.source_body(connection, "none") is None


def test_a_file_that_moved_keeps_its_dag(connection: Connection) -> None:
    store(connection)
    assert store(connection, file="new/sales.py") == (2, True)
    assert row_of(connection).file == "new/sales.py"


def test_a_missing_dag_is_marked_once_and_found_again(connection: Connection) -> None:
    store(connection)
    versions.mark_missing(connection, ["sales", "nobody"], NOW + 1)
    versions.mark_missing(connection, ["sales"], NOW + 2)
    versions.mark_missing(connection, [], NOW + 3)
    assert row_of(connection).missing_since == NOW + 1
    again = make.spec("sales")
    assert versions.store_spec(connection, again, SOURCES, NOW + 5) == (1, False)
    row = row_of(connection)
    assert (row.missing_since, row.found_again_at, row.first_seen_at) == (None, NOW + 5, NOW)
    versions.store_spec(connection, again, SOURCES, NOW + 6)
    assert row_of(connection).found_again_at == NOW + 5


def error(line: int | None = 3, text: str = "boom") -> FileError:
    return FileError("sales.py", line, "DAGD-110", text, "Traceback")


@pytest.mark.parametrize("other", [error(4), error(None), error(3, "bang")])
def test_the_same_error_keeps_its_beginning_and_another_begins_anew(connection: Connection, other: FileError) -> None:
    assert versions.put_error(connection, error(), NOW, 1)
    assert not versions.put_error(connection, error(), NOW + 1, 1)
    assert [(row.since, row.last_good_version) for row in reads.import_errors(connection)] == [(NOW, 1)]
    assert versions.put_error(connection, other, NOW + 2, 2)
    found = versions.known_errors(connection)["sales.py"]
    assert (found.since, found.line, found.error, found.last_good_version) == (NOW + 2, other.line, other.error, 2)


def test_errors_are_cleared_by_file(connection: Connection) -> None:
    for name in ("a.py", "b.py"):
        versions.put_error(connection, FileError(name, None, "DAGD-110", "x", None), NOW, None)
    versions.clear_errors(connection, [])
    versions.clear_errors(connection, ["a.py", "z.py"])
    assert list(versions.known_errors(connection)) == ["b.py"]


def test_what_lists_show_of_dags(connection: Connection) -> None:
    store(connection)
    make.store_dag(connection, make.spec("archive"))
    assert reads.dag_names(connection) == ["archive", "sales"]
    assert {row.name for row in reads.dag_rows(connection).values()} == {"archive", "sales"}
    assert set(connection.execute(select(dag.c.id)).scalars()) == set(reads.dag_rows(connection))
