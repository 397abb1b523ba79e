"""The real Scheduler and Loop in this process: on a clock that a test turns, with an agent that says what it is told.

Nothing waits: `Rig.step` takes one step of the loop, `Rig.settle` as many as there is something to do.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from dagd.decide.backfills import bounds_to_come, first_cursor, slots_of
from dagd.decide.core import Inputs, decide
from dagd.decide.state import RETRYING, BackfillView, DagState, RunView, State
from dagd.engine import loader
from dagd.engine.clock import Clock
from dagd.engine.loop import Loop
from dagd.engine.service import Scheduler
from dagd.engine.timetables import timetable_of
from dagd.model.frames import PROTOCOL, Frame, FrameBuffer, encode_frame
from dagd.model.plans import NewRun, Plan
from dagd.model.settings import Settings, load_settings
from dagd.model.specs import DagSpec
from dagd.model.states import AttemptState
from dagd.model.times import SECOND
from dagd.observe.talk import Talk
from dagd.store import backfills, facts, requests, transitions, versions
from dagd.store.database import Row, open_database
from dagd.store.schema import attempt, dag_run
from tests import factories
from tests.core_driver import portrait
from tests.factories import NOW

LIVE = frozenset({AttemptState.QUEUED, AttemptState.RUNNING})


class Wound(Clock):
    """A clock that a test turns."""

    def __init__(self, at: int = NOW) -> None:
        super().__init__()
        self.at = at

    def now(self) -> int:
        return self.at

    def follow(self, database_now: int, asked_at: int | None = None, slack: int = 0) -> None:
        """The database's clock is another one here."""


