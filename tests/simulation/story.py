"""One seed from its beginning to the end of all runs, and what the checker says of it."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from dagd.model.settings import Settings
from dagd.model.states import BackfillState
from dagd.model.times import SECOND
from dagd.store.schema import backfill
from tests.engine_rig import Rig, check_rebuild, settings_of
from tests.history.checker import check
from tests.history.facts import Facts, Violation
from tests.history.rules_backfills import l1_every_backfill_ends
from tests.scenarios import World, random_dags
from tests.simulation.faults import Faults
from tests.simulation.system import System

MOVES = 30
IDLE_ROUNDS = 35  # so long nothing happens before a backfill counts as stuck: longer than any delay of a try
SLACK_US = 10_000  # the database's clock has milliseconds, a scheduler follows it with a slack of two
SKEW_US = 20 * SECOND


@dataclass
class Told:
    """What a story came to."""

    seed: int
    violations: list[Violation]
    faults: list[tuple[int, str]]
    digest: str
    runs: int
    commits: int


@contextmanager
def fixed_chance(seed: int) -> Iterator[Settings]:
    """A home for a story, and product code that draws its lots from the seed."""
    entropy = random.Random(f"entropy {seed}")
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="story")))
        stack.enter_context(mock.patch("secrets.randbits", entropy.getrandbits))
        word = mock.patch("secrets.token_hex", lambda size: f"{entropy.getrandbits(8 * size):0{2 * size}x}")
        stack.enter_context(word)
        stack.enter_context(mock.patch("random.choices", entropy.choices))
        stack.enter_context(mock.patch("random.getrandbits", entropy.getrandbits))
        settings = settings_of(home, f"sqlite:///{home / 'dagd.db'}")
        settings.run_folder.mkdir(parents=True)
        yield settings


def tell(seed: int, muted: Collection[int] = (), only: tuple[str, int] | None = None, moves: int = MOVES) -> Told:
    """Tell the story of a seed: with the faults that its dice choose, but for the `muted`; or with `only` one."""
    dice = random.Random(f"story {seed}")
    faults = Faults(random.Random(0), only=only) if only is not None else Faults.swarm(seed, muted)
    count, is_shared = dice.choice([(1, False), (1, False), (1, True), (2, True), (2, True), (3, True)])
    specs = random_dags(dice, ("sales",) if count == 1 else ("sales", "stock"))
    skew = SKEW_US if dice.random() < 0.3 else 0
    with fixed_chance(seed) as settings:
        system = System(settings, dice, faults, specs, count=count, is_shared=is_shared, skew=skew)
        try:
            found = _live_through(system, World(cast("Rig", system), dice, specs), moves)
            return Told(
                seed, found, faults.told, _digest(system), len(system.runs()), faults.occasions["killed before"]
            )
        finally:
            system.close()


def _live_through(system: System, world: World, moves: int) -> list[Violation]:
    try:
        system.trigger("sales")
        system.pass_time()
        for number in range(moves):
            world.act()
            system.strike()
            system.pass_time(world.dice.choice([0.002, 0.5, 1, 1]), world.dice.choice([1, 2, 3]))
            if number % 3 == 0:
                system.remember()
        system.calm()
        for seconds in (20, 2, 2):
            system.pass_time(seconds)
        compare_memories(system)  # with tries that run, and charges that they have cost
        found = _end_backfills(system, world)
        while world.comes_to_an_end(120) and not _is_idle(system):
            pass
        compare_memories(system)
        return found + judge(system)
    except Exception as error:  # whatever it is, it is a finding
        return [Violation("crash", "a scheduler", repr(error))]


def _end_backfills(system: System, world: World) -> list[Violation]:
    """Nobody holds a backfill up any more, and all tries end well: each goes on until it is over."""
    rows = [row for row in system.rows(backfill) if row.state < BackfillState.DONE]
    if not rows:
        return []
    system.set_paused("sales", False)
    for row in rows:
        system.ask_backfill("resume", row.id)
    last, idle = _backfilled(system), 0
    while idle < IDLE_ROUNDS and any(row.state < BackfillState.DONE for row in system.rows(backfill)):
        for token in sorted(system.agent.live):
            world.end(token, "cancel" if token in system.agent.stopping else "succeed")
        system.pass_time()
        last, before = _backfilled(system), last
        idle = 0 if last != before else idle + 1
    dump = {"at": system.clock.at, "tables": system.memory.rows()}
    return list(l1_every_backfill_ends(Facts([], None, [], dump, [], True, None, 0)))


def _backfilled(system: System) -> tuple[int, int]:
    """How much has happened for backfills: the schedule of another DAG goes on for ever."""
    rows = system.memory.rows("attempt", "dag_run", "backfill")
    runs = {row["id"] for row in rows["dag_run"] if row["backfill_id"] is not None}
    tries = sum(1 for row in rows["attempt"] if row["run_id"] in runs)
    return sum(row["done"] for row in rows["backfill"]), tries


def _is_idle(system: System) -> bool:
    """Whether nothing happens any more: an event of the last second may make a run, and a run that has just begun may
    get its share of a pool a moment later."""
    before = _steps(system)
    for _ in range(3):
        system.pass_time(2)
    return _steps(system) == before and not system.agent.live


def _steps(system: System) -> tuple[int, ...]:
    """How much has happened, heartbeats left out."""
    rows = system.memory.rows("attempt", "dag_run", "backfill")
    done = sum(row["done"] for row in rows["backfill"])
    return len(rows["attempt"]), len(rows["dag_run"]), done, len(system.agent.journal)


def compare_memories(system: System) -> None:
    """What each scheduler knows is what it would know if it were started now."""
    for actor in system.actors:
        rig = SimpleNamespace(scheduler=actor.scheduler, database=actor.database, clock=system.clock)
        check_rebuild(cast("Rig", rig))


def judge(system: System) -> list[Violation]:
    """What the checker says of all that was seen."""
    agent = system.agent
    dump = {"at": system.clock.at, "tables": system.memory.rows(), "live": sorted({*agent.live, *agent.spool})}
    found = check(
        agent.journal, agent.log, system.told, dump, earlier=system.earlier, quiet=True,
        tolerance_us=SLACK_US + abs(agent.skew),
    )  # fmt: skip
    found += [Violation("S3", token, "began while another try of its instance ran") for token in agent.overlaps]
    return found


def _digest(system: System) -> str:
    """Equal for equal stories: what bodies did, what people were told, and all rows but those that name a process."""
    rows: dict[str, Any] = system.memory.rows()
    for row in rows["scheduler"]:
        row |= {"pid": 0, "home": ""}
    text = json.dumps([system.agent.journal, system.told, rows], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
