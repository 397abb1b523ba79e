"""XCom for launches: recent values from memory, others from the database; a mapped instance gets its own item only."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from dagd.decide.state import RunView, TaskState
from dagd.engine.items import Items, Stored
from dagd.model.plans import Plan
from dagd.store import facts
from dagd.store.database import LazyRead

RECENT_BYTES = 8 << 20


class Values(Items):
    """Values of running runs by (run, task_no, key). What a commit stored last is at hand without a query."""

    def __init__(self, xcom_folder: Path) -> None:
        super().__init__(xcom_folder)
        self._recent: OrderedDict[int, dict[tuple[int, str], Stored]] = OrderedDict()
        self._bytes: dict[int, int] = {}
        self._total = 0

    def remember(self, plan: Plan) -> None:
        """Keep the unmapped values of a committed plan; what a clear removed is forgotten."""
        for row in plan.supersedes:
            self.forget_run(row.key[0])
        for value in plan.xcoms:
            run, task_no, index = value.key
            if index != -1 or value.size > RECENT_BYTES // 8:
                continue
            self._recent.setdefault(run, {})[(task_no, value.name)] = [(-1, value.text, value.file)]
            self._bytes[run] = self._bytes.get(run, 0) + value.size
            self._total += value.size
        while self._total > RECENT_BYTES:
            self._drop_recent(next(iter(self._recent)))

    def _drop_recent(self, run: int) -> None:
        self._recent.pop(run, None)
        self._total -= self._bytes.pop(run, 0)

    def forget_run(self, run: int) -> None:
        """Drop what is kept of a run."""
        self._drop_recent(run)
        for key in [key for key in self._split if key[0] == run]:
            del self._split[key]

    def stored(self, read: LazyRead, run: RunView, task: TaskState, key: str, index: int | None = None) -> Stored:
        """Everything a task pushed under `key`, or what one of its instances did."""
        found = self._recent.get(run.id, {}).get((task.no, key))
        if found is not None:
            return found
        rows = facts.xcom_values(read.connection, run.id, task.no, key, index)
        return [(row.map_index, row.body, row.file) for row in rows]
