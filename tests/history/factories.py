"""One small good history, as plain records: a bad one says what it breaks in it."""

from __future__ import annotations

import json
from typing import Any

from tests.history.checker import check
from tests.history.facts import Record, Row, Violation

NOW = 1_800_000_000_000_000
S = 1_000_000
TASK = {
    "upstreams": [], "trigger_rule": "all_success", "retries": 1, "infra_retries": 1, "on_lost": "retry",
    "pool": "narrow", "pool_slots": 1, "isolation": "fork", "outlets": [], "mapped_group": None, "is_teardown": False,
    "max_active_tis_per_dag": None, "max_active_tis_per_dagrun": None,
}  # fmt: skip
SALES = {
    "schedule": {"kind": "delta", "micros": 10 * S}, "start_at": NOW, "catchup": True, "condition": None,
    "max_active_tasks": 2, "max_active_runs": 1, "trigger_mode": "coalesce",
    "tasks": [{**TASK, "task_id": "a", "outlets": ["orders"]}, {**TASK, "task_id": "b", "upstreams": ["a"]}],
}  # fmt: skip
READER = {
    **SALES, "schedule": {"kind": "none"}, "condition": ["asset", "orders"], "tasks": [{**TASK, "task_id": "r"}],
}  # fmt: skip


def attempt(run: int, no: int, number: int, queued: int, ended: int | None, state: int = 10, **more: Any) -> Row:
    """A try of task `no`; instants are seconds after NOW."""
    return {
        "run_id": run, "task_no": no, "map_index": -1, "try_no": number, "token": f"t{run}.{no}.{number}", "leg": 1,
        "state": state, "queued_at": NOW + queued * S, "ended_at": None if ended is None else NOW + ended * S,
        "pid": 7, "reason": None, "charged": 0, "next_try_at": None, "superseded_by": None, "exit_code": None,
        "signal": None, **more,
    }  # fmt: skip


