"""What a test run would have stored: instances, values and the run, in memory; their JSON as `runs show` gives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dagd.decide.graph import Graph
from dagd.decide.results import RENDERED
from dagd.decide.state import RunView, TaskState
from dagd.engine.items import Items, Stored
from dagd.model.plans import End, InstanceKey, Plan
from dagd.model.states import ATTEMPT_MOVES, RUN_MOVES, AttemptState, Charge, RunState
from dagd.model.times import iso
from dagd.runtime.values import RETURN_KEY
from dagd.runtime.xcom import decode

Row = dict[str, Any]


class LocalValues(Items):
    """XCom of a test run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: dict[tuple[int, str], dict[int, tuple[str | None, str | None]]] = {}

    def remember(self, plan: Plan) -> None:
        """Take the values of a plan."""
        for value in plan.xcoms:
            self.rows.setdefault((value.key[1], value.name), {})[value.key[2]] = (value.text, value.file)

    def stored(self, rows: Any, run: RunView, task: TaskState, key: str, index: int | None = None) -> Stored:
        """Everything a task pushed under `key`, or what one of its instances did."""
        return [row for row in self.of_number(task.no, key) if index in (None, row[0])]

    def of_number(self, task_no: int, key: str) -> Stored:
        """The same by the task's number."""
        return [(index, text, file) for index, (text, file) in sorted(self.rows.get((task_no, key), {}).items())]

    def texts(self, graph: Graph) -> dict[str, dict[str, dict[int, str]]]:
        """Every value as text: task_id -> key -> map_index. For after the folder of the large ones is gone."""
        found: dict[str, dict[str, dict[int, str]]] = {}
        for i in graph.in_order():
            for (no, key), stored in self.rows.items():
                if no == graph.nos[i]:
                    texts = {index: self._text(*one) or "null" for index, one in sorted(stored.items())}
                    found.setdefault(graph.tasks[i].task_id, {})[key] = texts
        return found


class Shown(dict[str, Any]):
    """A finished test run: the JSON of `runs show`, with what tests ask for as methods."""

    def __init__(self, row: Row, texts: dict[str, dict[str, dict[int, str]]]) -> None:
        super().__init__(row)
        self._texts = texts

    @property
    def state(self) -> str:
        """success or failed."""
        return str(self["state"])

    @property
    def states(self) -> dict[str, str]:
        """Each instance's state, by task_id or task_id/index."""
        names = [(one["task_id"], one["map_index"], one["state"]) for one in self["tasks"]]
        return {name if index < 0 else f"{name}/{index}": state for name, index, state in names}

    def value(self, task_id: str, key: str = RETURN_KEY, default: Any = None) -> Any:
        """What a task returned, or pushed under `key`; of a mapped task the list of its instances' values."""
        texts = self._texts.get(task_id, {}).get(key)
        if texts is None:
            return default
        return decode(texts[-1]) if -1 in texts else [decode(text) for text in texts.values()]

    def xcoms(self, task_id: str) -> dict[str, Any]:
        """Everything that a task pushed, by key."""
        return {key: self.value(task_id, key) for key in self._texts.get(task_id, {}) if key != RENDERED}

    def rendered(self, task_id: str) -> dict[str, str]:
        """A task's template fields as they became; of a mapped task those of its first instance."""
        found = self.value(task_id, RENDERED, {})
        return dict(found[0] if isinstance(found, list) else found)