class Link:
    """One scheduler's connection to the agent."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer, self.buffer = peer, FrameBuffer()

    def say(self, kind: str, **fields: Any) -> None:
        try:
            self.peer.sendall(encode_frame({"t": kind, **fields}))
        except OSError:
            return  # its scheduler is gone

    def hear(self) -> list[Frame]:
        try:
            chunk = self.peer.recv(1 << 22)
        except (BlockingIOError, OSError):
            return []
        return self.buffer.feed(chunk)


class Agent:
    """Outlives schedulers: journals tokens, keeps results until they are acknowledged, ends tries when told to."""

    def __init__(self, slots: int = 100) -> None:
        self.slots = slots
        self.links: list[Link] = []
        self.launches: dict[str, Frame] = {}
        self.live: dict[str, Link] = {}
        self.spool: dict[str, Frame] = {}
        self.stopping: dict[str, str] = {}
        self.waits: dict[str, Frame] = {}
        self.acked: list[str] = []
        self.relaunched: list[str] = []
        self.overlaps: list[str] = []
        self.ended: set[str] = set()  # acknowledged, and never launched again
        self.forgetful = False  # drops launch frames unread
        self.silent = False  # keeps results to itself

    def connect(self) -> socket.socket:
        theirs, ours = socket.socketpair()
        ours.setblocking(False)
        link = Link(ours)
        self.links.append(link)
        link.say("hello", protocol=PROTOCOL, agent="agent", incarnation=1, pid=1, slots=self.slots, release="0")
        link.say("credits", slots=self.slots)
        if self.spool and not self.silent:
            link.say("result", tries=list(self.spool.values()))
        return theirs

    def hear(self) -> int:
        """Take what the schedulers said; how many frames that was."""
        heard = 0
        for link in self.links:
            for frame in link.hear():
                heard += 1
                getattr(self, f"_{frame['t']}", lambda *_: None)(link, frame)
        return heard

    def _launch(self, link: Link, frame: Frame) -> None:
        for one in frame["tries"]:
            token = one["token"]
            shared = frame["shared"][one.pop("shared")] if "shared" in one else {}
            one["payload"] = {"callback": None, "leg": 1, **shared, **one["payload"]}
            if self.forgetful:
                continue
            if token in self.ended - set(self.launches):
                continue
            if token in self.launches:
                self.relaunched.append(token)
                if token in self.live:
                    self.live[token] = link
                elif token in self.spool and not self.silent:
                    link.say("result", tries=[self.spool[token]])
                continue
            here = self.instance(one)
            self.overlaps += [token for other in self.live if here and self.instance(self.launches[other]) == here]
            self.launches[token], self.live[token] = one, link

    @staticmethod
    def instance(launch: Frame) -> tuple[Any, ...] | None:
        told = launch["payload"]
        return None if told["callback"] else (told["run"]["id"], told["task_id"], told["map_index"])

    def _cancel(self, _link: Link, frame: Frame) -> None:
        self.stopping.update(dict.fromkeys(frame["tokens"], frame["reason"]))

    def _wait(self, _link: Link, frame: Frame) -> None:
        self.waits.update((one["token"], one["trigger"]) for one in frame["triggers"])

    def _unwait(self, _link: Link, frame: Frame) -> None:
        for token in frame["tokens"]:
            self.waits.pop(token, None)

    def fire(self, token: str, **told: Any) -> None:
        """Tell every scheduler what a trigger has to say."""
        for link in self.links:
            link.say("fired", tries=[{"token": token, **told}])

    def _ack(self, _link: Link, frame: Frame) -> None:
        self.acked += frame["tokens"]
        self.ended.update(frame["tokens"])
        for token in frame["tokens"]:
            self.spool.pop(token, None)

    def _adopt(self, link: Link, frame: Frame) -> None:
        answers, again = [], []
        for token in frame["tokens"]:
            if token in self.live:
                self.live[token] = link
                state = "running"
            elif token in self.spool:
                state = "finished"
                again.append(self.spool[token])
            else:
                state = "unknown" if token not in self.launches else "lost"
            answers.append({"token": token, "state": state})
        link.say("adopted", tries=answers)
        if again and not self.silent:
            link.say("result", tries=again)

    # --- what a test makes happen ---------------------------------------------------------------------------------

    def token(self, task_id: str, index: int = -1) -> str:
        """The live try of a task."""
        for token in self.live:
            told = self.launches[token]["payload"]
            if (told["task_id"], told["map_index"]) == (task_id, index):
                return token
        raise AssertionError(f"no live try of {task_id}[{index}]: {[self.name(token) for token in self.live]}")

    def name(self, token: str) -> str:
        return str(self.launches[token]["payload"]["task_id"])

    def start(self, token: str, at: int) -> None:
        """Say that a process runs."""
        self.live[token].say("started", tries=[{"token": token, "pid": 7, "started_at": at}])

    def end(self, token: str, at: int, outcome: str = "succeed", **more: Any) -> None:
        """A try ends; its result is spooled and told."""
        link = self.live.pop(token)
        frame = {name: more.pop(name) for name in list(more) if name not in ("reason", "error")}
        self.spool[token] = {
            "token": token, "outcome": outcome, "frame": frame, "pid": 7, "started_at": at, "ended_at": at,
            "exit_code": None, "signal": None, "reason": None, "error": None, **more,
        }  # fmt: skip
        if not self.silent:
            link.say("result", tries=[self.spool[token]])

    def repeat(self, tokens: Iterable[str]) -> None:
        """Tell results of the spool again, on every connection."""
        told = [self.spool[token] for token in tokens if token in self.spool]
        for link in self.links if told else ():
            link.say("result", tries=told)

    def die(self, at: int) -> None:
        """The agent is killed and another takes its place: what ran is lost, and said so."""
        for token in list(self.live):
            self.silent, told = True, self.silent
            self.end(token, at, "fail", reason="lost")
            self.silent = told
        self.hang_up()

    def hang_up(self) -> None:
        """Cut every connection."""
        for link in self.links:
            link.peer.close()
        self.links = []


class Rig:
    """One scheduler with its database, agent and clock. `crash` drops it as a kill would, and starts another."""

    def __init__(
        self, home: Path, url: str, *specs: DagSpec, agent: Agent | None = None, clock: Wound | None = None,
        slots: int = 100, is_fast: bool = True, prepare: bool = True,
    ) -> None:  # fmt: skip
        self.home, self.url = home, url
        self.settings = settings_of(home, url)
        self.settings.run_folder.mkdir(parents=True, exist_ok=True)
        self.database = open_database(url)
        if self.database.is_sqlite and is_fast:
            event.listen(self.database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
        self.agent = agent or Agent(slots)
        self.clock = clock or Wound()
        self.ids: dict[str, int] = {}
        self._run = 0
        for spec in specs if prepare else ():
            self.store(spec)
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.scheduler = Scheduler(self.settings, self.database, self.agent.connect, "0", Talk(None))
        self.scheduler.clock = self.clock
        self.loop = Loop(self.scheduler)
        self.scheduler.join()

    def abandon(self) -> None:
        """The process is killed: nothing is written, its locks and connections are gone."""
        scheduler = self.scheduler
        scheduler.executor.close()
        scheduler.committer.close()
        scheduler.sweeper.close()
        scheduler.membership.abandon()

    def crash(self) -> None:
        """Killed, and started again."""
        self.abandon()
        self.begin()

    def close(self) -> None:
        self.abandon()
        self.agent.hang_up()
        self.database.close()

    # --- time passes ----------------------------------------------------------------------------------------------

    def step(self) -> int:
        """One step of the loop; how many frames the agent heard."""
        self.loop.advance()
        return self.agent.hear()

    def settle(self, limit: int = 60) -> None:
        """Steps until nothing moves at this instant."""
        for _ in range(limit):
            turns = self.scheduler.committer.commits
            heard = self.step()
            if not heard and turns == self.scheduler.committer.commits and self.is_quiet():
                return
        raise AssertionError(f"not quiet after {limit} steps")

    def is_quiet(self) -> bool:
        pending = self.scheduler.pending
        return pending.is_empty() and not self.scheduler.callbacks.is_due

    def pass_time(self, seconds: float = 1.0) -> None:
        """Let time pass (a sweep is due after one second), then settle."""
        self.clock.at += int(seconds * SECOND)
        self.settle()

    # --- what people do -------------------------------------------------------------------------------------------

    def store(self, spec: DagSpec, source: str = "# source") -> int:
        """A new version of a DAG."""
        with self.database.write() as connection:
            versions.store_spec(connection, spec, {f"/dags/{spec.file}": source}, self.clock.at)
            self.ids[spec.dag_id] = versions.known_dags(connection)[spec.dag_id].id
        return self.ids[spec.dag_id]

    def trigger(self, dag_id: str = "sales", **more: Any) -> int:
        """Insert a queued run as a request does, at this clock; it is found by the next sweep."""
        self._run += 1
        with self.database.write() as connection:
            row, _ = requests.current_spec(connection, dag_id)
            new: NewRun = factories.run(
                row.id, row.current_version, self._run, due_at=self.clock.at, logical_at=self.clock.at,
                interval_start=self.clock.at, interval_end=self.clock.at, created_at=self.clock.at, **more,
            )  # fmt: skip
            transitions.insert_runs(connection, [new])
        return self._run

    def ask(self, kind: str, run: int, dag_id: str = "sales", **payload: Any) -> int:
        with self.database.write() as connection:
            return requests.put_command(connection, kind, self.ids[dag_id], run, payload, subject=f"{dag_id}/{run}")

    def backfill(self, first: int, last: int, dag_id: str = "sales", **more: Any) -> int:
        """Ask for a backfill of the slots between two instants as the command line does; returns its id."""
        wanted = backfills.Wanted(first, last, self.clock.at, **more)
        with self.database.write() as connection:
            return ask_for_backfill(connection, dag_id, wanted)

    def ask_backfill(self, verb: str, number: int, dag_id: str = "sales") -> None:
        """Ask for pause, resume or cancel."""
        with self.database.write() as connection:
            backfills.ask(connection, f"backfill_{verb}", self.ids[dag_id], dag_id, number, "ann")

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """As `dagd pause` does, at this clock."""
        values: dict[str, Any] = {"paused": paused} | ({} if paused else {"unpaused_at": self.clock.at})
        with self.database.write() as connection:
            connection.execute(factories.dag_update(self.ids[dag_id], **values))

    def finish(self, task_id: str, outcome: str = "succeed", index: int = -1, **more: Any) -> None:
        """A live try ends and all is settled. `value=n` is a returned list of n items."""
        if "value" in more:
            length = more.pop("value")
            more["xcom"] = [{"key": "return_value", "text": str([0] * length), "length": length, "size": 2}]
        self.agent.end(self.agent.token(task_id, index), self.clock.at, outcome, **more)
        self.settle()

    # --- what is stored -------------------------------------------------------------------------------------------

    def rows(self, table: Any) -> list[Row[Any]]:
        with self.database.read() as connection:
            return list(connection.execute(table.select().order_by(*table.primary_key.columns)))

    def tries(self, run: int = 1) -> list[tuple[int, int, str]]:
        """(task_no, try_no, state) of a run's rows."""
        rows = [row for row in self.rows(attempt) if row.run_id == run]
        return [(row.task_no, row.try_no, AttemptState(row.state).word) for row in rows]

    def runs(self) -> list[Row[Any]]:
        return self.rows(dag_run)

    def run_states(self) -> dict[int, int]:
        return {row.id: row.state for row in self.rows(dag_run)}


