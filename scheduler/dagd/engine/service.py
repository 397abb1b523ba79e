"""The scheduler process: the composition root, and what its memory is at any moment."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

from dagd.decide.core import Inputs, decide
from dagd.decide.pins import is_behind
from dagd.decide.state import State
from dagd.decide.stops import WITHOUT_PROCESS
from dagd.engine import loader, waits
from dagd.engine.callbacks import Callbacks
from dagd.engine.clock import Clock
from dagd.engine.committer import Committer
from dagd.engine.doorbell import Doorbell, ring_all
from dagd.engine.launcher import Launcher
from dagd.engine.loader import Graphs
from dagd.engine.membership import FileLock, Membership
from dagd.engine.sweeper import Sweeper
from dagd.engine.values import Values
from dagd.executors.local import LocalExecutor
from dagd.model.errors import Doubt, Fenced, InvalidSchedule
from dagd.model.plans import Launch, Plan, Start
from dagd.model.settings import Settings
from dagd.observe.logs import ids
from dagd.observe.metrics import SchedulerMetrics
from dagd.observe.talk import Talk, duration_text
from dagd.store import dialects, facts
from dagd.store.database import Database, DBAPIError

LOG = logging.getLogger("dagd.scheduler")
CARRY_US = 100_000
TROUBLE_US = 60_000_000
# What a turn may meet that is no loss of the database: a row that is not as memory thought, a timetable of another
# package, or a mistake of ours.
TROUBLE = (Doubt, DBAPIError, LookupError, ValueError, TypeError, AssertionError, InvalidSchedule)

# Requests that change rows under the counters: each takes a turn of its own.
APART = frozenset({"clear", "mark_tasks"})


def one_by_one(inputs: Inputs) -> list[Inputs]:
    """The inputs in turns: all that may go together first, then each request that may not."""
    apart = [request for request in inputs.commands if request.kind in APART]
    inputs.commands = [request for request in inputs.commands if request.kind not in APART]
    return [inputs, *(Inputs(commands=[request]) for request in apart)]


class Scheduler:
    """One scheduler: turns inputs into committed plans and acts on them. `loop.py` says when."""

    def __init__(
        self, settings: Settings, database: Database, connect_agent: Callable[[], socket.socket], release: str,
        talk: Talk,
    ) -> None:  # fmt: skip
        self.settings, self.database, self.talk = settings, database, talk
        self.clock = Clock()
        self.graphs = Graphs()
        self.membership = Membership(database, settings)
        self.values = Values(settings.xcom_folder)
        self.launcher = Launcher(database, settings, self.values)
        self.sweeper = Sweeper(database, self.graphs)
        self._connect, self._release = connect_agent, release
        self.state = State()
        self.executor = LocalExecutor(connect_agent, 0, release)
        self.committer = Committer(database, self.clock, 0)
        self.bell: Doorbell | None = None
        self.lock: FileLock | None = None
        self.pending = Inputs()
        self.seed = secrets.randbits(32)
        self.callbacks = Callbacks(database, self.graphs, self.launcher)
        self.failures = self.failed_at = 0
        self.metrics = SchedulerMetrics()
        self.carried: list[Start] = []
        self.carried_since = 0

    def start(self) -> None:
        """Take the lock, an incarnation and shards; fill memory; reach the agent."""
        if self.database.path is not None:
            self.lock = FileLock(Path(self.database.path))
            self.lock.take()
        self.settings.run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.bell = Doorbell(self.settings.run_folder, f"{os.getpid()}")
        self.join()

    def join(self) -> None:
        """A new incarnation with memory from the database."""
        self.metrics.fences_lost += self.membership.incarnation != 0
        self.membership.join()
        self.committer.close()
        self.committer = Committer(self.database, self.clock, self.membership.incarnation)
        self.executor.close()
        self.executor = LocalExecutor(self._connect, self.membership.incarnation, self._release)
        self.rebuild()
        LOG.info("incarnation %s owns %s shards", self.membership.incarnation, len(self.membership.shards))

    def rebuild(self, only: int | None = None) -> None:
        """Drop all memory and fill it from the database; live tries are asked for again."""
        prefix = f"{self.membership.incarnation:x}.{secrets.token_hex(3)}"
        self.state = State(token_prefix=prefix, max_map_length=self.settings["core.max_map_length"])
        self.metrics.rebuilds += 1
        self.state.id_seq = secrets.randbits(16)
        self.state.capacity = self.executor.capacity()
        self.pending, self.carried = Inputs(), []
        self.sweeper.start_afresh()
        with self.database.read() as connection:
            asked_at = self.clock.begin_asking()
            self.clock.follow(dialects.clock(connection), asked_at)
            shards = self.membership.shards
            changes = loader.load_dags(connection, self.graphs, self.state, shards, only)
            self.pending.dag_changes += changes
            self.sweeper.sweep_deliveries(connection, self.state, shards, self.pending)
        self.pending.rebuilt += [run for run in self.state.runs.values() if run.tasks]
        if only is None:
            # Asked for when the live tries are counted: what they use must never be given to another.
            for name, slots, quota in self.membership.pool_shares(self.state):
                self._set_pool(name, slots, quota)
        self.adopt_all()

    def _set_pool(self, name: str, slots: int, quota: int) -> None:
        self.pending.pools.append((name, slots, quota))

    def share_pools(self) -> None:
        """Agree with the other schedulers on each pool's share."""
        for name, slots, quota in self.membership.pool_shares(self.state):
            known = self.state.pools.get(name)
            if known is None or (known.slots, known.quota) != (slots, quota):
                self._set_pool(name, slots, quota)

    def adopt_all(self) -> None:
        """Ask the agent what became of every live try, and repeat the stops that are due."""
        self.executor.open()
        self.callbacks.forget()
        live = [token for token, place in self.state.tokens.items() if not self._is_deferred(place)]
        live += list(self.state.superseded)
        if live:
            self.executor.adopt(live)
        for token, (run_id, i, pos) in self.state.tokens.items():
            task = self.state.runs[run_id].tasks[i]
            reason = task.instances[pos].stop_reason
            if reason is not None:
                self.executor.cancel([token], task.spec.cancel_grace_us, reason)
        for token, (_, _, reason) in self.state.superseded.items():
            self.executor.cancel([token], 10_000_000, reason)
        waits.hand_over_all(self.executor, self.state)
        self.executor.flush()

    def _is_deferred(self, place: tuple[int, int, int]) -> bool:
        run_id, i, pos = place
        return self.state.runs[run_id].tasks[i].states[pos] in WITHOUT_PROCESS

    def turn(self, inputs: Inputs) -> bool:
        """Decide and commit one turn. False when memory was dropped and the turn is to be taken again."""
        begun = time.perf_counter()
        self.seed += 1
        now = self.clock.now()
        try:
            plan = decide(self.state, inputs, now, self.seed)
            plan.starts[:0] = self.carried
            commits = plan.needs_commit() or (plan.starts and self.carried and now - self.carried_since >= CARRY_US)
            if commits:
                self.committer.submit(plan, self._lag())
        except Fenced as error:
            LOG.error("%s", error)
            self.join()
            return False
        except TROUBLE as error:
            if isinstance(error, DBAPIError) and dialects.is_disconnect(error):
                raise
            LOG.warning(
                "a turn met the unexpected, memory is rebuilt", exc_info=error, extra=ids(turn=self.metrics.turns)
            )
            self.recover(inputs, now)
            return False
        if commits:
            self.carried = []
        else:
            self.carry(plan.starts, now)
        self.act(plan)
        self.metrics.turned(begun, inputs, plan, committed=bool(commits))
        return True

    def recover(self, inputs: Inputs, now: int) -> None:
        """Rebuild; when trouble comes a third time, each DAG is decided alone and what fails is set aside.

        A turn that goes well in between proves nothing: a result that makes trouble is told again a moment later.
        """
        self.failures = 1 if now - self.failed_at > TROUBLE_US else self.failures + 1
        self.failed_at = now
        try:
            if self.failures > 2:
                self.set_aside(inputs)
                self.failures = 0
            self.rebuild()
            # What was written after all is not asked for again: its results are forgotten now.
            self._forget_strays([result["token"] for result in inputs.results])
        except Fenced as error:
            LOG.error("%s", error)
            self.join()

    def set_aside(self, inputs: Inputs) -> None:
        """Decide one DAG at a time; a DAG whose commit fails alone, and does so twice, is held with its error. Once may
        be chance: somebody paused it in that moment.

        Nothing starts meanwhile: the tries of other DAGs, which use the same pools, are not in memory.
        """
        for dag_id in sorted(self.state.dags):
            try:
                self._decide_alone(inputs, dag_id)
                continue
            except TROUBLE as error:
                if isinstance(error, DBAPIError) and dialects.is_disconnect(error):
                    raise
                LOG.warning("DAG %s fails alone: %s", dag_id, error)
            try:
                self._decide_alone(inputs, dag_id)
            except TROUBLE as error:
                if isinstance(error, DBAPIError) and dialects.is_disconnect(error):
                    raise
                name = self.state.dags[dag_id].name if dag_id in self.state.dags else dag_id
                LOG.error("a DAG is set aside: %s", error, extra=ids(dag=name))
                loader.hold(self.database, dag_id, str(error))

    def _decide_alone(self, inputs: Inputs, dag_id: int) -> None:
        self.rebuild(only=dag_id)
        own, self.pending = self._part_of(inputs, dag_id), Inputs()
        self.state.capacity = 0
        repins = [Inputs(repins=[dag_id])] if dag_id in inputs.repins else []
        for part in (*one_by_one(own), *repins):
            plan = decide(self.state, part, self.clock.now(), self.seed)
            if plan.needs_commit():
                self.committer.submit(plan)
            self.act(plan)

    def _part_of(self, inputs: Inputs, dag_id: int) -> Inputs:
        """What is pending for the one DAG in memory, and what of a failed turn's inputs is its."""
        own, state = self.pending, self.state
        own.results = [
            one for one in inputs.results if one["token"] in state.tokens or one["token"] in state.superseded
        ]
        # A commit that was reported as failed may have been carried out: what it did is not to be done again.
        with self.database.read() as connection:
            open_ids = {row.id for row in facts.new_commands(connection, [state.dags[dag_id].shard])}
        own.commands = [one for one in inputs.commands if one.dag == dag_id and one.id in open_ids]
        own.arrivals = [run for run in inputs.arrivals if run.dag == dag_id and run.id not in state.runs]
        return own

    def carry(self, starts: list[Start], now: int) -> None:
        """Bare `started` news rides with the next commit, or makes its own after a moment."""
        if not self.carried:
            self.carried_since = now
        self.carried = starts

    @property
    def has_plenty_out(self) -> bool:
        """Whether the agent will have more than enough to do for some turns."""
        return self.state.outstanding > 2 * self.state.capacity

    def _lag(self) -> int:
        due = self.state.next_timer_at()
        return 0 if due is None else max(0, self.clock.now() - due)

    def act(self, plan: Plan) -> None:
        """After the commit: launch, stop, acknowledge, and tell others."""
        self.values.remember(plan)
        for run_id in plan.reloads:
            self._reload(run_id)
        self.pending.results += self.launcher.launch(self.state, self.executor, plan.launches)
        for stop in plan.stops:
            self.executor.cancel([stop.token], stop.grace_us, stop.reason)
        waits.hand_over(self.executor, plan)
        if plan.acks:
            self.executor.acknowledge(plan.acks)
        if plan.strays:
            self._forget_strays(plan.strays)
        for move in plan.run_moves:
            if move.run not in self.state.runs:
                self.launcher.forget(move.run)
        for dag_name, run_name, state, took in plan.news:
            self.talk.say(state, f"{dag_name} {run_name}   {state} in {duration_text(took)}")
        if any(row.topic == "callback" for row in plan.outbox):
            self.callbacks.is_due = True
        if self.callbacks.is_due and self.executor.is_connected:
            self.callbacks.launch(self.state, self.executor)
        if plan.asset_events or plan.subscriptions:
            self._after_events()
        self.executor.flush()

    def _forget_strays(self, tokens: list[str]) -> None:
        """Results that memory does not know: acknowledged unless their try is live, hence another scheduler's."""
        with self.database.read() as connection:
            live = facts.live_tokens(connection, tokens)
        self.executor.acknowledge([token for token in tokens if token not in live])
        self.executor.flush()

    def _after_events(self) -> None:
        """Deliveries of this commit: mine are taken at once, owners of others are rung."""
        with self.database.read() as connection:
            self.sweeper.sweep_deliveries(connection, self.state, self.membership.shards, self.pending)
        if self.membership.others:
            self.ring_others()

    def _reload(self, run_id: int) -> None:
        run = self.state.runs.get(run_id)
        if run is not None:
            loader.forget_run(self.state, run)
        # An earlier request of this step may have left its own picture of the run, which is not true any more.
        self.pending.rebuilt = [one for one in self.pending.rebuilt if one.id != run_id]
        with self.database.read() as connection:
            self.pending.rebuilt += loader.load_run(connection, self.graphs, self.state, run_id)

    def relaunch(self, tokens: list[str], inputs: Inputs) -> None:
        """Tries that the agent never saw start again with the same token; one that was to be stopped ends so."""
        again: list[Launch] = []
        for token in tokens:
            place = self.state.tokens.get(token)
            if place is None:
                continue
            run_id, i, pos = place
            run = self.state.runs[run_id]
            task = run.tasks[i]
            instance = task.instances[pos]
            if instance.stop_reason is not None:
                now = self.clock.now()
                inputs.results.append({"token": token, "outcome": "cancel", "reason": "not started", "ended_at": now})
                continue
            again.append(
                Launch(
                    (run_id, task.no, task.map_index(pos)), i, instance.try_no, instance.leg, token,
                    instance.leg_state, instance.first_started_at, self.clock.now(),
                )
            )  # fmt: skip
        inputs.results += self.launcher.launch(self.state, self.executor, again)

    def dags_with_runs_behind(self, dag_ids: list[int]) -> list[int]:
        """Those DAGs of which a run is to move to a newer version."""
        dags = [self.state.dags[dag_id] for dag_id in dag_ids if dag_id in self.state.dags]
        return [dag.id for dag in dags if any(is_behind(dag, self.state.runs[run]) for run in dag.order)]

    def ring_others(self) -> None:
        """Tell the other schedulers of this home to look."""
        ring_all(self.settings.run_folder, but=str(os.getpid()))

    def stop(self) -> None:
        """A clean stop: shards are free, tries go on."""
        try:
            self.membership.resign()
            self.ring_others()
        except (Fenced, DBAPIError) as error:
            LOG.warning("could not resign: %s", error)
        self.executor.close()
        self.committer.close()
        self.sweeper.close()
        if self.bell is not None:
            self.bell.close()
