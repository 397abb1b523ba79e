"""A DAG in one process: the same core over memory, tasks in forked children one at a time, a clock that jumps.

No database, no daemon. What waits for an instant (a retry, a poke, a deferral, a deadline) waits for no real time: when
nothing else can happen the clock moves on to it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from dagd.authoring.params import merge_params
from dagd.decide.core import Inputs, decide
from dagd.decide.graph import Graph
from dagd.decide.state import DagState, RunView, State
from dagd.engine.local_answers import LocalAnswers
from dagd.engine.local_ask import Ask
from dagd.engine.local_mocks import body_of, given_frame, standing_in
from dagd.engine.local_rows import LocalRows, LocalValues, Shown
from dagd.engine.local_try import run_forked, run_here
from dagd.engine.local_waits import LocalWaits
from dagd.model.errors import Refused
from dagd.model.plans import Launch, Plan
from dagd.model.specs import DagSpec, TaskSpec
from dagd.model.states import Reason, RunKind, RunState
from dagd.runtime.entry import LoadedDag
from dagd.timetables.base import Slot
from dagd.timetables.build import build

INLINE_BYTES, LARGEST_BYTES = 64 * 1024, 16 * 1024 * 1024
CALLBACK_US, GRACE_US = 60_000_000, 5_000_000
IDLE_POKES = 100  # pokes in a row with nothing else happening, after which a sensor is taken to its timeout
DAG, RUN = 1, 1

Json = Any


def slot_for(spec: DagSpec, at: int) -> Slot:
    """The slot whose logical date is `at`; one with an empty interval when the schedule has none there."""
    schedule = spec.schedule.get("time") or spec.schedule
    if schedule["kind"] not in {"none", "assets"}:
        timetable = build(
            schedule, timezone=spec.timezone, dst=spec.dst, start_at=spec.start_at, end_at=spec.end_at, first_seen_at=at
        )
        for slot in (timetable.last_until(at), timetable.next_after(at)):
            if slot is not None and slot.logical_at == at:
                return slot
    return Slot(at, at, at, at)


class LocalRun:
    """One test run."""

    def __init__(self, spec: DagSpec, loaded: LoadedDag, folder: Path, ask: Ask, stream: TextIO) -> None:
        self.spec, self.loaded, self.folder, self.ask, self.stream = spec, loaded, folder, ask, stream
        clock, conf = ask.clock, ask.conf
        self.clock = clock
        self.graph = Graph(spec, 1, 1, {task.task_id: no for no, task in enumerate(spec.tasks, 1)})
        self.state = State(token_prefix="test", capacity=1)
        dag = DagState(DAG, spec.dag_id, 0, self.graph, first_seen_at=clock.micros())
        self.state.dags[DAG], self.state.names[spec.dag_id] = dag, DAG
        now = clock.micros()
        slot = slot_for(spec, now if ask.logical_at is None else ask.logical_at)
        facts = {
            "id": RUN, "run_id": "m-test", "kind": RunKind.MANUAL, "state": RunState.QUEUED, "due_at": slot.due_at,
            "logical_at": slot.logical_at, "interval_start": slot.start_at, "interval_end": slot.end_at,
            "created_at": now, "conf": json.dumps(conf),
        }  # fmt: skip
        self.run = RunView(self.graph, DAG, facts)
        self.params = merge_params(spec.params, conf)
        self.rows, self.values = LocalRows(self.run, conf), LocalValues(folder)
        self.answers = LocalAnswers(self.graph, self.values, self.rows, ask)
        self.waits = LocalWaits(self.answers)
        self.waiting: deque[Launch] = deque()
        self.idle_pokes = 0

    def to_end(self) -> dict[str, Json]:
        """Run until the run is over. Raises Refused when nothing can happen any more."""
        sizes = {task.pool: max(128, task.pool_slots) for task in self.spec.tasks}
        self._turn(Inputs(arrivals=[self.run], pools=[(name, size, size) for name, size in sizes.items()]))
        while self.rows.state.is_active:
            if self.waiting:
                self._take(self.waiting.popleft())
                continue
            due = [at for at in (self.state.next_timer_at(), self.waits.next_at()) if at is not None]
            if not due:
                vain = f"; it waits in vain for {found}" if (found := self.waits.subjects()) else ""
                raise Refused(f"the test run of {self.spec.dag_id} cannot go on: nothing runs and nothing is due{vain}")
            self.clock.jump_to(min(due))
            self._turn(Inputs(fired=self.waits.look(self.clock.micros())))
        return self.rows.to_json()

    def _turn(self, inputs: Inputs) -> None:
        plan = decide(self.state, inputs, self.clock.micros(), 0)
        self.rows.remember(plan)
        self.values.remember(plan)
        self.waits.remember(plan, self.clock.micros())
        self.waiting.extend(plan.launches)
        self._call_back(plan)

    def _take(self, launch: Launch) -> None:
        """One leg of one try, to its end."""
        task = self.graph.tasks[launch.task]
        self._skip_idle_pokes(launch, task)
        place = task.task_id if launch.key[2] < 0 else f"{task.task_id}/{launch.key[2]}"
        if launch.leg == 1:
            self.stream.write(f"[{place}] try {launch.try_no}\n")
        started = self.clock.micros()
        timeout, why = self._time_left(launch, task)
        ended = self._try(task, launch, started, timeout, why)
        result = {**ended, "token": launch.token, "started_at": started, "ended_at": self.clock.micros()}
        frame = ended["frame"] or {}
        if frame.get("branch"):
            frame["branch"] = [one for one in frame["branch"] if self._has(one)]  # others were not selected
        is_poke = ended["outcome"] == "defer" and ended["frame"].get("poke_every_us") is not None
        self.idle_pokes = self.idle_pokes + 1 if is_poke else 0
        if why == Reason.DAGRUN_TIMEOUT and ended.get("reason") == why:
            self.clock.jump_to(started + (timeout or 0))
            self._turn(Inputs())  # the run's own timer stops the try, whose end then counts as stopped
        if ended["outcome"] != "defer":
            self.waits.something_happened(self.clock.micros())
        self._turn(Inputs(results=[result]))
        if ended["outcome"] not in ("succeed", "defer") and ended.get("error"):
            self.stream.write(f"[{place}] {ended['reason']}: {ended['error'].get('message')}\n")

    def _has(self, name: str) -> bool:
        return name in self.graph.index or any(group.group_id == name for group in self.spec.groups)

    def _time_left(self, launch: Launch, task: TaskSpec) -> tuple[int | None, str]:
        """How long the leg may take, and the reason when it takes longer."""
        now = self.clock.micros()
        ends: list[tuple[int, str]] = []
        if task.execution_timeout_us is not None:
            ends.append(((launch.first_started_at or now) + task.execution_timeout_us, Reason.TIMEOUT))
        if self.spec.dagrun_timeout_us is not None and self.run.verdict is None:
            ends.append(((self.run.started_at or now) + self.spec.dagrun_timeout_us, Reason.DAGRUN_TIMEOUT))
        if not ends:
            return None, Reason.TIMEOUT
        at, why = min(ends)
        return max(1, at - now), why

    def _skip_idle_pokes(self, launch: Launch, task: TaskSpec) -> None:
        """A sensor that nobody will satisfy is not poked ten thousand times: its time passes at once."""
        if self.idle_pokes >= IDLE_POKES and task.sensor_timeout_us is not None:
            self.clock.jump_to((launch.first_started_at or self.clock.micros()) + task.sensor_timeout_us)
            self.idle_pokes = 0

    def _try(
        self, task: TaskSpec, launch: Launch, now: int, timeout_us: int | None, why: str
    ) -> dict[str, Json]:  # fmt: skip
        """The leg by a mock's value, a mock's function, here, or in a child; the fields of its result."""
        mock = self.ask.mocks.get(task.task_id)
        body = body_of(mock)
        if task.task_id in self.ask.mocks and body is None:
            frame = given_frame(task, mock)
            return {"outcome": "succeed", "frame": frame, "reason": None, "error": None, "pid": None}
        payload = self._payload(launch, now)
        if body is not None:
            with standing_in(self.loaded.dag, task.task_id, body):
                return run_here(self.loaded, payload, self.answers, debug=self.ask.debug)
        if self.ask.debug or not self.ask.fork or self.loaded.fork_unsafe:
            return run_here(self.loaded, payload, self.answers, debug=self.ask.debug)
        return run_forked(self.loaded, payload, self.answers, timeout_us, task.cancel_grace_us, why)

    def _payload(self, launch: Launch, now: int) -> dict[str, Json]:
        task = self.run.tasks[launch.task]
        pos = task.pos(launch.key[2])
        instance = task.instances.get(pos)
        used = instance.retries_used if instance is not None else 0
        expand = self.graph.expands[launch.task]
        items, sizes = self.values.items(None, self.run, expand, pos) if expand else (None, [])
        return {
            **self._about(launch.key[2]), "task_id": task.spec.task_id, "try_no": launch.try_no, "leg": launch.leg,
            "max_tries": launch.try_no + max(0, task.spec.retries - used), "now": now,
            "state": json.loads(launch.leg_state) if launch.leg_state else None,
            "xcom": self.values.inputs(None, self.run, task, pos), "items": items, "map_sizes": sizes,
            "started_first_at": launch.first_started_at, "callback": None,
            "idempotency_key": f"test/{task.no}/{launch.key[2]}",
        }  # fmt: skip

    def _about(self, map_index: int) -> dict[str, Json]:
        """What every launch of the run is told."""
        run = self.run
        return {
            "dag_id": self.spec.dag_id, "map_index": map_index, "xcom_folder": str(self.folder),
            "inline_limit": INLINE_BYTES, "xcom_limit": LARGEST_BYTES,
            "run": {
                "id": run.id, "run_id": run.run_id, "kind": run.kind.word, "logical_date": run.logical_at,
                "interval_start": run.interval_start, "interval_end": run.interval_end, "due_at": run.due_at,
                "started_at": run.started_at, "conf": json.loads(run.conf), "partition": None, "params": self.params,
                "events": [],
            },
        }  # fmt: skip

    def _call_back(self, plan: Plan) -> None:
        """Run the callbacks that a plan tells of; a failing one is shown and changes nothing."""
        for row in plan.outbox:
            told = json.loads(row.payload)
            if row.topic != "callback":
                continue
            index = told.get("map_index")
            payload = {
                **self._about(-1 if index is None else index), "task_id": told.get("task_id"), "try_no": 1,
                "max_tries": 1, "leg": 1, "state": None, "xcom": {}, "items": None, "map_sizes": [],
                "started_first_at": None, "idempotency_key": "test/callback", "now": self.clock.micros(),
                "callback": {name: told.get(name) for name in ("event", "error", "reason", "index")},
            }  # fmt: skip
            ended = run_forked(self.loaded, payload, self.answers, CALLBACK_US, GRACE_US, Reason.TIMEOUT)
            if ended["outcome"] != "succeed":
                self.stream.write(f"callback {told['event']} failed: {(ended['error'] or {}).get('message')}\n")


def run_dag(spec: DagSpec, loaded: LoadedDag, ask: Ask, stream: TextIO | None = None) -> Shown:
    """Run a DAG to its end here and now. Raises InvalidParams for a conf that the DAG's params refuse."""
    with tempfile.TemporaryDirectory(prefix="dagd-test-") as folder:
        run = LocalRun(spec, loaded, Path(folder), ask, stream or sys.stderr)
        return Shown(run.to_end(), run.values.texts(run.graph))