class LocalRows:
    """Instances and the run, as the plans of a test run left them."""

    def __init__(self, run: RunView, request: Row) -> None:
        self.run, self.request = run, request
        self.state, self.reason = run.state, run.reason
        self.started_at: int | None = None
        self.ended_at: int | None = None
        self.instances: dict[InstanceKey, Row] = {}
        self.charged: dict[InstanceKey, int] = {}

    def remember(self, plan: Plan) -> None:
        """Take what a plan concluded."""
        for born in plan.enqueues:
            state = AttemptState.QUEUED
            self._row(born.key).update(state=state, queued_at=born.at, number=born.try_no, started_at=None, **_BLANK)
        for end in [*plan.ends, *plan.instant_ends]:
            self._end(end)
        for wait in plan.deferrals:
            self._row(wait.key).update(state=AttemptState.DEFERRED, started_at=wait.started_at)
        for one in plan.settles:
            state = AttemptState(ATTEMPT_MOVES[one.event].target)
            self._row(one.key).update(state=state, reason=one.reason, ended_at=one.at)
        for move in plan.run_moves:
            self.state = RunState(RUN_MOVES[move.event].target)
            if move.event == "start":
                self.started_at = move.at
            else:
                self.ended_at, self.reason = move.at, move.reason

    def _row(self, key: InstanceKey) -> Row:
        return self.instances.setdefault(key, {"number": 0, "queued_at": None, "started_at": None, **_BLANK})

    def _end(self, end: End) -> None:
        row = self._row(end.key)
        state = AttemptState(ATTEMPT_MOVES[end.event].target)
        self.charged[end.key] = self.charged.get(end.key, 0) + (end.charged == Charge.RETRIES)
        row.update(
            state=state, started_at=end.started_at, ended_at=end.ended_at, reason=end.reason, error=end.error,
            pid=end.pid, exit_code=end.exit_code, signal=end.signal, label=end.label,
        )  # fmt: skip

    def to_json(self) -> Row:
        """The run with its tasks, as `runs show` prints it."""
        run = self.run
        return {
            "dag_id": run.graph.spec.dag_id, "run_id": run.run_id, "kind": run.kind.word, "state": self.state.word,
            "logical_date": iso(run.logical_at), "data_interval_start": iso(run.interval_start),
            "data_interval_end": iso(run.interval_end), "created_at": iso(run.created_at),
            "started_at": iso(self.started_at), "ended_at": iso(self.ended_at),
            "duration_s": _between(self.started_at, self.ended_at), "conf": self.request, "version": None,
            "request_key": None, "backfill_id": None, "partition": None, "events": [], "due_at": iso(run.due_at),
            "reason": self.reason, "tasks": [row for i in run.graph.in_order() for row in self._tasks(i)],
        }  # fmt: skip

    def _tasks(self, i: int) -> list[Row]:
        no = self.run.graph.nos[i]
        found = [(key[2], row) for key, row in sorted(self.instances.items()) if key[1] == no]
        rest = self.run.tasks[i].rest if self.run.tasks else None
        if rest is not None:  # one row speaks for the indices that never began
            speaks = next(row for index, row in found if index == -1)
            others = [self._task(i, index, row) for index, row in found if index != -1]
            return [*others, {**self._task(i, -1, speaks), "map_index": None, "count": len(rest[1])}]
        return [self._task(i, index, row) for index, row in found] or [self._task(i, -1, dict(_BLANK, number=0))]

    def _task(self, i: int, index: int, row: Row) -> Row:
        spec = self.run.graph.tasks[i]
        left = spec.retries - self.charged.get((self.run.id, self.run.graph.nos[i], index), 0)
        said, place = _error(row.get("error"))
        state, started, queued = row.get("state"), row.get("started_at"), row.get("queued_at")
        return {
            "task_id": spec.task_id, "map_index": index, "state": state.word if state else "none",
            "try": row["number"], "max_tries": max(1, row["number"] + max(0, left)), "isolation": spec.isolation,
            "pool": spec.pool, "queued_at": iso(queued), "started_at": iso(started),
            "ended_at": iso(row.get("ended_at")), "duration_s": _between(started, row.get("ended_at")),
            "waited_s": _between(queued, started), "reason": row.get("reason"), "error": said, "error_at": place,
            "agent": None, "pid": row.get("pid"), "exit_code": row.get("exit_code"), "signal": row.get("signal"),
            "label": row.get("label"),
        }  # fmt: skip


_BLANK: Row = dict.fromkeys(("ended_at", "reason", "error", "pid", "exit_code", "signal", "label"))


def _between(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else round((end - start) / 1_000_000, 6)


def _error(text: str | None) -> tuple[str | None, str | None]:
    """An error's sentence as Python prints it, and its place."""
    if text is None:
        return None, None
    found = json.loads(text)
    said = ": ".join(part for part in (found.get("type"), str(found.get("message") or "")) if part)
    place = f"{found['file']}:{found['line']}" if found.get("file") and found.get("line") else found.get("file")
    return said, place