def settings_of(home: Path, url: str) -> Settings:
    """Settings of a home of its own."""
    env = {"DAGD_HOME": str(home), "DAGD_DATABASE_URL": url, "DAGD_DAGS_FOLDER": str(home / "dags")}
    return load_settings(env, home)


# --- memory and rows ------------------------------------------------------------------------------------------


def ask_for_backfill(connection: Any, dag_id: str, wanted: backfills.Wanted) -> int:
    """As the command line does; the backfill's id."""
    row, spec = requests.current_spec(connection, dag_id)
    timetable = timetable_of(spec, row.first_seen_at)
    assert timetable is not None
    slots = [slot.due_at for slot in slots_of(timetable, wanted)]
    taken = backfills.runs_in(connection, row.id, wanted.from_at, wanted.until)
    number, _ = backfills.create(
        connection, row.id, dag_id, wanted, cursor=first_cursor(timetable, wanted), slots=len(slots),
        existing=len(taken.keys() & set(slots)), actor="ann",
    )  # fmt: skip
    return number


def check_rebuild(rig: Rig) -> None:
    """Memory rebuilt from the rows equals memory, and concludes nothing that memory had not concluded."""
    mine, scheduler = rig.scheduler.state, rig.scheduler
    fresh, found = State(token_prefix="r"), Inputs()
    fresh.capacity = mine.capacity
    with rig.database.read() as connection:
        changes = loader.load_dags(connection, scheduler.graphs, fresh, scheduler.membership.shards)
        scheduler.sweeper.sweep_deliveries(connection, fresh, scheduler.membership.shards, found)
        found.pools = [(name, slots, slots) for _, name, slots in facts.pools(connection)]
    carried = {start.token for start in scheduler.carried}
    for dag_id, asset, number, ts in found.deliveries:
        fresh.dags[dag_id].open_events.setdefault(asset, {})[number] = ts
    assert picture(mine, carried) == picture(fresh, set())
    for kind_key in [timer for timer in needed_timers(fresh) if timer[0] > rig.clock.at]:
        assert kind_key in {(timer.at, timer.kind, timer.key) for timer in mine.timers}, kind_key
        assert kind_key in {(timer.at, timer.kind, timer.key) for timer in fresh.timers}, kind_key
    fresh.capacity = 0
    begun = [run for run in fresh.runs.values() if run.tasks]
    again = decide(fresh, Inputs(rebuilt=begun, dag_changes=changes, pools=found.pools), rig.clock.at, 0)
    more = {name: getattr(again, name) for name in Plan.__slots__ if getattr(again, name)}
    assert not more, f"a rebuild concludes more: {more}"


