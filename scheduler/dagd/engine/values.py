"""XCom for launches: recent values from memory, others from the database; a mapped instance gets its own item only."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from dagd.decide.state import RunView, TaskState
from dagd.engine.items import Items, Stored
from dagd.model.plans import Plan
from dagd.store import facts
from dagd.store.database import Connection

RECENT_BYTES = 8 << 20


class Values(Items):
    """Values of running runs by (run, task_no, key). What a commit stored last is at hand without a query."""

    def __init__(self, xcom_folder: Path) -> None:
        super().__init__(xcom_folder)
        self._recent: OrderedDict[tuple[int, int, str], Stored] = OrderedDict()
        self._bytes = 0

    def remember(self, plan: Plan) -> None:
        """Keep the unmapped values of a committed plan; what a clear removed is forgotten."""
        for row in plan.supersedes:
            self.forget_run(row.key[0])
        for value in plan.xcoms:
            run, task_no, index = value.key
            if index != -1 or value.size > RECENT_BYTES // 8:
                continue
            key = (run, task_no, value.name)
            self._recent[key] = [(-1, value.text, value.file)]
            self._bytes += value.size
        while self._bytes > RECENT_BYTES and self._recent:
            _, stored = self._recent.popitem(last=False)
            self._bytes -= sum(len(text or "") for _, text, _ in stored)

    def forget_run(self, run: int) -> None:
        """Drop what is kept of a run."""
        for table in (self._recent, self._split):
            for key in [key for key in table if key[0] == run]:
                del table[key]

    def stored(self, rows: Connection, run: RunView, task: TaskState, key: str) -> Stored:
        """Everything a task pushed under `key`."""
        found = self._recent.get((run.id, task.no, key))
        if found is not None:
            return found
        found_rows = facts.xcom_values(rows, run.id, task.no, key)
        return [(row.map_index, row.body, row.file) for row in found_rows]
