"""References as people type them: DAG, DAG/RUN, DAG/RUN/TASK, DAG/RUN/TASK/MAP, with the plus of up- and downstream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagd.cli.context import is_id
from dagd.model.errors import NotFound, UsageError, did_you_mean
from dagd.store import reads, reads_runs

PARTS = ("DAG", "RUN", "TASK", "MAP")
WORDS = {"latest": False, "latest-failed": True}


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference, read. `up`, `down`: the task's upstreams, its downstreams too."""

    dag: str
    run: str | None = None
    task: str | None = None
    index: int | None = None
    up: bool = False
    down: bool = False

    def __str__(self) -> str:
        task = None if self.task is None else f"{'+' * self.up}{self.task}{'+' * self.down}"
        index = None if self.index is None else str(self.index)
        return "/".join(part for part in (self.dag, self.run, task, index) if part is not None)


def parse(text: str) -> Ref:
    """Read a reference. Raises NotFound for what can name nothing."""
    parts = text.split("/")
    if len(parts) > len(PARTS) or not all(parts):
        raise NotFound(f"{text!r} names nothing", remedy=f"A reference is {'/'.join(PARTS)}, or its beginning.")
    known: list[str | None] = [*parts]
    dag, run, task, index = known + [None] * (len(PARTS) - len(parts))
    up = task is not None and len(task) > 1 and task.startswith("+")
    down = task is not None and len(task) > 1 and task.endswith("+")
    if task is not None:
        task = task.removeprefix("+") if up else task
        task = task.removesuffix("+") if down else task
    return Ref(str(dag), run, task, None if index is None else _index(index, text), up, down)


def dag_alone(text: str) -> str:
    """The DAG of a reference that may name nothing else. Raises NotFound: `DAG/RUN` must not act on the whole DAG."""
    ref = parse(text)
    if ref.run is not None:
        raise NotFound(f"{text!r} is no DAG", remedy=f"Write {ref.dag}.")
    return ref.dag


def _index(text: str, whole: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 9:
        raise NotFound(f"{whole!r}: {text!r} is no map index", remedy="A map index is a number from 0.")
    return int(text)


def find_dag(connection: Any, name: str) -> Any:
    """A DAG's row. Raises NotFound with the nearest name."""
    row = reads.dag_row(connection, name) if is_id(name) else None
    if row is None:
        close = did_you_mean(name, reads.dag_names(connection))
        raise NotFound(f"there is no DAG {name!r}", remedy=close or "`dagd dags list` shows them all.")
    return row


def find_run(connection: Any, dag: Any, text: str) -> Any:
    """A run by its run_id, a unique beginning of it, `latest` or `latest-failed`. Raises NotFound."""
    if text in WORDS:
        found = reads_runs.latest(connection, dag.id, failed=WORDS[text])
        if found is None:
            kind = "failed run" if WORDS[text] else "run"
            raise NotFound(f"DAG {dag.name!r} has no {kind} yet", remedy=f"`dagd trigger {dag.name}` starts one.")
        return found
    if is_id(text):
        exact = reads_runs.by_name(connection, dag.id, text)
        if exact is not None:
            return exact
        rows = reads_runs.by_prefix(connection, dag.id, text)
        if len(rows) == 1:
            return rows[0]
        if rows:
            names = ", ".join(row.run_id for row in rows[:3])
            raise NotFound(f"{text!r} begins more than one run of DAG {dag.name!r}: {names}", remedy="Say more of it.")
    close = did_you_mean(text, reads_runs.recent_names(connection, dag.id))
    raise NotFound(f"DAG {dag.name!r} has no run {text!r}", remedy=close or f"`dagd runs list {dag.name}` shows them.")


def need_run(ref: Ref, text: str) -> str:
    """The run of a reference. Raises UsageError without one."""
    if ref.run is None:
        raise UsageError(f"{text!r} names no run", remedy=f"Write {ref.dag}/latest, or {ref.dag}/RUN.")
    return ref.run
