"""The records of a history, indexed: which rows are of one instance, what its spec says, what the journal saw of it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

Record = dict[str, Any]
Row = dict[str, Any]
Dump = dict[str, Any]
Instance = tuple[int, int, int]  # run, task_no, map_index

QUEUED, RUNNING, DEFERRED = 1, 2, 3
SUCCESS, FAILED, SKIPPED, CANCELLED, UPSTREAM_FAILED, REMOVED = 10, 11, 12, 13, 14, 15
WORDS = {
    "queued": 1, "running": 2, "deferred": 3, "success": 10, "failed": 11, "skipped": 12, "cancelled": 13,
    "upstream_failed": 14, "removed": 15,
}  # fmt: skip
SCHEDULED, ASSET = 1, 4  # kinds of runs
NEW, DONE = 1, 10  # states of a request
REWRITES = frozenset({"clear", "mark_tasks", "mark_run"})  # requests that may change what has ended


class Violation(NamedTuple):
    """One thing that must not be: which invariant, of what, and the records that show it."""

    invariant: str
    subject: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.subject}: {self.evidence}"


@dataclass
class Facts:
    """Everything that `checker.check` was given."""

    journal: list[Record]
    faults: list[Record] | None
    acknowledged: list[Record]
    dump: Dump
    earlier: list[Dump]
    quiet: bool
    witnessed: set[tuple[str, str]] | None
    tolerance_us: int

    def rows(self, table: str) -> list[Row]:
        """The rows of a table at the end."""
        return list(self.dump["tables"].get(table, ()))

    def has(self, table: str) -> bool:
        """Whether the dump has that table at all."""
        return table in self.dump["tables"]

    # --- runs -----------------------------------------------------------------------------------------------------

    @cached_property
    def dags(self) -> dict[int, Row]:
        """DAG rows by id."""
        return {row["id"]: row for row in self.rows("dag")}

    @cached_property
    def dag_names(self) -> dict[str, Row]:
        """DAG rows by name."""
        return {row["name"]: row for row in self.rows("dag")}

    @cached_property
    def runs(self) -> dict[int, Row]:
        """Run rows by id."""
        return {row["id"]: row for row in self.rows("dag_run")}

    @cached_property
    def run_ids(self) -> dict[tuple[str, str], int]:
        """(dag, run as users see it) -> the id of its row."""
        return {(self.dag_of(row), row["run_id"]): row["id"] for row in self.rows("dag_run")}

    def dag_of(self, run: Row) -> str:
        """The name of a run's DAG."""
        dag = self.dags.get(run["dag_id"])
        return str(dag["name"]) if dag is not None else f"dag {run['dag_id']}"

    def run_name(self, run: int) -> str:
        """dag/run."""
        row = self.runs.get(run)
        return f"run {run}" if row is None else f"{self.dag_of(row)}/{row['run_id']}"

    @cached_property
    def specs(self) -> dict[int, Any]:
        """The compiled DAG of each version; `tasks` by task_id in `by_id`."""
        found = {}
        for row in self.rows("dag_version"):
            spec = json.loads(row["spec"]) if isinstance(row["spec"], str) else row["spec"]
            found[row["id"]] = {**spec, "by_id": {task["task_id"]: task for task in spec["tasks"]}}
        return found

    def spec_of(self, run: int) -> Any | None:
        """The compiled DAG of a run's version."""
        row = self.runs.get(run)
        return None if row is None else self.specs.get(row["version_id"])

    def specs_of_dag(self, dag_id: int) -> list[Any]:
        """The compiled DAG of every version."""
        return [self.specs[row["id"]] for row in self.rows("dag_version") if row["dag_id"] == dag_id]

    @cached_property
    def rewritten(self) -> set[int]:
        """Runs of which somebody cleared or marked something."""
        asked = {row["run_id"] for row in self.rows("command") if row["kind"] in REWRITES}
        return asked | {row["run_id"] for row in self.rows("attempt") if row["superseded_by"] is not None}

    @cached_property
    def marred(self) -> set[int]:
        """Runs of which a task ended badly, however the run did."""
        bad = {FAILED, CANCELLED, UPSTREAM_FAILED}
        return {row["run_id"] for row in self.rows("attempt") if row["state"] in bad and row["superseded_by"] is None}

    # --- tasks and tries ------------------------------------------------------------------------------------------

    @cached_property
    def task_ids(self) -> dict[tuple[int, int], str]:
        """(dag id, task_no) -> task_id."""
        return {(row["dag_id"], row["task_no"]): row["task_id"] for row in self.rows("task")}

    @cached_property
    def task_nos(self) -> dict[tuple[int, str], int]:
        """(dag id, task_id) -> task_no."""
        return {(dag, name): no for (dag, no), name in self.task_ids.items()}

    @cached_property
    def attempts(self) -> dict[Instance, list[Row]]:
        """The rows of each instance by try_no; 0 is one that was settled without running."""
        found: dict[Instance, list[Row]] = defaultdict(list)
        for row in sorted(self.rows("attempt"), key=lambda row: row["try_no"]):
            found[row["run_id"], row["task_no"], row["map_index"]].append(row)
        return dict(found)

    @cached_property
    def tries(self) -> dict[Instance, list[Row]]:
        """As `attempts`, tries alone."""
        return {key: [row for row in rows if row["try_no"]] for key, rows in self.attempts.items()}

    def task_of(self, instance: Instance) -> Any | None:
        """The compiled task of an instance."""
        run, spec = self.runs.get(instance[0]), self.spec_of(instance[0])
        name = None if run is None else self.task_ids.get((run["dag_id"], instance[1]))
        return None if spec is None or name is None else spec["by_id"].get(name)

    def name(self, instance: Instance, try_no: int | None = None) -> str:
        """dag/run/task[index] try n."""
        run = self.runs.get(instance[0])
        task = f"task {instance[1]}" if run is None else self.task_ids.get((run["dag_id"], instance[1]), "?")
        index = "" if instance[2] < 0 else f"[{instance[2]}]"
        return f"{self.run_name(instance[0])}/{task}{index}" + ("" if try_no is None else f" try {try_no}")

    # --- what the journal saw -------------------------------------------------------------------------------------

    def instance_of(self, record: Record) -> Instance | None:
        """The instance that a record of the journal or of an answer is about, when its rows are known."""
        run = self.run_ids.get((record["dag"], record["run"]))
        if run is None:
            return None
        no = self.task_nos.get((self.runs[run]["dag_id"], record["task"]))
        return None if no is None else (run, no, record.get("index", -1))

    @cached_property
    def seen(self) -> dict[tuple[str, str, str, int], list[Record]]:
        """The journal's records of each (dag, run, task, index), by instant."""
        found: dict[tuple[str, str, str, int], list[Record]] = defaultdict(list)
        for record in sorted(self.journal, key=lambda record: record["at"]):
            found[record["dag"], record["run"], record["task"], record.get("index", -1)].append(record)
        return dict(found)

    def seen_of(self, instance: Instance, word: str, try_no: int) -> list[Record]:
        """What the journal has of one try."""
        run = self.runs[instance[0]]
        task = self.task_ids.get((run["dag_id"], instance[1]), "")
        records = self.seen.get((self.dag_of(run), run["run_id"], task, instance[2]), ())
        return [record for record in records if record["word"] == word and record["try"] == try_no]

    def is_witnessed(self, dag: str, task: str) -> bool:
        """Whether the bodies of that task write to the journal."""
        if self.witnessed is not None:
            return (dag, task) in self.witnessed
        return any(record["dag"] == dag for record in self.journal)


def word_of(record: Record) -> str:
    """dag/run/task[index] try n of a record."""
    index = record.get("index", -1)
    place = f"[{index}]" if index >= 0 else ""
    return f"{record['dag']}/{record['run']}/{record['task']}{place} try {record['try']}"
