"""Every command that changes something writes its audit row in the transaction of the change: no row, no change."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dagd.cli.main import TREE, Table
from dagd.store.schema import metadata
from tests.integration.cli_kit import World, make_world

MUTATING: dict[str, list[str]] = {
    "trigger": ["sales"],
    "dags pause": ["sales"],
    "dags unpause": ["sales"],
    "dags delete": ["marts", "--yes"],
    "dags reparse": ["sales"],
    "runs cancel": ["sales/run3", "--yes"],
    "runs clear": ["sales/run1", "--yes"],
    "runs mark": ["sales/run1", "--state", "failed", "--yes"],
    "runs delete": ["sales/run1", "--yes"],
    "tasks clear": ["sales/run1/load", "--yes"],
    "tasks mark": ["sales/run1/load", "--state", "failed", "--yes"],
    "tasks kill": ["sales/run3/extract", "--yes"],
    "deadlines ack": ["sales/run2"],
    "backfill create": ["sales", "--from", "2026-09-01", "--to", "2026-09-03"],
    "backfill pause": ["b-1"],
    "backfill resume": ["b-1"],
    "backfill cancel": ["b-1", "--yes"],
    "pools set": ["etl", "5"],
    "pools delete": ["etl", "--yes"],
    "variables set": ["k", "v"],
    "variables delete": ["old", "--yes"],
    "variables import": ["variables.json"],
    "connections set": ["c", "--uri", "http://u:p@h"],
    "connections get": ["old", "--reveal"],
    "connections delete": ["old", "--yes"],
    "connections import": ["connections.json"],
    "connections export": ["--reveal"],
    "connections rotate-key": [],
    "db clean": ["--before", "0s", "--yes"],
}
# They change no row, or rows that are no operator's business.
OTHERS = {
    "up", "scheduler", "processor", "agent", "init", "status", "health", "doctor", "version", "completion", "logs",
    "why", "metrics", "dags list", "dags show", "dags graph", "dags next", "dags test", "dags check", "dags errors",
    "dags source",
    "dags versions", "dags diff", "runs list", "runs show", "runs watch", "tasks list", "tasks show", "tasks tries",
    "tasks render", "tasks test", "assets list", "assets show", "assets events", "assets deps", "deadlines list",
    "pools list", "schedules preview", "variables list", "variables get", "variables export", "connections list",
    "db migrate", "db current", "db check", "db backup", "db stats", "config show", "config check", "config get",
    "audit list", "backfill list", "backfill show", "backfill watch",
}  # fmt: skip


def leaves(table: Table, before: str = "") -> set[str]:
    """Every command by its words."""
    found: set[str] = set()
    for name, (_, about) in table.items():
        found |= leaves(about, f"{before}{name} ") if isinstance(about, dict) else {before + name}
    return found


def test_every_command_is_known_to_change_something_or_not() -> None:
    assert leaves(TREE) == {*MUTATING, *OTHERS}


@pytest.fixture
def world(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Filled, without a living scheduler, with one of everything that can be deleted."""
    made = make_world(sqlite_url, tmp_path, monkeypatch)
    with made.write() as connection:
        made.silence(connection)
    (tmp_path / "variables.json").write_text('{"a": "1"}')
    (tmp_path / "connections.json").write_text('{"a": "http://h"}')
    for words in (["pools", "set", "etl", "9"], ["variables", "set", "old", "x"],
                  ["connections", "set", "old", "--uri", "http://u:p@h"]):  # fmt: skip
        assert made.run(*words).exit_code == 0
    return made


def everything(path: str) -> dict[str, list[Any]]:
    """Every row of every table."""
    with sqlite3.connect(path) as connection:
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in metadata.tables}


def run_names(path: str) -> dict[str, str]:
    """`runN` of the table above -> the run's name."""
    with sqlite3.connect(path) as connection:
        return {
            f"sales/run{number}": f"sales/{name}"
            for number, name in connection.execute("SELECT id, run_id FROM dag_run")
        }


@pytest.mark.parametrize("verb", MUTATING)
def test_a_change_without_its_audit_row_does_not_happen(world: World, verb: str, tmp_path: Path) -> None:
    path = world.url.removeprefix("sqlite:///")
    names = run_names(path)
    words = [*verb.split()]
    for word in MUTATING[verb]:
        short = next((one for one in names if word == one or word.startswith(f"{one}/")), None)
        words.append(word if short is None else word.replace(short, names[short], 1))
    if verb in {"backfill pause", "backfill resume", "backfill cancel"}:
        assert world.run("backfill", "create", *MUTATING["backfill create"]).exit_code == 0
    if verb == "dags unpause":
        assert world.run("dags", "pause", "sales").exit_code == 0
    if verb == "dags delete":
        with world.write() as connection:
            world.end_all(connection)
    if verb == "dags reparse":
        (tmp_path / "dags" / "sales.py").write_text("")
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no audit today'); END"
        )
    before = everything(path)
    refused = world.run(*words)
    assert refused.exit_code != 0, refused.output
    assert everything(path) == before
    assert "http://u:p@h" not in refused.output
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER refuse")
    done = world.run(*words)
    assert done.exit_code == 0, done.output
    after = everything(path)
    assert len(after["audit"]) > len(before["audit"])
