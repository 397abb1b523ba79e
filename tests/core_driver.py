"""Drives the pure core without a database: DAGs from a compact form, a virtual clock, scripted outcomes.

`Rows` is what the store would hold: it writes each plan in the store's order and refuses what the store would refuse.
`Driver` takes turns, checks after each that no limit is exceeded, and can drop its memory and load it from the rows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from dagd.decide.backfills import bounds_to_come, first_cursor, slots_of
from dagd.decide.commands import Request
from dagd.decide.core import Inputs, decide
from dagd.decide.graph import Graph
from dagd.decide.state import BackfillView, DagState, RunView, State, TaskState
from dagd.engine import loader
from dagd.model.plans import EVERY_INDEX, EVERY_TASK, End, Launch, Plan
from dagd.model.specs import DagSpec, ExpandSpec, GroupSpec, MapSource, TaskSpec
from dagd.model.states import (
    ATTEMPT_MOVES,
    BACKFILL_MOVES,
    RUN_MOVES,
    AttemptState,
    BackfillState,
    DeadlineState,
    Reprocess,
    RunKind,
    RunState,
)
from dagd.model.times import SECOND
from dagd.timetables.base import Slot, Timetable

T0 = 1_800_000_000 * SECOND
A = AttemptState
WAIT_KEYS = ("until", "poke_every_us", "trigger", "timeout_us", "state")
NEUTRAL = {"reason": None, "error": None, "exit_code": None, "signal": None, "pid": 7}


def dag(dag_id: str = "d", *, groups: tuple[GroupSpec, ...] = (), tasks: dict[str, Any], **more: Any) -> DagSpec:
    """A DagSpec from {task_id: {"up": "a b", any TaskSpec field}}; a bare string is the upstreams."""
    made = []
    for task_id, given in tasks.items():
        fields = {"up": given} if isinstance(given, str) else dict(given)
        ups = tuple(sorted(fields.pop("up", "").split()))
        setups = tuple(fields.pop("setups", "").split())
        is_teardown = fields.pop("is_teardown", bool(setups))
        made.append(
            TaskSpec(
                task_id,
                "Fake",
                upstreams=tuple(sorted({*ups, *setups})),
                setups=setups,
                is_teardown=is_teardown,
                **fields,
            )
        )
    return DagSpec(dag_id, f"{dag_id}.py", tuple(made), groups=groups, **more)


def over(task_id: str, key: str = "return_value") -> MapSource:
    """A source of items: a task's value."""
    return MapSource("xcom", task_id=task_id, key=key)


def items(count: int) -> MapSource:
    """A source of items: a literal list."""
    return MapSource("literal", count=count)


def expand(*sources: MapSource) -> ExpandSpec:
    """A product of sources."""
    return ExpandSpec("product", tuple(f"x{at}" for at in range(len(sources))), sources)


