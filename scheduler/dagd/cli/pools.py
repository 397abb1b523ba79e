"""`dagd pools list | set | delete`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli import instances
from dagd.cli.context import confirm, destructive, limit_option, new_id, settings, storable
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.decide.state import DagState, Pool, State
from dagd.engine import loader
from dagd.engine.doorbell import ring_all
from dagd.model.errors import NotFound, Refused, did_you_mean
from dagd.model.states import RunState
from dagd.store import catalog, reads, requests

COLUMNS = [
    Column("name", "pool"), Column("slots", "slots"), Column("used", "used"), Column("queued", "waiting"),
    Column("description", "description"),
]  # fmt: skip
MOST_SLOTS = 2**31 - 1


@click.command()
@limit_option
@with_output(watch=True)
def list_pools(out: Output, limit: int | None) -> None:
    """Pools: `used` counts slots of tries that run or are about to, `queued` task instances that wait for a place."""
    with opened() as database, database.read() as connection:
        rows = pool_rows(connection)
    out.rows(rows[:limit], COLUMNS, name="name")


def pool_rows(connection: Any) -> list[dict[str, Any]]:
    """The JSON of `pools list`, counted over the memory that the scheduler would have."""
    state = State()
    dags = reads.dag_rows(connection)
    rows = [row for row in reads.active_runs(connection) if row.state == RunState.RUNNING and row.dag_id in dags]
    for row in rows:
        one = dags[row.dag_id]
        state.dags.setdefault(one.id, DagState(one.id, one.name, one.shard))
    waiting: dict[str, int] = {}
    for run in loader.load_runs(connection, loader.Graphs(), state, rows):
        for task in run.tasks:
            found = sum(instances.state_word(run, task, pos) == "scheduled" for pos in range(task.size or 0))
            if found:
                waiting[task.spec.pool] = waiting.get(task.spec.pool, 0) + found
    nothing = Pool("", 0, 0)
    shown = [
        {
            "name": pool.name, "slots": pool.slots, "used": state.pools.get(pool.name, nothing).used,
            "queued": waiting.pop(pool.name, 0), "description": pool.description,
        }
        for pool in reads.pools(connection)
    ]  # fmt: skip
    for name, count in sorted(waiting.items()):
        told = "there is no such pool: what waits for it waits until it is made"
        shown.append({"name": name, "slots": 0, "used": 0, "queued": count, "description": told, "missing": True})
    return shown


@click.command()
@click.argument("name")
@click.argument("slots", type=click.IntRange(0, MOST_SLOTS))
@click.option("--description", help="What it is for.")
@with_output()
def set_pool(out: Output, name: str, slots: int, description: str | None) -> None:
    """Make a pool or change its slots, at once. Fewer slots end nothing: what runs drains."""
    known = settings()
    new_id(name, "pool")
    if description is not None:
        storable(description, "the description")
    with opened(known) as database:
        with database.write() as connection:
            created = catalog.set_pool(connection, name, slots, description, requests.user_name())
    ring_all(known.run_folder)
    out.result(
        {"name": name, "slots": slots, "created": created},
        f"{name}: {slots} slots" + (" (new)" if created else ""),
        name="name",
    )


@click.command()
@click.argument("name")
@destructive
@with_output()
def delete_pool(out: Output, name: str, yes: bool, dry_run: bool) -> None:
    """Remove a pool. Tasks that name it wait until there is one again."""
    known = settings()
    if name == catalog.DEFAULT_POOL:
        raise Refused(f"{name} is the pool of tasks that name none; it stays", remedy="Its slots can be changed.")
    with opened(known) as database:
        with database.read() as connection:
            names = [row.name for row in reads.pools(connection)]
        if name not in names:
            raise NotFound(f"there is no pool {name!r}", remedy=did_you_mean(name, names))
        if dry_run:
            out.line(f"{name} would be deleted")
            return
        confirm(f"Delete the pool {name}", yes=yes)
        with database.write() as connection:
            catalog.delete_pool(connection, name, requests.user_name())
    ring_all(known.run_folder)
    out.result({"name": name, "deleted": True}, f"{name}: deleted", name="name")
