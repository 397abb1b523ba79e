"""From a reference to the task of a stored run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagd.cli import refs
from dagd.decide.graph import Graph
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound, UsageError, did_you_mean
from dagd.store import reads_runs


@dataclass(frozen=True, slots=True)
class Place:
    """A task of a run: rows of DAG and run, the version's graph, the task's place in it, the map index asked for."""

    dag: Any
    run: Any
    graph: Graph
    i: int
    index: int | None
    ref: refs.Ref

    @property
    def task_no(self) -> int:
        """The task's stored number."""
        return self.graph.nos[self.i]

    @property
    def is_mapped(self) -> bool:
        """Whether the task has instances by index."""
        return self.graph.expands[self.i] is not None

    @property
    def name(self) -> str:
        """DAG/RUN/TASK in full."""
        return f"{self.dag.name}/{self.run.run_id}/{self.graph.tasks[self.i].task_id}"


def find_run(connection: Any, text: str) -> tuple[refs.Ref, Any, Any]:
    """The reference read, and the rows of its DAG and run. Raises NotFound, UsageError."""
    ref = refs.parse(text)
    dag = refs.find_dag(connection, ref.dag)
    return ref, dag, refs.find_run(connection, dag, refs.need_run(ref, text))


def find_task(connection: Any, graphs: Graphs, text: str) -> Place:
    """The task that DAG/RUN/TASK[/MAP] names. Raises NotFound, UsageError."""
    ref, dag, run = find_run(connection, text)
    graph = graphs.get(connection, run.version_id)
    if ref.task is None:
        first = graph.tasks[0].task_id if graph.tasks else "TASK"
        raise UsageError(f"{text!r} names no task", remedy=f"Write {dag.name}/{run.run_id}/{first}.")
    i = task_index(graph, ref.task)
    return Place(dag, run, graph, i, ref.index, ref)


def task_index(graph: Graph, task_id: str) -> int:
    """A task's index by its id. Raises NotFound with the nearest id."""
    found = graph.index.get(task_id)
    if found is None:
        raise NotFound(
            f"DAG {graph.spec.dag_id!r} (version {graph.number}) has no task {task_id!r}",
            remedy=did_you_mean(task_id, graph.index) or f"`dagd tasks list {graph.spec.dag_id}` shows them.",
        )
    return found


def one_index(connection: Any, place: Place, text: str) -> int:
    """The map index of the one instance that is meant: -1 for an unmapped task. Raises NotFound, UsageError."""
    if place.index is not None and place.index >= 0:
        if not place.is_mapped:
            raise NotFound(f"{place.name} is not mapped, it has no index {place.index}")
        return place.index
    if not place.is_mapped or place.index == -1:
        return -1
    known = reads_runs.indices_of(connection, place.run.id, place.task_no)
    if len(known) == 1:
        return known[0]
    if not known:
        return -1
    raise UsageError(f"{text!r} is mapped: say which index", remedy=f"For example {place.name}/{known[0]}.")


def check_size(place: Place, size: int | None, index: int | None) -> None:
    """Raise NotFound for an index that the task has not."""
    if index is not None and place.is_mapped and index >= 0 and (size is None or index >= size):
        known = "is not expanded yet" if size is None else f"has the indices 0 to {size - 1}"
        raise NotFound(f"{place.name} {known}, so there is no index {index}")