class Ticks(Timetable):
    """A slot each `step` from `start` (a slot itself) to `end`."""

    def __init__(self, step: int, start: int = T0, end: int | None = None, *, has_start: bool = True) -> None:
        self.step, self.start, self.end, self.has_start = step, start, end, has_start

    def _slot(self, at: int) -> Slot | None:
        if at < self.start or (self.end is not None and at > self.end):
            return None
        return Slot(at, at, at - self.step, at)

    def next_after(self, at: int) -> Slot | None:
        return self._slot(self.start + max(0, (at - self.start) // self.step + 1) * self.step)

    def last_until(self, at: int) -> Slot | None:
        at = at if self.end is None else min(at, self.end)
        return self._slot(self.start + (at - self.start) // self.step * self.step)

    def first(self) -> Slot | None:
        return self.next_after(self.start - 1) if self.has_start else None


class Illegal(AssertionError):
    """The store would refuse this plan."""


class Rows:
    """The tables that matter, as dicts, written as `store/turns.py` writes them."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[int, int, int, int], SimpleNamespace] = {}
        self.expansions: dict[tuple[int, int], int] = {}
        self.values: dict[tuple[int, int, int, str], int | None] = {}
        self.runs: dict[int, SimpleNamespace] = {}
        self.deadlines: dict[tuple[int, int, str], SimpleNamespace] = {}
        self.commands: dict[int, tuple[bool, str]] = {}
        self.consumed: dict[int, int] = {}
        self.events: list[Any] = []
        self.outbox: list[Any] = []
        self.slots: list[tuple[int, int]] = []
        self.backfills: dict[int, BackfillView] = {}
        self.starts_of: dict[tuple[int, int, int], int] = defaultdict(int)

    def write(self, plan: Plan) -> None:
        """One turn, in the store's order."""
        for new in plan.new_runs:
            self.insert_run(new.id, new.dag, new.run_id, new.kind, new.due_at, new.created_at, new.slot, new.backfill)
        for gone in plan.supersedes:
            self._supersede(gone)
        for start in plan.starts:
            began = self.attempts[(*start.key, start.try_no)].started_at
            self._move(start, "start", started_at=start.started_at if began is None else began)
        for wait in plan.deferrals:
            told = {"resume_at": wait.resume_at, "waits_for": wait.trigger, "gives_up_at": wait.gives_up_at}
            self._move(wait, "defer", leg_state=wait.state, started_at=wait.started_at, **told)
        for fired in plan.firings:
            row = self.attempts[(*fired.key, fired.try_no)]
            if (row.token, row.state) != (fired.token, A.DEFERRED):
                raise Illegal(f"{fired} does not wait")
            row.resume_at, row.leg_state, row.waits_for, row.gives_up_at = fired.at, fired.state, None, None
        for end in plan.ends:
            self._end(end)
        for one in plan.settles:
            self._insert((*one.key, 0), state=int(ATTEMPT_MOVES[one.event].target), reason=one.reason, ended_at=one.at)
        for born in plan.enqueues:
            self._enqueue(born)
        for again in plan.resumes:
            self._move(again, "resume", token=again.new_token, leg=again.leg, resume_at=None)
        for end in plan.instant_ends:
            self._end(end)
        self._write_rest(plan)

    def insert_run(
        self, run: int, dag_id: int, run_id: str, kind: RunKind, due_at: int, at: int, slot: int | None = None,
        backfill: int | None = None,
    ) -> None:  # fmt: skip
        """A queued run."""
        if run in self.runs or (slot is not None and (dag_id, slot) in self.slots):
            raise Illegal(f"run {run} of slot {slot} is there already")
        if slot is not None:
            self.slots.append((dag_id, slot))
        self.runs[run] = SimpleNamespace(
            id=run,
            dag=dag_id,
            run_id=run_id,
            kind=kind,
            state=int(RunState.QUEUED),
            verdict=None,
            reason=None,
            due_at=due_at,
            logical_at=due_at,
            interval_start=due_at,
            interval_end=due_at,
            created_at=at,
            started_at=None,
            ended_at=None,
            conf="{}",
            partition=None,
            slot=slot,
            backfill_id=backfill,
        )

    def _write_rest(self, plan: Plan) -> None:
        for value in plan.xcoms:
            key = (*value.key, value.name)
            if key in self.values:
                raise Illegal(f"value {key} is there already")
            self.values[key] = value.length
        for size in plan.expansions:
            if (size.run, size.task_no) in self.expansions:
                raise Illegal(f"{size} is there already")
            self.expansions[size.run, size.task_no] = size.count
        for stop in plan.stops:
            self.attempts[(*stop.key, stop.try_no)].stop_requested = stop.reason
        for dag_id, run, events in plan.consumed:
            for event in events:
                if (dag_id, event) in self.consumed:
                    raise Illegal(f"event {event} is consumed twice")
                self.consumed[dag_id, event] = run  # type: ignore[index]
        for run, verdict, reason in plan.verdicts:
            self.runs[run].verdict, self.runs[run].reason = verdict or None, reason
        for move in plan.run_moves:
            self._move_run(move)
        self._write_backfills(plan)
        for row in plan.deadlines:
            self._write_deadline(row)
        for done in plan.commands:
            if done.id in self.commands:
                raise Illegal(f"request {done.id} is closed twice")
            self.commands[done.id] = (done.is_done, done.result)
        self.events += plan.asset_events
        self.outbox += plan.outbox

    def _move_run(self, move: Any) -> None:
        row, legal = self.runs[move.run], RUN_MOVES[move.event]
        if row.state not in legal.sources:
            raise Illegal(f"{move} of a run that is {RunState(row.state).word}")
        row.state = int(legal.target)
        if move.event in ("start", "reopen"):
            row.started_at = move.at
        else:
            row.ended_at, row.reason = move.at, move.reason

    def _write_backfills(self, plan: Plan) -> None:
        for change in plan.backfill_moves:
            row, legal = self.backfills[change.backfill], BACKFILL_MOVES[change.event]
            if row.state not in legal.sources:
                raise Illegal(f"{change} of a backfill that is {row.state}")
            row.state = BackfillState(legal.target)
        for run, number, _ in plan.adoptions:
            self.runs[run].backfill_id = number
        for told in plan.backfills:
            row = self.backfills[told.backfill]
            for name in ("cursor", "done", "success", "failed", "kept", "spent_us"):
                setattr(row, name, getattr(told, name))

    def _write_deadline(self, row: Any) -> None:
        key = (row.run, row.task_no, row.kind)
        if row.state == DeadlineState.PENDING:
            if key in self.deadlines:
                raise Illegal(f"deadline {key} is set twice")
            self.deadlines[key] = SimpleNamespace(due_at=row.due_at, state=DeadlineState.PENDING, at=None)
        elif self.deadlines[key].state != DeadlineState.PENDING:
            raise Illegal(f"deadline {key} is closed twice")
        else:
            self.deadlines[key].state, self.deadlines[key].at = DeadlineState(row.state), row.at

    def _insert(self, key: tuple[int, int, int, int], **values: Any) -> None:
        if key in self.attempts:
            raise Illegal(f"attempt {key} is there already")
        row = {
            "run_id": key[0],
            "task_no": key[1],
            "map_index": key[2],
            "try_no": key[3],
            "token": None,
            "leg": 1,
            "charged": 0,
            "started_at": None,
            "ended_at": None,
            "reason": None,
            "next_try_at": None,
            "stop_requested": None,
            "superseded_by": None,
            "resume_at": None,
            "waits_for": None,
            "gives_up_at": None,
            "leg_state": None,
            "queued_at": None,
        }
        self.attempts[key] = SimpleNamespace(**{**row, **values})

    def _enqueue(self, born: Any) -> None:
        same = [row for key, row in self.attempts.items() if key[:3] == born.key]
        if any(row.state < A.SUCCESS for row in same):
            raise Illegal(f"{born} beside a live try: tries overlap")
        if any(row.state == A.SUCCESS and row.superseded_by is None for row in same):
            raise Illegal(f"{born} after a success")
        self._insert((*born.key, born.try_no), state=int(A.QUEUED), token=born.token, queued_at=born.at)
        self.starts_of[born.key] += 1

    def _move(self, record: Any, event: str, **values: Any) -> None:
        row = self.attempts[(*record.key, record.try_no)]
        if row.token != record.token or row.state not in ATTEMPT_MOVES[event].sources:
            raise Illegal(f"{event} {record.key}: {AttemptState(row.state).word} {row.token} != {record.token}")
        if row.started_at is not None:
            values.pop("started_at", None)
        row.state = int(ATTEMPT_MOVES[event].target)
        vars(row).update(values)

    def _end(self, end: End) -> None:
        self._move(
            end,
            end.event,
            ended_at=end.ended_at,
            started_at=end.started_at,
            reason=end.reason,
            charged=int(end.charged),
            next_try_at=end.next_try_at,
        )

    def _supersede(self, gone: Any) -> None:
        run, no, index = gone.key
        for key in [
            key
            for key in self.attempts
            if key[0] == run and no in (EVERY_TASK, key[1]) and index in (EVERY_INDEX, key[2])
        ]:
            if gone.settled_as is not None:
                if key[3] == 0 and self.attempts[key].reason == gone.settled_as:
                    del self.attempts[key]
            elif key[3] == 0:
                del self.attempts[key]
            elif self.attempts[key].superseded_by is None:
                self.attempts[key].superseded_by = gone.by
        if gone.drop_values and gone.settled_as is None:
            for value in [
                v for v in self.values if v[0] == run and no in (EVERY_TASK, v[1]) and index in (EVERY_INDEX, v[2])
            ]:
                del self.values[value]
        if gone.drop_expansion:
            for size in [size for size in self.expansions if size[0] == run and no in (EVERY_TASK, size[1])]:
                del self.expansions[size]


class Driver:
    """A scheduler's memory, its rows and a clock. `live` holds the launches that have not ended, in order."""

    def __init__(
        self, *specs: DagSpec, pools: dict[str, int] | None = None, capacity: int = 1000, check_rebuild: bool = False
    ) -> None:
        self.now, self.seed = T0, 0
        self.rows = Rows()
        self.state = State(token_prefix="t", capacity=capacity)
        self.graphs: dict[int, Graph] = {}
        self.live: dict[str, Launch] = {}
        self.plans: list[Plan] = []
        self.stopped: dict[str, str] = {}
        self.check_rebuild = check_rebuild
        self.next_run = 0
        for number, spec in enumerate(specs, 1):
            self.add_dag(number, spec)
        sizes = {"default_pool": 128} | (pools or {})
        self.turn(pools=[(name, slots, slots) for name, slots in sizes.items()])

    def add_dag(self, number: int, spec: DagSpec, timetable: Timetable | None = None) -> DagState:
        """Register a DAG (a new version when it is known)."""
        graph = Graph(spec, number, number, {task.task_id: no for no, task in enumerate(spec.tasks, 10)})
        found = self.state.dags.get(number)
        if found is None:
            found = self.state.dags[number] = DagState(number, spec.dag_id, number % 64, first_seen_at=self.now)
            self.state.names[spec.dag_id] = number
        self.graphs[number] = found.graph = graph
        found.timetable = timetable if timetable is not None else found.timetable
        return found

    def turn(self, **inputs: Any) -> Plan:
        """One turn, written down; then every limit is checked."""
        self.seed += 1
        plan = decide(self.state, Inputs(**inputs), self.now, self.seed)
        self.rows.write(plan)
        self.plans.append(plan)
        for launch in plan.launches:
            self.live[launch.token] = launch
        for stop in plan.stops:
            self.stopped[stop.token] = stop.reason
        reloaded = [run for run in (self._reload(run_id) for run_id in plan.reloads) if run is not None]
        self.check()
        if reloaded:
            self.turn(rebuilt=reloaded)
        elif self.check_rebuild:
            self.check_against_rows()
        return plan

    def tick(self, seconds: float = 0) -> Plan:
        """Let time pass and take a turn."""
        self.now += int(seconds * SECOND)
        return self.turn()

    def trigger(
        self, dag_no: int = 1, kind: RunKind = RunKind.MANUAL, due_at: int | None = None, run: int | None = None
    ) -> int:
        """Request a run; returns its id."""
        self.next_run += 1
        number = run if run is not None else self.next_run
        due = self.now if due_at is None else due_at
        self.rows.insert_run(number, dag_no, f"m-{number}", kind, due, self.now)
        self.turn(arrivals=[RunView(self.graphs[dag_no], dag_no, vars(self.rows.runs[number]))])
        return number

    def where(self, token: str) -> tuple[str, int]:
        """(task_id, map_index) of a launch."""
        launch = self.live[token]
        spec = self.graphs[self.rows.runs[launch.key[0]].dag].tasks[launch.task]
        return spec.task_id, launch.key[2]

    def token(self, name: str, index: int = -1, run: int | None = None) -> str:
        """The live try of a task."""
        for token, launch in self.live.items():
            if self.where(token) == (name, index) and run in (None, launch.key[0]):
                return token
        raise AssertionError(f"no live try of {name}[{index}]; live: {[self.where(token) for token in self.live]}")

    def started(self, name: str, index: int = -1, run: int | None = None) -> None:
        """The agent says that a try runs."""
        self.turn(started=[(self.token(name, index, run), 7, self.now, "agent")])

    def finish(self, name: str, outcome: str = "succeed", index: int = -1, run: int | None = None, **more: Any) -> Plan:
        """A live try ends."""
        return self.turn(results=[self.result(self.token(name, index, run), outcome, **more)])

    def result(self, token: str, outcome: str = "succeed", **more: Any) -> dict[str, Any]:
        """A result frame; `value=n` is a returned list of n items. The launch is no longer live."""
        self.live.pop(token, None)
        frame = dict(more.pop("frame", {}))
        for key in (*WAIT_KEYS, "branch", "short_circuit", "retry", "no_retry", "soft_fail"):
            if key in more:
                frame[key] = more.pop(key)
        if "value" in more:
            frame["xcom"] = [*frame.get("xcom", []), {"key": "return_value", "text": "[]", "length": more.pop("value")}]
        return {
            **NEUTRAL,
            "token": token,
            "outcome": outcome,
            "frame": frame,
            "started_at": self.now,
            "ended_at": self.now,
            **more,
        }

    def command(self, kind: str, run: int, **payload: Any) -> tuple[bool, str]:
        """A request; returns (done, result text)."""
        number = 900 + len(self.rows.commands)
        view = self.state.runs.get(run)
        if view is None and run in self.rows.runs:
            view = self._view(self.state, run)
        self.turn(commands=[Request(number, kind, view, payload)])
        return self.rows.commands[number]

    def backfill(self, from_at: int, to_at: int, dag_no: int = 1, **more: Any) -> int:
        """Ask for a backfill of the slots from one instant to another; returns its id."""
        values: dict[str, Any] = {
            "id": len(self.rows.backfills) + 1, "dag": dag_no, "state": BackfillState.QUEUED, "from_at": from_at,
            "to_at": to_at, "until": self.now, "cursor": 0, "is_reverse": False, "max_active": 4,
            "reprocess": Reprocess.NONE, "conf": "{}", "slots": 0,
        }  # fmt: skip
        row = BackfillView(**{**values, **more})
        timetable = self.state.dags[dag_no].timetable
        if timetable is not None and not timetable.is_continuous:
            row.cursor, row.slots = first_cursor(timetable, row), len(list(slots_of(timetable, row)))
        self.rows.backfills[row.id] = row
        self.ask_backfill("create", row.id)
        return row.id

    def ask_backfill(self, verb: str, number: int) -> tuple[bool, str]:
        """A request about a backfill; returns (done, result text)."""
        request = 900 + len(self.rows.commands)
        view = self.backfill_view(self.state, self.rows.backfills[number])
        self.turn(commands=[Request(request, f"backfill_{verb}", None, {"backfill": number}, view)])
        return self.rows.commands[request]

    def backfill_view(self, state: State, row: BackfillView) -> BackfillView:
        """As the engine loads it."""
        found, timetable = replace(row, active=set(), taken={}), self.state.dags[row.dag].timetable
        if timetable is not None and not timetable.is_continuous:
            low, high = bounds_to_come(timetable, row)
            runs = [run for run in self.rows.runs.values() if run.dag == row.dag and run.slot is not None]
            found.taken = {run.slot: (run.id, run.state) for run in runs if low <= run.slot <= high}
        return found

    def drain(self, script: dict[str, Any] | None = None, *, lifo: bool = False, limit: int = 2000) -> None:
        """Let live tries end as `script` says (outcome or fields by task_id, a list by try)."""
        script = script or {}
        for _ in range(limit):
            if not self.live:
                at = self.state.next_timer_at()
                if at is None or not any(run.state.is_active for run in self.state.runs.values()):
                    return
                self.now = max(self.now, at)
                self.turn()
                continue
            token = list(self.live)[-1 if lifo else 0]
            self.turn(results=[self._scripted(token, script)])
        raise AssertionError(f"not over after {limit} turns; live {[self.where(token) for token in self.live]}")

    def _scripted(self, token: str, script: dict[str, Any]) -> dict[str, Any]:
        name, index = self.where(token)
        said = script.get(f"{name}[{index}]", script.get(name, "succeed"))
        if token in self.stopped:
            return self.result(token, "cancel")
        if isinstance(said, list):
            said = said[min(self.live[token].try_no - 1, len(said) - 1)]
        return self.result(token, said) if isinstance(said, str) else self.result(token, **said)

    def states(self, run: int = 1) -> dict[str, str]:
        """{task_id or task_id[index]: state} of every instance that has a row, by what is stored."""
        spec = self.graphs[self.rows.runs[run].dag].spec
        found: dict[str, str] = {}
        for key in sorted(self.rows.attempts):
            row = self.rows.attempts[key]
            if key[0] == run and (row.superseded_by is None):
                name = spec.tasks[key[1] - 10].task_id
                place = name if key[2] == -1 else f"{name}[{key[2]}]"
                if key[3] == 0 or (*key[:3], 0) not in self.rows.attempts:
                    found[place] = AttemptState(row.state).word
        return found

    def run_state(self, run: int = 1) -> str:
        """The stored state of a run."""
        return RunState(self.rows.runs[run].state).word

    def tries(self, name: str, index: int = -1, run: int = 1) -> list[SimpleNamespace]:
        """The stored tries of an instance, in order."""
        spec = self.graphs[self.rows.runs[run].dag].spec
        no = 10 + [task.task_id for task in spec.tasks].index(name)
        return [row for key, row in sorted(self.rows.attempts.items()) if key[:3] == (run, no, index) and key[3]]

    # --- what must hold after every turn ------------------------------------------------------------------------------

    def check(self) -> None:
        """S8: no pool, DAG, task or host limit is exceeded; counters agree with rows."""
        busy = [row for row in self.rows.attempts.values() if row.state in (A.QUEUED, A.RUNNING)]
        by_pool: dict[str, int] = defaultdict(int)
        by_task: dict[tuple[int, int], int] = defaultdict(int)
        by_dag: dict[int, int] = defaultdict(int)
        for row in busy:
            dag_no = self.rows.runs[row.run_id].dag
            spec = self.graphs[dag_no].tasks[row.task_no - 10]
            by_pool[spec.pool] += spec.pool_slots
            by_task[dag_no, row.task_no] += 1
            by_dag[dag_no] += 1
        for name, pool in self.state.pools.items():
            assert pool.used == by_pool[name], (name, pool.used, by_pool[name])
            assert by_pool[name] <= max(pool.slots, pool.used if pool.quota < pool.used else 0), name
        assert self.state.outstanding == len(busy)
        for dag_no, found in self.state.dags.items():
            assert found.active_tasks == by_dag[dag_no]
            running = [row for row in self.rows.runs.values() if row.dag == dag_no and row.state == RunState.RUNNING]
            placed = {run for view in found.backfills.values() for run in view.active}
            assert not placed & found.running
            assert {row.id for row in running if self._is_placed(row)} == found.running | placed
            for view in found.backfills.values():
                assert self.rows.backfills[view.id].done == view.done
            for task in self.graphs[dag_no].tasks:
                limit = task.max_active_tis_per_dag
                assert (
                    limit is None
                    or by_task[dag_no, self.graphs[dag_no].nos[self.graphs[dag_no].index[task.task_id]]] <= limit
                )
        for view in self.state.runs.values():
            assert view.state.is_active or view.deadlines, f"run {view.run_id} has ended and is still in memory"

    def _is_placed(self, row: SimpleNamespace) -> bool:
        return row.backfill_id is None or self.rows.backfills[row.backfill_id].state.is_active

    def check_against_rows(self) -> None:
        """Memory rebuilt from the rows equals memory, and concludes nothing that memory had not concluded."""
        fresh = self.rebuild()
        mine = {run.id: portrait(run) for run in self.state.runs.values() if run.tasks}
        theirs = {run.id: portrait(run) for run in fresh.runs.values() if run.tasks}
        assert mine == theirs
        fresh.capacity = fresh.outstanding
        again = decide(fresh, Inputs(rebuilt=[run for run in fresh.runs.values() if run.tasks]), self.now, 0)
        found = [again.settles, again.enqueues, again.expansions, again.run_moves, again.ends]
        assert not any(found), f"a rebuild concludes more: {found}"

    def rebuild(self) -> State:
        """Memory from the rows, by the engine's own loader."""
        state = State(token_prefix="r")
        for name, pool in self.state.pools.items():
            state.pools[name] = type(pool)(name, pool.slots, pool.quota)
        for number, old in self.state.dags.items():
            state.dags[number] = DagState(number, old.name, old.shard, old.graph, None, first_seen_at=old.first_seen_at)
            state.dags[number].pasts = old.pasts
            for row in self.rows.backfills.values():
                if row.dag == number and row.state in (BackfillState.RUNNING, BackfillState.PAUSED):
                    state.dags[number].backfills[row.id] = self.backfill_view(state, row)
        for row in sorted(self.rows.runs.values(), key=lambda row: (row.due_at, row.id)):
            if row.state < A.SUCCESS:
                view = self._view(state, row.id)
                old_view = self.state.runs.get(row.id)
                view.previous = old_view.previous if old_view is not None else None
        return state

    def _view(self, state: State, run: int) -> RunView:
        row = self.rows.runs[run]
        view = RunView(self.graphs[row.dag], row.dag, vars(row))
        found = state.dags[row.dag]
        if row.state >= A.SUCCESS:
            self._fill(state, view)
            return view
        state.runs[run] = view
        if run not in found.order:
            loader.place_in_order(state.runs, found, view)
        if view.state is RunState.RUNNING:
            found.take_place(view)
            self._fill(state, view)
        else:
            found.queued.append((view.rank, view.due_at, view.id))
            found.queued.sort()
        return view

    def _fill(self, state: State, view: RunView) -> None:
        attempts = [row for key, row in sorted(self.rows.attempts.items()) if key[0] == view.id]
        expansions = [(no, count) for (run, no), count in self.rows.expansions.items() if run == view.id]
        lengths = [(no, index, key, n) for (run, no, index, key), n in self.rows.values.items() if run == view.id]
        loader.fill_run(state, view, attempts, expansions, lengths)

    def _reload(self, run: int) -> RunView | None:
        old = self.state.runs.get(run)
        if old is not None:
            loader.forget_run(self.state, old)
        view = self._view(self.state, run)
        if old is not None:
            view.previous, view.deadlines = old.previous, old.deadlines
        return view if view.tasks else None


def portrait(run: RunView) -> dict[str, Any]:
    """What of a run's memory a rebuild must give back: derived waiting states are one."""
    return {"verdict": run.verdict, "active": run.active, "tasks": [_portrait(run, task) for task in run.tasks]}


def _portrait(run: RunView, task: TaskState) -> dict[str, Any]:
    same = {4: 0, 5: 0, 6: int(A.DEFERRED)}
    states = [same.get(code, code) for code in task.states]
    whole = task.is_whole or (task.size is not None and len(set(states)) == 1 and task.remaining == 0)
    return {
        "task": task.spec.task_id,
        "states": set(states) if whole else states,
        "open": bool(task.remaining),
        "gates": task.gates,
        "sources": task.sources_open,
        "live": {
            pos: (one.try_no, one.leg, one.token, one.retries_used, one.infra_used)
            for pos, one in task.instances.items()
            if one.token is not None
        },
    }
