"""All that a story consists of: schedulers, their agent, their database, people; and how time passes for them."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from sqlalchemy.exc import OperationalError

from dagd.model.errors import Unreachable
from dagd.model.settings import Settings
from dagd.model.specs import DagSpec
from dagd.model.times import SECOND
from dagd.store import backfills, catalog, requests, versions
from dagd.store.schema import dag_run
from tests.engine_rig import ask_for_backfill
from tests.factories import NOW
from tests.history.facts import Record
from tests.scenarios import POOLS
from tests.simulation.actors import Actor, Time
from tests.simulation.agent import WitnessedAgent
from tests.simulation.database import SharedMemory
from tests.simulation.faults import Faults

SNAPSHOT = ("attempt", "dag_run", "pool")
MOST_SCHEDULERS = 3


class System:
    """What `tests.scenarios.World` needs of a rig, over several schedulers."""

    def __init__(
        self, settings: Settings, dice: random.Random, faults: Faults, specs: list[DagSpec], *, count: int,
        is_shared: bool, skew: int = 0,
    ) -> None:  # fmt: skip
        self._settings, self._dice, self.faults = settings, dice, faults
        self.is_shared, self._skew = is_shared, skew
        self.clock = Time(NOW)
        self.memory = SharedMemory(self.clock)
        self.people = self.memory.open(None)
        self.agent = WitnessedAgent(20, self.clock, faults, dice.randint(-skew, skew) // 10)
        self.told: list[Record] = []
        self.earlier: list[dict[str, Any]] = []
        self.ids: dict[str, int] = {}
        self.actors: list[Actor] = []
        self.dead: list[Actor] = []  # their locks are held to the end
        self._number = self._keys = 0
        for spec in specs:
            with self.people.write() as connection:
                versions.store_spec(connection, spec, {f"/dags/{spec.file}": "# source"}, NOW)
                self.ids[spec.dag_id] = versions.known_dags(connection)[spec.dag_id].id
        for name, slots in POOLS.items():
            self.set_pool(name, slots)
        for _ in range(count):
            self.add()

    def close(self) -> None:
        """Everybody goes home."""
        for actor in list(self.actors):
            actor.kill()
        for actor in self.dead:
            actor.scheduler.membership.abandon()
        self.agent.hang_up()
        self.memory.give_back(self.people)
        self.memory.close()

    # --- time passes ----------------------------------------------------------------------------------------------

    def add(self) -> None:
        """One more scheduler process."""
        self._number += 1
        actor = Actor(
            self._number, self._settings, self.memory, self.agent.connect, self.clock, self.faults,
            is_shared=self.is_shared, skew=self._dice.randint(-self._skew, self._skew),
        )  # fmt: skip
        self.actors.append(actor)

    def remove(self, actor: Actor) -> None:
        """It is dead; whether others see that is a matter of luck."""
        self.actors.remove(actor)
        known = {row["id"] for row in self.memory.rows("scheduler")["scheduler"]}
        has_joined = actor.scheduler.membership.incarnation in known  # else its number may be another's
        is_seen = not self.faults.strikes("scheduler killed unseen") or not has_joined
        if not actor.is_dead:
            actor.kill(is_seen=is_seen)
        else:
            actor.leave(is_seen=is_seen)
        if not is_seen:
            self.dead.append(actor)

    def round(self) -> None:
        """Each scheduler takes a step, in any order, and the agent hears what they say."""
        for actor in self._dice.sample(self.actors, len(self.actors)):
            if actor.is_due():
                actor.resume()
            if actor.is_dead:
                self.remove(actor)
            self.agent.deliver()
            if self._dice.random() < 0.8 or self.faults.is_over:
                self.agent.hear()
        if not self.actors and (self.faults.is_over or self._dice.random() < 0.5):
            self.add()

    def pass_time(self, seconds: float = 1.0, rounds: int = 3) -> None:
        """Time passes, and everybody has a few steps."""
        self.clock.at += int(seconds * SECOND)
        for _ in range(rounds):
            self.round()

    def strike(self) -> None:
        """Something happens between two moves."""
        faults, agent = self.faults, self.agent
        self.memory.is_away = faults.strikes("outage")
        if faults.strikes("agent died"):
            agent.note("agent died")
            agent.die(self.clock.at)
        if faults.strikes("connections cut"):
            agent.hang_up()
        if faults.strikes("results told again"):
            agent.repeat(faults.dice.sample(sorted(agent.spool), len(agent.spool)))
        for actor in list(self.actors):
            if faults.strikes("scheduler killed"):
                self.remove(actor)
            elif faults.strikes("scheduler stopped") and not actor.is_paused and not actor.is_dead:
                actor.stop()
        if self.is_shared and len(self.actors) < MOST_SCHEDULERS and faults.strikes("scheduler added"):
            self.add()

    def calm(self) -> None:
        """No more faults: who was paused goes on, and what was lost on the way is asked for again."""
        self.faults.is_over = True
        self.memory.is_away = False
        for actor in self.actors:
            actor.paused_until = min(actor.paused_until, self.clock.at)
        self.agent.hang_up()
        if not self.is_shared:
            for actor in self.actors[1:]:
                self.remove(actor)

    def remember(self) -> None:
        """Keep the rows of now for the checker."""
        self.earlier.append({"at": self.clock.at, "tables": self.memory.rows(*SNAPSHOT)})

    # --- what people do; what they were told is written down -------------------------------------------------------

    def _tell(self, op: str, **more: Any) -> None:
        self.told.append({"op": op, "at": self.clock.at, **more})

    def trigger(self, dag_id: str) -> None:
        """Ask for a run, sometimes under a key that was used before."""
        key = None
        if self._dice.random() < 0.3:
            self._keys += self._dice.random() < 0.7
            key = f"k{self._keys}"
        try:
            with self.people.write() as connection:
                made = requests.trigger_run(connection, dag_id, key=key)
        except (OperationalError, Unreachable):
            return
        self._tell("trigger", dag=dag_id, run=made.run_id, key=key)

    def ask(self, kind: str, run: int, dag_id: str, **payload: Any) -> None:
        """A request that needs a decision."""
        try:
            with self.people.write() as connection:
                number = requests.put_command(connection, kind, self.ids[dag_id], run, payload, subject="x")
        except (OperationalError, Unreachable):
            return
        self._tell(kind, command=number)

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """As `dagd pause` does."""
        try:
            with self.people.write() as connection:
                catalog.set_paused(connection, self.ids[dag_id], dag_id, paused, "ann")
        except (OperationalError, Unreachable):
            return
        self._tell("pause" if paused else "unpause", dag=dag_id)

    def backfill(self, first: int, last: int, dag_id: str = "sales", **more: Any) -> None:
        """A range of past slots."""
        wanted = backfills.Wanted(first, last, self.clock.at, **more)
        try:
            with self.people.write() as connection:
                number = ask_for_backfill(connection, dag_id, wanted)
        except (OperationalError, Unreachable):
            return
        self._tell("backfill", dag=dag_id, backfill=number)

    def ask_backfill(self, verb: str, number: int, dag_id: str = "sales") -> None:
        """Pause, resume or cancel one."""
        try:
            with self.people.write() as connection:
                backfills.ask(connection, f"backfill_{verb}", self.ids[dag_id], dag_id, number, "ann")
        except (OperationalError, Unreachable):
            return
        self._tell(f"backfill_{verb}", backfill=number)

    def set_pool(self, name: str, slots: int) -> None:
        """As `dagd pools set` does."""
        with self.people.write() as connection:
            catalog.set_pool(connection, name, slots, None, "ann")
        self._tell("set_pool", pool=name, slots=slots)

    # --- what is stored -------------------------------------------------------------------------------------------

    def rows(self, table: Any) -> list[Any]:
        """The rows of a table."""
        return [SimpleNamespace(**row) for row in self.memory.rows(table.name)[table.name]]

    def runs(self) -> list[Any]:
        """The rows of runs."""
        return self.rows(dag_run)

    def run_states(self) -> dict[int, int]:
        """The states of runs by id."""
        return {row.id: row.state for row in self.runs()}
