"""Memory is a pure function of what is stored: after each of many random turns the rebuilt one equals it."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from dagd.model.times import SECOND
from dagd.store import catalog, dialects
from tests.engine_rig import Rig, Wound, check_rebuild
from tests.scenarios import POOLS, World, random_dags

SEEDS = int(os.environ.get("DAGD_TEST_SEEDS", "40"))
MOVES = 30


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_memory_rebuilt_from_rows_equals_memory(
    first: int, tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(first, min(first + 10, SEEDS)):
        dice, clock, home = random.Random(seed), Wound(), tmp_path / str(seed)
        home.mkdir()
        shutil.copyfile(sqlite_template, home / "dagd.db")
        with monkeypatch.context() as patched:
            patched.setattr(dialects, "clock", lambda _connection, clock=clock: clock.at)
            specs = random_dags(dice)
            rig = Rig(home, f"sqlite:///{home / 'dagd.db'}", *specs, clock=clock)
            try:
                live_through(rig, World(rig, dice, specs), seed)
            finally:
                rig.close()


def live_through(rig: Rig, world: World, seed: int) -> None:
    with rig.database.write() as connection:
        for name, slots in POOLS.items():
            catalog.set_pool(connection, name, slots, None, "ann")
    rig.trigger()
    rig.pass_time()
    for move in range(MOVES):
        act = world.act()
        rig.clock.at += SECOND
        rig.settle()
        try:
            check_rebuild(rig)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, move {move} ({act}): {error}") from error