def picture(state: State, carried: set[str]) -> dict[str, Any]:
    """What of a scheduler's memory a rebuild must give back."""
    runs = {}
    for run in state.runs.values():
        for task in run.tasks:
            for pos, one in task.instances.items():
                if one.token in carried:
                    task.states[pos] = AttemptState.QUEUED  # its start is stored with the next commit
        shape = portrait(run) if run.tasks and run.state.is_active else None
        runs[run.id] = (run.state, run.verdict, run.graph.version, dict(run.deadlines), shape, live_facts(run))
    for task, pos in _carried_places(state, carried):
        task.states[pos] = AttemptState.RUNNING
    dags = {}
    for dag in state.dags.values():
        dags[dag.name] = {
            "running": dag.running, "queued": sorted(dag.queued), "order": dag.order, "active": dag.active_tasks,
            "tasks": {no: count for no, count in dag.task_active.items() if count}, "held": dag.held,
            "clock": (dag.next_due, dag.last_slot, dag.scheduled_version), "listens": dag.subscribed,
            "open": {key: set(events) for key, events in dag.open_events.items() if events},
            "row": dag.row, "backfills": {view.id: _range(dag, view) for view in dag.backfills.values()},
            "taken": {slot for slot in dag.taken if slot > (dag.last_slot or 0) and slot >= (dag.next_due or 0)},
        }  # fmt: skip
    return {
        "runs": runs, "dags": dags, "tokens": state.tokens, "superseded": state.superseded,
        "outstanding": state.outstanding,
        "pools": {pool.name: pool.used for pool in state.pools.values() if pool.used},
    }  # fmt: skip


