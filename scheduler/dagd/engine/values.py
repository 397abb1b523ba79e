"""XCom for launches: recent values from memory, others from the database; a mapped instance gets its own item only."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from dagd.decide.state import RunView, TaskState
from dagd.model.plans import Plan
from dagd.model.specs import ExpandSpec, MapSource
from dagd.runtime.xcom import split_items
from dagd.store import facts
from dagd.store.database import Connection

RECENT_BYTES = 8 << 20
SPLIT_VALUES = 16

Stored = list[tuple[int, str | None, str | None]]  # (map_index, text, file), by map_index


class Values:
    """Values of running runs by (run, task_no, key). What a commit stored last is at hand without a query."""

    def __init__(self, xcom_folder: Path) -> None:
        self._folder = xcom_folder
        self._recent: OrderedDict[tuple[int, int, str], Stored] = OrderedDict()
        self._bytes = 0
        self._split: OrderedDict[tuple[int, int, str], list[str]] = OrderedDict()

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

    def stored(self, connection: Connection, run: RunView, task: TaskState, key: str) -> Stored:
        """Everything a task pushed under `key`."""
        found = self._recent.get((run.id, task.no, key))
        if found is not None:
            return found
        rows = facts.xcom_values(connection, run.id, task.no, key)
        return [(row.map_index, row.body, row.file) for row in rows]

    def inputs(self, connection: Connection, run: RunView, task: TaskState) -> dict[str, Any]:
        """What the task's arguments name, as the launch frame carries it."""
        found: dict[str, Any] = {}
        for task_id, key in task.spec.xcom_inputs:
            i = run.graph.index.get(task_id)
            if i is None:
                continue
            source = run.tasks[i]
            rows = self.stored(connection, run, source, key)
            if source.is_mapped:
                items = [[index, self._text(text, file)] for index, text, file in rows]
                found[f"{task_id}|{key}"] = {"kind": "mapped", "items": items}
            elif rows:
                _, text, file = rows[0]
                one = {"kind": "file", "path": str(self._folder / file)} if file else {"kind": "value", "text": text}
                found[f"{task_id}|{key}"] = one
        return found

    def _text(self, text: str | None, file: str | None) -> str | None:
        return (self._folder / file).read_text("utf-8") if file else text

    def items(
        self, connection: Connection, run: RunView, expand: ExpandSpec, pos: int
    ) -> tuple[dict[str, str | None], list[int]]:
        """The items of index `pos` by argument name (None: the process has the literal), and the source lengths."""
        lists = [self._items_of(connection, run, source) for source in expand.sources]
        sizes = [
            source.count if values is None else len(values)
            for source, values in zip(expand.sources, lists, strict=True)
        ]
        found: dict[str, str | None] = {}
        rest = pos
        for at in range(len(sizes) - 1, -1, -1):
            rest, place = divmod(rest, sizes[at]) if sizes[at] else (0, 0)
            name = expand.names[at] if expand.kind == "product" else ""
            values = lists[at]
            found[name] = None if values is None else values[place]
        return found, sizes

    def _items_of(self, connection: Connection, run: RunView, source: MapSource) -> list[str] | None:
        """The items of a source as encoded texts; None for a literal, which the task's process has itself."""
        if source.kind == "literal":
            return None
        if source.kind != "xcom":
            return self._joined(connection, run, source)
        task = run.tasks[run.graph.index[source.task_id]]
        key = (run.id, task.no, source.key)
        if key not in self._split:
            rows = self.stored(connection, run, task, source.key)
            if task.is_mapped:
                self._split[key] = [self._text(text, file) or "null" for _, text, file in rows]
            else:
                self._split[key] = split_items(self._text(rows[0][1], rows[0][2]) or "null") if rows else []
            while len(self._split) > SPLIT_VALUES:
                self._split.popitem(last=False)
        self._split.move_to_end(key)
        return self._split[key]

    def _joined(self, connection: Connection, run: RunView, source: MapSource) -> list[str] | None:
        parts = [self._items_of(connection, run, part) for part in source.parts]
        if any(part is None for part in parts):
            return None  # the task's process joins literals and values itself
        known = [part for part in parts if part is not None]
        if source.kind == "concat":
            return [item for part in known for item in part]
        length = (max if source.longest else min)(len(part) for part in known)
        return ["[" + ",".join(part[at] if at < len(part) else "null" for part in known) + "]" for at in range(length)]
