"""`dagd assets list | show | events | deps`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from dagd.cli.context import is_sayable, limit_option
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.model.errors import NotFound, did_you_mean
from dagd.model.times import iso
from dagd.store import reads_assets, reads_runs

Row = dict[str, Any]
KINDS = {1: "materialised", 2: "observed", 3: "failed", 4: "invalidated"}
LAST_EVENTS = 5
COLUMNS = [
    Column("key", "asset"), Column("kind", "kind", wide=True), Column("uri", "uri", wide=True),
    Column("producers", "made by"), Column("consumers", "read by"), Column("listeners", "starts"),
    Column("last_event_at", "last event", "instant"), Column("events", "events"), Column("owner", "owner", wide=True),
    Column("group", "group", wide=True), Column("tags", "tags", wide=True),
]  # fmt: skip
EVENTS = [
    Column("ts", "at", "instant"), Column("kind", "kind"), Column("source", "source"), Column("partition", "partition"),
    Column("consumed_by", "started"), Column("event_id", "event", wide=True),
    Column("data_version", "version", wide=True), Column("metadata", "metadata", wide=True),
]  # fmt: skip


def asset_rows(connection: Any, key: str | None = None) -> list[Row]:
    """The JSON of `assets list`."""
    found = reads_assets.assets(connection, key)
    roles: dict[tuple[int, str], list[str]] = {}
    for row in reads_assets.users(connection):
        roles.setdefault((row.asset_id, row.role), []).append(f"{row.dag_name}/{row.task_id}")
    for row in reads_assets.listeners(connection):
        roles.setdefault((row.asset_id, "dag"), []).append(row.dag_name)
    return [
        {
            "key": row.key, "uri": row.uri, "kind": row.kind, "group": row.group_name, "owner": row.owner,
            "tags": json.loads(row.tags or "[]"), "producers": roles.get((row.id, "out"), []),
            "consumers": roles.get((row.id, "in"), []), "listeners": roles.get((row.id, "dag"), []),
            "last_event_at": iso(row.last_ts), "events": row.events,
        }
        for row in found
    ]  # fmt: skip


def find(connection: Any, key: str) -> Any:
    """An asset's row. Raises NotFound with the nearest key."""
    found = reads_assets.assets(connection, key) if is_sayable(key) else []
    if not found:
        known = [row.key for row in reads_assets.assets(connection)]
        raise NotFound(f"there is no asset {key!r}", remedy=did_you_mean(key, known) or "See `dagd assets list`.")
    return found[0]


def event_rows(connection: Any, asset: Any, limit: int | None) -> list[Row]:
    """The JSON of `assets events`."""
    rows = reads_assets.events(connection, asset.id, limit)
    started = reads_assets.consumers(connection, [row.id for row in rows]) if rows else {}
    return [
        {
            "event_id": row.id, "asset": asset.key, "source": reads_runs.source_of(row),
            "kind": KINDS.get(row.kind, str(row.kind)), "partition": row.partition_key or None,
            "data_version": row.data_version, "data_time": iso(row.data_time), "ts": iso(row.ts),
            "metadata": json.loads(row.metadata) if row.metadata else None, "consumed_by": started.get(row.id, []),
        }
        for row in rows
    ]  # fmt: skip


@click.command()
@limit_option
@with_output(watch=True)
def list_assets(out: Output, limit: int | None) -> None:
    """Assets with their producers, readers and last event."""
    with opened() as database, database.read() as connection:
        rows = asset_rows(connection)
    out.rows(rows[:limit], COLUMNS, name="key", empty="no assets")


@click.command()
@click.argument("key")
@with_output(watch=True)
def show_asset(out: Output, key: str) -> None:
    """One asset: who makes it, who reads it, its last events."""
    with opened() as database, database.read() as connection:
        asset = find(connection, key)
        shown = asset_rows(connection, key)[0]
        shown["last_events"] = event_rows(connection, asset, LAST_EVENTS)
    if out.is_machine:
        out.record(shown, name="key")
        return
    out.record(shown, [one._replace(wide=False) for one in COLUMNS])
    if shown["last_events"]:
        out.line()
        out.table(shown["last_events"], EVENTS)


@click.command()
@click.argument("key")
@limit_option
@with_output(watch=True)
def list_events(out: Output, key: str, limit: int | None) -> None:
    """What happened to an asset, the newest first."""
    with opened() as database, database.read() as connection:
        rows = event_rows(connection, find(connection, key), limit)
    out.rows(rows, EVENTS, name="event_id", empty=f"nothing has happened to {key} yet")


@click.command()
@click.argument("key")
@with_output()
def show_deps(out: Output, key: str) -> None:
    """What an asset is made of (upstream) and what is made of it (downstream), through all tasks between."""
    with opened() as database, database.read() as connection:
        find(connection, key)
        rows = {row["key"]: row for row in asset_rows(connection)}
    ups = _neighbours(rows, "producers", "consumers")
    downs = _neighbours(rows, "consumers", "producers")
    shown = {"key": key, "upstream": _reach(key, ups), "downstream": _reach(key, downs)}
    if out.is_machine:
        out.record(shown, name="key")
        return
    for name in ("upstream", "downstream"):
        out.line(out.paint(name, "bold"))
        for one in shown[name]:
            out.line(f"  {one}")


def _neighbours(rows: dict[str, Row], mine: str, theirs: str) -> Callable[[str], list[str]]:
    """From an asset to those that a task of its `mine` has on the other side."""
    by_task: dict[str, list[str]] = {}
    for key, row in rows.items():
        for task in row[theirs]:
            by_task.setdefault(task, []).append(key)
    return lambda key: [other for task in rows[key][mine] for other in by_task.get(task, ())]


def _reach(key: str, neighbours: Callable[[str], list[str]]) -> list[str]:
    found: dict[str, None] = {}
    pending = [key]
    while pending:
        for other in neighbours(pending.pop(0)):
            if other not in found and other != key:
                found[other] = None
                pending.append(other)
    return list(found)