def _range(dag: DagState, view: BackfillView) -> tuple[Any, ...]:
    assert dag.timetable is not None
    low, high = bounds_to_come(dag.timetable, view)
    taken = {slot: run for slot, (run, _) in view.taken.items() if low <= slot <= high}
    return (view.state, view.cursor, view.done, view.success, view.failed, view.kept, view.active, taken)


def live_facts(run: RunView) -> dict[tuple[int, int], tuple[Any, ...]]:
    """What of live tries decides their next step."""
    return {
        (task.i, pos): (one.stop_reason, one.leg_state)
        for task in run.tasks
        for pos, one in task.instances.items()
        if one.token is not None
    }


def _carried_places(state: State, carried: set[str]) -> list[tuple[Any, int]]:
    places = [state.tokens[token] for token in carried if token in state.tokens]
    return [(state.runs[run].tasks[i], pos) for run, i, pos in places]


def needed_timers(state: State) -> list[tuple[int, str, tuple[Any, ...]]]:
    """The timers without which something would never happen."""
    found: list[tuple[int, str, tuple[Any, ...]]] = []
    for run in state.runs.values():
        found += [(due, "deadline", (run.id, i, kind)) for (i, kind), due in run.deadlines.items()]
        limit = run.graph.spec.dagrun_timeout_us
        if limit is not None and run.started_at is not None and run.tasks and run.state.is_active:
            found.append((run.started_at + limit, "run_timeout", (run.id,)))
        for task in run.tasks:
            for pos, one in task.instances.items():
                if pos >= len(task.states):
                    continue  # an index of before a clear
                if task.states[pos] == RETRYING and one.next_try_at is not None:
                    found.append((one.next_try_at, "retry", (run.id, task.i, pos, one.try_no)))
                elif task.states[pos] == AttemptState.DEFERRED and one.gives_up_at is not None:
                    found.append((one.gives_up_at, "give_up", (run.id, task.i, pos, one.token)))
                if task.states[pos] == AttemptState.DEFERRED and (one.resume_at is not None or one.trigger is None):
                    found.append((one.resume_at or 0, "resume", (run.id, task.i, pos, one.token)))
    return found
