"""What a launch carries of other tasks' values: what its arguments name, and a mapped instance's own item."""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from typing import Any

from dagd.decide.mapping import source_length
from dagd.decide.state import RunView, TaskState
from dagd.model.specs import ExpandSpec, MapSource
from dagd.model.states import AttemptState
from dagd.runtime.values import RETURN_KEY
from dagd.runtime.xcom import split_items

SPLIT_VALUES = 16
SPILLED = re.compile(r"[0-9a-f]{64}")

Stored = list[tuple[int, str | None, str | None]]  # (map_index, text, file), by map_index


class Items(ABC):
    """Reads values for launches. Where they are stored a derived class knows: `rows` is what it reads from."""

    def __init__(self, xcom_folder: Path) -> None:
        self._folder = xcom_folder
        self._split: OrderedDict[tuple[int, int, str], list[str]] = OrderedDict()

    @abstractmethod
    def stored(self, rows: Any, run: RunView, task: TaskState, key: str, index: int | None = None) -> Stored:
        """Everything a task pushed under `key`, or what one of its instances did."""

    def inputs(self, rows: Any, run: RunView, task: TaskState, pos: int) -> dict[str, Any]:
        """What the arguments of an instance name, as the launch frame carries it. Of its own mapped group an instance
        gets the values of its own index alone: all of them for each would be a square."""
        found: dict[str, Any] = {}
        for task_id, key in task.spec.xcom_inputs:
            i = run.graph.index.get(task_id)
            if i is None:
                continue
            source = run.tasks[i]
            is_near = run.graph.same_scope(i, task.i) and not source.is_whole
            place = pos if is_near else 0
            stored = self.stored(rows, run, source, key, pos if is_near else None)
            if source.is_mapped and not is_near:
                items = [[index, self._text(text, file)] for index, text, file in stored]
                found[f"{task_id}|{key}"] = {"kind": "mapped", "items": items}
            elif stored:
                _, text, file = stored[0]
                one = {"kind": "file", "path": str(self._folder / file)} if file else {"kind": "value", "text": text}
                found[f"{task_id}|{key}"] = {**one, "index": pos} if is_near else one
            elif key != RETURN_KEY and source.states[place] == AttemptState.SUCCESS:
                found[f"{task_id}|{key}"] = {"kind": "missing"}  # it had its say: a task that takes this value fails
        return found

    def _text(self, text: str | None, file: str | None) -> str | None:
        return read_spilled(self._folder, file) if file else text

    def items(self, rows: Any, run: RunView, expand: ExpandSpec, pos: int) -> tuple[dict[str, str | None], list[int]]:
        """The items of index `pos` by argument name (None: the process has the literal), and the source lengths."""
        lists = [self._items_of(rows, run, source) for source in expand.sources]
        sizes = [source_length(run, source) for source in expand.sources]
        found: dict[str, str | None] = {}
        rest = pos
        for at in range(len(sizes) - 1, -1, -1):
            rest, place = divmod(rest, sizes[at]) if sizes[at] else (0, 0)
            name = expand.names[at] if expand.kind == "product" else ""
            values = lists[at]
            found[name] = None if values is None else values[place]
        return found, sizes

    def _items_of(self, rows: Any, run: RunView, source: MapSource) -> list[str] | None:
        """The items of a source as encoded texts; None for a literal, which the task's process has itself."""
        if source.kind == "literal":
            return None
        if source.kind != "xcom":
            return self._joined(rows, run, source)
        task = run.tasks[run.graph.index[source.task_id]]
        key = (run.id, task.no, source.key)
        if key not in self._split:
            stored = self.stored(rows, run, task, source.key)
            if task.is_mapped:
                self._split[key] = [self._text(text, file) or "null" for _, text, file in stored]
            else:
                self._split[key] = split_items(self._text(stored[0][1], stored[0][2]) or "null") if stored else []
            while len(self._split) > SPLIT_VALUES:
                self._split.popitem(last=False)
        self._split.move_to_end(key)
        return self._split[key]

    def _joined(self, rows: Any, run: RunView, source: MapSource) -> list[str] | None:
        parts = [self._items_of(rows, run, part) for part in source.parts]
        if any(part is None for part in parts):
            return None  # the task's process joins literals and values itself
        known = [part for part in parts if part is not None]
        if source.kind == "concat":
            return [item for part in known for item in part]
        length = (max if source.longest else min)(len(part) for part in known)
        return ["[" + ",".join(part[at] if at < len(part) else "null" for part in known) + "]" for at in range(length)]


def read_spilled(folder: Path, name: str) -> str:
    """A value that a task left in a file. Tasks can write into the folder: what is no plain file there, under the name
    that a hash gives, is not followed. Raises ValueError, OSError."""
    if not SPILLED.fullmatch(name):
        raise ValueError(f"{name!r:.80} is no name of a stored value")
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{name} is no file")
        return file.read()
