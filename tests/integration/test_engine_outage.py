"""A database that goes away: the loop rests, and works again only with all of its memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from dagd.store import shards
from tests.engine_rig import Rig, check_rebuild
from tests.factories import spec, task


def test_memory_is_whole_before_work_goes_on_even_when_it_could_not_be_filled_at_first(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that failed left an empty memory, which the next step took for all there is."""
    rig = Rig(tmp_path, sqlite_url, spec("sales", task("a"), task("b", "a")))
    rig.trigger()
    rig.pass_time()
    token = rig.agent.token("a")
    begin, away = type(rig.database).read, [True]

    def read(database: object) -> object:
        if away[0]:
            raise OperationalError("BEGIN", None, Exception("server closed the connection"))
        return begin(database)  # type: ignore[arg-type]

    monkeypatch.setattr(type(rig.database), "read", read)
    rig.clock.at += 1_000_001
    rig.ask("cancel", 1)
    assert [rig.loop.take_step() for _ in range(3)] == [0.1, 0.2, 0.4]
    away[0] = False
    assert rig.loop.take_step() == 0.0
    assert token in rig.scheduler.state.tokens
    rig.pass_time()
    assert rig.agent.stopping == {token: "cancelled"}
    check_rebuild(rig)
    rig.close()


def test_s9_a_scheduler_that_is_declared_dead_while_it_joins_joins_again(tmp_path: Path, sqlite_url: str) -> None:
    """Stopped for longer than its lease between two transactions, it ended with a traceback."""
    rig = Rig(tmp_path, sqlite_url, spec("sales", task("a")))
    membership, refresh = rig.scheduler.membership, rig.scheduler.membership.refresh
    deaths = [1]

    def slow_refresh() -> tuple[set[int], set[int], bool]:
        if deaths[0]:
            deaths[0] -= 1
            with rig.database.write() as connection:
                shards.resign(connection, membership.incarnation)
        return refresh()

    membership.refresh = slow_refresh  # type: ignore[method-assign]
    with rig.database.write() as connection:
        shards.resign(connection, membership.incarnation)
    rig.trigger()
    rig.clock.at += 1_000_001
    assert rig.loop.take_step() == 0.1
    for _ in range(3):
        rig.clock.at += 1_000_001
        rig.loop.take_step()
    rig.pass_time()
    assert rig.agent.live
    rig.close()
