"""Scheduler incarnations, shards and leases. A shard is taken only from a scheduler whose death is committed."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, or_, select, text, update

from dagd.store import dialects
from dagd.store.database import new_key
from dagd.store.schema import pool, pool_quota, scheduler, shard


def register(connection: Connection, host: str, pid: int, home: str) -> int:
    """A new incarnation, alive; returns its id."""
    now = dialects.clock(connection)
    result = connection.execute(
        insert(scheduler).values(host=host, pid=pid, home=home, started_at=now, heartbeat=now, alive=True, lag_us=0)
    )
    return new_key(result)


def bury(connection: Connection, lease_us: int, me: int, *, alone: bool, proven: list[int]) -> list[int]:
    """Declare dead every other scheduler whose lease has lapsed, and those whose death is `proven`; all others when
    `alone` (the lock beside a SQLite file proves it)."""
    now = dialects.clock(connection)
    statement = update(scheduler).where(scheduler.c.alive.is_(True), scheduler.c.id != me)
    if not alone:
        statement = statement.where(or_(scheduler.c.heartbeat < now - lease_us, scheduler.c.id.in_(proven)))
    return list(connection.execute(statement.values(alive=False).returning(scheduler.c.id)).scalars())


def living(connection: Connection) -> list[tuple[int, str, str]]:
    """(id, host, home) of the living schedulers, by id."""
    rows = connection.execute(
        select(scheduler.c.id, scheduler.c.host, scheduler.c.home)
        .where(scheduler.c.alive.is_(True))
        .order_by(scheduler.c.id)
    )
    return [(number, host, home) for number, host, home in rows]


def owned(connection: Connection, me: int) -> set[int]:
    """The shards that are mine."""
    return set(connection.execute(select(shard.c.id).where(shard.c.owner == me)).scalars())


def claim(connection: Connection, me: int) -> tuple[set[int], bool]:
    """Take orphaned shards up to my fair share and ask for what others hold too many of.

    Returns (shards that are mine now, whether others were asked). Shards are locked in id order.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT id FROM shard ORDER BY id FOR UPDATE"))
    alive = [row[0] for row in living(connection)]
    rows = list(connection.execute(select(shard.c.id, shard.c.owner, shard.c.wanted_by).order_by(shard.c.id)))
    mine = {row.id for row in rows if row.owner == me}
    orphans = [row.id for row in rows if row.owner is None or row.owner not in alive]
    fair = -(-len(rows) // max(1, len(alive)))
    taken = orphans[: max(0, fair - len(mine))]
    if taken:
        connection.execute(update(shard).where(shard.c.id.in_(taken)).values(owner=me, wanted_by=None))
        mine.update(taken)
    missing = len(rows) // max(1, len(alive)) - len(mine)
    asked = _ask(connection, me, rows, alive, missing) if missing > 0 else False
    return mine, asked


def _ask(connection: Connection, me: int, rows: list, alive: list[int], missing: int) -> bool:  # type: ignore[type-arg]
    held: dict[int, list[int]] = {}
    already = sum(1 for row in rows if row.wanted_by == me)
    for row in rows:
        if row.owner in alive and row.owner != me and row.wanted_by is None:
            held.setdefault(row.owner, []).append(row.id)
    share = len(rows) // len(alive)
    wanted: list[int] = []
    for shards_of in held.values():
        wanted += shards_of[share:]
    wanted = wanted[: max(0, missing - already)]
    if wanted:
        connection.execute(update(shard).where(shard.c.id.in_(wanted)).values(wanted_by=me))
    return bool(wanted)


def release_wanted(connection: Connection, me: int) -> set[int]:
    """Hand over what others asked for: my last transaction for these shards. Returns them."""
    return set(
        connection.execute(
            update(shard)
            .where(shard.c.owner == me, shard.c.wanted_by.is_not(None), shard.c.wanted_by != me)
            .values(owner=shard.c.wanted_by, wanted_by=None)
            .returning(shard.c.id)
        ).scalars()
    )


def resign(connection: Connection, me: int) -> None:
    """A clean stop: I am not alive, so my shards may be taken. My shares of pools go with them: my tries live on."""
    connection.execute(update(scheduler).where(scheduler.c.id == me).values(alive=False))


def set_quotas(connection: Connection, me: int, wanted: dict[int, int]) -> dict[int, int]:
    """Set what I may use of each pool (id -> slots wanted, at least what I use); returns what I got.

    The sum of quotas never exceeds a pool's slots, except while a shrunk pool drains. What a dead scheduler had stays
    taken while it owns a shard: its tries may live, and nobody counts them yet.
    """
    got: dict[int, int] = {}
    owners = select(shard.c.owner).where(shard.c.owner.is_not(None))
    dead = select(scheduler.c.id).where(scheduler.c.alive.is_(False), scheduler.c.id.not_in(owners))
    connection.execute(delete(pool_quota).where(pool_quota.c.scheduler_id.in_(dead)))
    for pool_id in sorted(wanted):
        lock = select(pool.c.slots).where(pool.c.id == pool_id)
        slots = connection.execute(lock.with_for_update() if connection.dialect.name != "sqlite" else lock).scalar()
        if slots is None:
            continue
        others = connection.execute(
            select(func.coalesce(func.sum(pool_quota.c.slots), 0)).where(
                pool_quota.c.pool_id == pool_id, pool_quota.c.scheduler_id != me
            )
        ).scalar_one()
        mine = max(0, min(wanted[pool_id], slots - int(others)))
        statement = dialects.upsert(connection, pool_quota, ["pool_id", "scheduler_id"], ["slots"])
        connection.execute(statement, {"pool_id": pool_id, "scheduler_id": me, "slots": mine})
        got[pool_id] = mine
    return got
