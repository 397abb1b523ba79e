"""When the scheduler takes a turn: an agent speaks, the bell rings, a timer falls due, a second has passed."""

from __future__ import annotations

import logging
import os
import select
import selectors
from collections import deque
from typing import Any

from dagd.decide.core import Inputs
from dagd.engine.callbacks import is_callback
from dagd.engine.reader import Reader
from dagd.engine.secrets_hook import open_hook
from dagd.engine.service import CARRY_US, Scheduler, one_by_one
from dagd.model.errors import Fenced, Unreachable
from dagd.model.specs import DagSpec
from dagd.store.database import DBAPIError
from dagd.store.dialects import is_disconnect
from dagd.store.secrets import open_sealer

LOG = logging.getLogger("dagd.loop")
SWEEP_US = 1_000_000
BEAT_US = 2_000_000
MEMBERSHIP_US = 1_000_000
LONGEST_PAUSE_S = 5.0
GATHER_S = 0.002

Frame = dict[str, Any]


class Loop:
    """Drives one Scheduler until told to stop."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._stop_read, self._stop_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._stopping = False
        self._replies: deque[Frame] = deque()
        sealer = open_sealer(scheduler.settings.home, scheduler.settings["secrets.connection_key"])
        hook = open_hook(scheduler.settings)
        self._reader = Reader(scheduler.database, sealer, self._answer, self._place_of, self._spec_of, hook)
        self._swept_at = self._seated_at = 0
        self._pause_s = 0.0
        self._connection_no = 0

    def stop(self) -> None:
        """End the loop after the current turn; safe in a signal handler."""
        self._stopping = True
        os.write(self._stop_write, b".")

    def _answer(self, reply: Frame) -> None:
        self._replies.append(reply)
        os.write(self._stop_write, b".")

    def _place_of(self, token: str) -> tuple[int, int, int] | None:
        state = self.scheduler.state
        place = state.tokens.get(token)
        if place is None:
            return self.scheduler.callbacks.place_of(token)
        task = state.runs[place[0]].tasks[place[1]]
        return place[0], task.no, task.map_index(place[2])

    def _spec_of(self, token: str) -> DagSpec | None:
        place = self.scheduler.state.tokens.get(token)
        run = None if place is None else self.scheduler.state.runs.get(place[0])
        return self.scheduler.callbacks.spec_of(token) if run is None else run.graph.spec

    def run(self) -> None:
        """Take turns until stopped. A database that goes away is waited for; the agent keeps its tries meanwhile."""
        self._reader.start()
        while not self._stopping:
            if self._pause_s:
                self._rest()
            else:
                self._wait()
            if not self._stopping:
                self.take_step()
        self._reader.stop()
        self.scheduler.stop()

    def take_step(self) -> float:
        """One step without the wait. Returns how long to rest before the next: 0, unless the database is away; memory
        is not used again before all of it has been filled anew."""
        try:
            if self._pause_s:
                self._return_to_work()
            self.advance()
            self._pause_s = 0.0
        except (DBAPIError, Unreachable) as error:
            if isinstance(error, DBAPIError) and not is_disconnect(error):
                LOG.exception("a statement failed; memory is rebuilt")
            self._pause_s = min(LONGEST_PAUSE_S, max(0.1, self._pause_s * 2))
            LOG.warning("the database is away, next look in %.1f s: %s", self._pause_s, error)
        except Fenced as error:  # declared dead while it joined: it was stopped for longer than its lease
            LOG.error("%s", error)
            self._pause_s = 0.1
        return self._pause_s

    def _return_to_work(self) -> None:
        try:
            self.scheduler.rebuild()
        except Fenced as error:
            LOG.error("%s", error)
            self.scheduler.join()

    def _rest(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop_read, selectors.EVENT_READ)
            selector.select(self._pause_s)

    def advance(self) -> None:
        """One step without the wait: take what has come in, turn, act."""
        scheduler = self.scheduler
        now = scheduler.clock.now()
        inputs, scheduler.pending = scheduler.pending, Inputs()
        self._listen(inputs)
        self._sweep(inputs, now)
        self._take_turns(inputs)
        if scheduler.sweeper.is_released:
            scheduler.rebuild()  # a DAG that was set aside comes back, with its runs
        self._keep_seat(scheduler.clock.now())
        scheduler.executor.flush()

    def _wait(self) -> None:
        scheduler = self.scheduler
        if scheduler.has_plenty_out:
            # The agent has more than it can run at once: what ends meanwhile shares a commit.
            select.select([self._stop_read], [], [], GATHER_S)
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop_read, selectors.EVENT_READ)
            if scheduler.bell is not None:
                selector.register(scheduler.bell.socket, selectors.EVENT_READ)
            scheduler.executor.watch(selector, None)
            selector.select(self._timeout())
        try:
            os.read(self._stop_read, 4096)
        except BlockingIOError:
            pass

    def _timeout(self) -> float:
        scheduler = self.scheduler
        if self._replies or not scheduler.pending.is_empty():
            return 0.0
        due = [self._swept_at + SWEEP_US]
        timer = scheduler.state.next_timer_at()
        if timer is not None:
            due.append(timer)
        if scheduler.carried:
            due.append(scheduler.carried_since + CARRY_US)
        return scheduler.clock.seconds_until(min(due))

    def _listen(self, inputs: Inputs) -> None:
        executor = self.scheduler.executor
        if executor.open() or executor.connections != self._connection_no:
            self._connection_no = executor.connections
            self.scheduler.adopt_all()
        frames = executor.poll()
        if not executor.is_connected and executor.open():
            self._connection_no = executor.connections
            self.scheduler.adopt_all()
        capacity = executor.capacity()
        if capacity != self.scheduler.state.capacity:
            inputs.capacity = capacity
        for frame in frames:
            self._take_frame(frame, inputs)
        while self._replies:
            executor.reply(self._replies.popleft())

    def _take_frame(self, frame: Frame, inputs: Inputs) -> None:
        kind, agent = frame["t"], self.scheduler.executor.agent
        if kind == "started":
            inputs.started += [(one["token"], one.get("pid"), one["started_at"], agent) for one in frame["tries"]]
        elif kind == "result":
            ended: list[Frame] = []
            for one in frame["tries"]:
                one["agent"] = agent
                (ended if is_callback(one["token"]) else inputs.results).append(one)
            if ended:
                self.scheduler.executor.acknowledge(self.scheduler.callbacks.finish(ended))
        elif kind == "fired":
            inputs.fired += frame["tries"]
        elif kind == "request":
            self._reader.ask(frame)
        elif kind == "adopted":
            self._take_adopted(frame["tries"], inputs)

    def _take_adopted(self, tries: list[Frame], inputs: Inputs) -> None:
        """A try that the agent never saw is launched with the same token; one that it lost is a result."""
        state, unknown = self.scheduler.state, []
        for one in tries:
            token, now = one["token"], self.scheduler.clock.now()
            if one["state"] == "lost":
                inputs.results.append({"token": token, "outcome": "fail", "reason": "lost", "ended_at": now})
            elif one["state"] == "unknown" and self.scheduler.executor.has_launched(token):
                continue  # asked for before it was launched: what the agent knows since then it will say
            elif one["state"] == "unknown" and token in state.superseded:
                inputs.results.append({"token": token, "outcome": "cancel", "reason": "not started", "ended_at": now})
            elif one["state"] == "unknown":
                unknown.append(token)
        self.scheduler.relaunch(unknown, inputs)

    def _sweep(self, inputs: Inputs, now: int) -> None:
        scheduler = self.scheduler
        rung = scheduler.bell.drain() if scheduler.bell is not None else False
        if not rung and now - self._swept_at < SWEEP_US:
            return
        self._swept_at = now
        if scheduler.sweeper.has_news():
            scheduler.sweeper.sweep(scheduler.state, scheduler.membership.shards, inputs)

    def _take_turns(self, inputs: Inputs) -> None:
        """One turn; requests that change rows under the counters (clear, mark) take a turn each, after it."""
        if not all(self.scheduler.turn(part) for part in one_by_one(inputs)):
            return
        behind = self.scheduler.dags_with_runs_behind([dag_id for dag_id, _ in inputs.dag_changes])
        if behind:
            self.scheduler.turn(Inputs(repins=behind))

    def _keep_seat(self, now: int) -> None:
        scheduler = self.scheduler
        pools_short = any(pool.wanted and pool.quota < pool.slots for pool in scheduler.state.pools.values())
        if now - self._seated_at < (50_000 if pools_short else MEMBERSHIP_US):
            return
        self._seated_at = now
        try:
            if not scheduler.database.is_shared:
                if now - scheduler.committer.committed_at > BEAT_US:
                    scheduler.committer.beat()
                return
            self._share_work()
        except Fenced as error:
            LOG.error("%s", error)
            scheduler.join()

    def _share_work(self) -> None:
        scheduler = self.scheduler
        gained, given, tell = scheduler.membership.refresh()
        if gained or given:
            LOG.info("shards: %s gained, %s given away", len(gained), len(given))
            scheduler.rebuild()
        else:
            scheduler.share_pools()
        if tell:
            scheduler.ring_others()