class Story:
    """A good history: two slots of `sales` and the asset runs of `reader` that follow. Every field may be spoiled."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {
            "dag": [self.dag(1, "sales", last_slot=NOW + 10 * S), self.dag(2, "reader")],
            "dag_version": [
                {"id": 1, "dag_id": 1, "spec": json.dumps(SALES)}, {"id": 2, "dag_id": 2, "spec": json.dumps(READER)}
            ],
            "task": [
                {"dag_id": 1, "task_no": 1, "task_id": "a"}, {"dag_id": 1, "task_no": 2, "task_id": "b"},
                {"dag_id": 2, "task_no": 1, "task_id": "r"},
            ],
            "pool": [{"name": "narrow", "slots": 1}],
            "dag_run": [
                self.run(11, 1, 0, 1, 5), self.run(12, 1, 10, 11, 15), self.run(21, 2, 3, 5, 6, kind=4, slot=None),
                self.run(22, 2, 13, 15, 16, kind=4, slot=None),
            ],
            "attempt": [
                attempt(11, 1, 1, 1, 2, 11, reason="exception", charged=1, next_try_at=NOW + 2 * S),
                attempt(11, 1, 2, 2, 3), attempt(11, 2, 1, 3, 4), attempt(21, 1, 1, 5, 6),
                attempt(12, 1, 1, 11, 12), attempt(12, 2, 1, 12, 13), attempt(22, 1, 1, 15, 16),
            ],
            "command": [],
            "asset": [{"id": 1, "key": "orders"}],
            "asset_event": [self.event(31, 11, 2, 3), self.event(32, 12, 1, 12)],
            "asset_sub": [{"dag_id": 2, "asset_id": 1}],
            "asset_delivery": [
                {"dag_id": 2, "event_id": 31, "run_id": 21, "dropped_at": None},
                {"dag_id": 2, "event_id": 32, "run_id": 22, "dropped_at": None},
            ],
            "xcom": [], "deadline": [], "outbox": [], "variable": [],
            "backfill": [],
            "scheduler": [{"id": 5, "alive": True, "heartbeat": NOW + 99 * S}],
            "shard": [{"id": 1, "owner": 5}],
        }  # fmt: skip
        self.journal: list[Record] = []
        for row in self.tables["attempt"]:
            self.body(row, row["state"] == 10)
        self.faults: list[Record] | None = []
        self.told: list[Record] = []
        self.earlier: list[dict[str, Any]] = []
        self.dump: dict[str, Any] = {"at": NOW + 100 * S, "tables": self.tables}

    @staticmethod
    def dag(number: int, name: str, **more: Any) -> Row:
        return {
            "id": number, "name": name, "shard": 1, "paused": False, "held": None, "missing_since": None,
            "first_seen_at": NOW - S, "current_version": number, "last_slot": None, **more,
        }  # fmt: skip

    @staticmethod
    def run(number: int, dag: int, due: int, started: int | None, ended: int | None, **more: Any) -> Row:
        at = NOW + due * S
        return {
            "id": number, "dag_id": dag, "run_id": f"r{number}", "kind": 1, "state": 10 if ended else 2,
            "version_id": dag, "due_at": at, "slot": at, "request_key": None, "created_at": at, "verdict": None,
            "started_at": None if started is None else NOW + started * S,
            "ended_at": None if ended is None else NOW + ended * S, **more,
        }  # fmt: skip

    @staticmethod
    def event(number: int, run: int, try_no: int, at: int) -> Row:
        return {
            "id": number, "asset_id": 1, "partition_key": "", "kind": 1, "dag_id": 1, "run_id": run, "task_no": 1,
            "map_index": -1, "try_no": try_no, "source_key": f"t{run}.1.{try_no}", "ts": NOW + at * S,
        }  # fmt: skip

    def body(self, row: Row, ends: bool = True, **more: Any) -> None:
        """What the body of a try writes to the journal."""
        run = next(one for one in self.tables["dag_run"] if one["id"] == row["run_id"])
        said = {
            "dag": "sales" if run["dag_id"] == 1 else "reader", "run": run["run_id"], "index": -1,
            "task": "ab"[row["task_no"] - 1] if run["dag_id"] == 1 else "r", "try": row["try_no"],
            "token": row["token"], "pid": row["pid"], **more,
        }  # fmt: skip
        self.journal.append({"word": "begin", "at": row["queued_at"] + 1000, **said})
        if ends:
            self.journal.append({"word": "end", "at": row["ended_at"] - 1000, **said})

    def say(self, word: str, at: int, number: int = 2, **more: Any) -> None:
        """One more line of the journal, of task a of the first run."""
        said = {"dag": "sales", "run": "r11", "task": "a", "index": -1, "try": number, "token": f"t11.1.{number}"}
        self.journal.append({"word": word, "at": NOW + at, **said, **more})

    def tell(self, op: str, at: int = 0, **more: Any) -> None:
        """Somebody was told that an operation is done."""
        self.told.append({"op": op, "at": NOW + at * S, **more})

    def request(self, kind: str = "clear", state: int = 10, run: int = 11, **more: Any) -> None:
        """A request of a run, of id 1 unless said otherwise."""
        done = NOW + 5 * S if state == 10 else None
        row = {"id": 1, "kind": kind, "dag_id": 1, "run_id": run, "state": state, "created_at": NOW, "done_at": done}
        self.tables["command"].append({**row, **more})

    def backfill(self, **more: Any) -> None:
        """A backfill of two slots, one of them kept, that is done."""
        row = {
            "id": 1, "dag_id": 1, "state": 10, "max_active": 2, "reprocess": 0, "slots": 2, "done": 2, "success": 1,
            "failed": 0, "kept": 1, "ended_at": NOW + 6 * S,
        }  # fmt: skip
        self.tables["backfill"].append({**row, **more})

    def row(self, run: int, no: int, number: int) -> Row:
        """A try's row."""
        return next(
            one for one in self.tables["attempt"] if (one["run_id"], one["task_no"], one["try_no"]) == (run, no, number)
        )

    def one(self, table: str, number: int) -> Row:
        """A row by its id."""
        return next(one for one in self.tables[table] if one["id"] == number)

    def drop(self, table: str, at: int) -> None:
        """Take the row at a place away."""
        del self.tables[table][at]

    def spec(self, **more: Any) -> None:
        """Change what both tasks of `sales` say."""
        tasks = [{**task, **more} for task in SALES["tasks"]]  # type: ignore[dict-item,attr-defined]
        self.tables["dag_version"][0]["spec"] = json.dumps({**SALES, "tasks": tasks})

    def remember(self) -> None:
        """Take an earlier dump of what is now."""
        self.earlier.append(json.loads(json.dumps(self.dump)))

    def judge(self, **more: Any) -> list[Violation]:
        """What the checker says, quiet unless told otherwise."""
        more = {"quiet": True, **more}
        return check(self.journal, self.faults, self.told, self.dump, earlier=self.earlier, **more)
