"""Which task instances a request means: `+task`, `task+`, an index, what failed; and what a clear takes along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dagd.cli import instances, refs
from dagd.cli.tasks_found import find_run, task_index
from dagd.decide.graph import Graph
from dagd.engine.loader import Graphs
from dagd.model.errors import NotFound, Refused, UsageError
from dagd.store import facts

# [task_id, map index or None for every index], as a request's payload has them.
Instances = list[list[Any]]
# (task, map index or None), in order and without repeats.
Chosen = dict[tuple[int, int | None], None]
BAD = {"failed", "upstream_failed", "cancelled"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reference chose in a run."""

    dag: Any
    run: Any
    graph: Graph
    chosen: Chosen
    name: str

    @property
    def payload(self) -> Instances:
        """The instances as a request has them, in the order of the DAG."""
        return to_payload(self.graph, self.chosen)


def of_reference(connection: Any, graphs: Graphs, text: str) -> Scope:
    """The instances that DAG/RUN/[+]TASK[+][/MAP] names; TASK may be a group. Raises NotFound, UsageError."""
    ref, dag, run = find_run(connection, text)
    if ref.task is None:
        raise UsageError(f"{text!r} names no task", remedy=f"Write {dag.name}/{run.run_id}/TASK.")
    graph = graphs.get(connection, run.version_id)
    index = None if ref.index is None or ref.index < 0 else ref.index
    chosen: Chosen = {}
    for i in _members(graph, ref.task):
        if index is not None:
            _check_index(connection, graph, run, i, index, text)
        chosen[(i, index)] = None
        chosen.update(_related(graph, i, index, ref))
    canonical = refs.Ref(dag.name, run.run_id, ref.task, ref.index, ref.up, ref.down)
    return Scope(dag, run, graph, chosen, str(canonical))


def _members(graph: Graph, name: str) -> list[int]:
    inside = [
        i
        for i, task in enumerate(graph.tasks)
        if task.group is not None and (task.group == name or task.group.startswith(f"{name}."))
    ]
    return inside if inside and name not in graph.index else [task_index(graph, name)]


def _check_index(connection: Any, graph: Graph, run: Any, i: int, index: int, text: str) -> None:
    """Raise NotFound for an index that the task has not."""
    if graph.expands[i] is None:
        raise NotFound(f"{graph.tasks[i].task_id} is not mapped, so {text!r} names nothing")
    scope = graph.scopes[i]
    numbers = {graph.nos[member] for member in (graph.members[scope] if scope else [i])}
    sizes = [count for _, no, count in facts.expansions_of(connection, [run.id]) if no in numbers]
    if sizes and index >= sizes[0]:
        raise NotFound(f"{graph.tasks[i].task_id} has the indices 0 to {sizes[0] - 1}, so {text!r} names nothing")


def _related(graph: Graph, i: int, index: int | None, ref: refs.Ref) -> Chosen:
    others: list[int] = []
    if ref.up:
        others += sorted(above(graph, i))
    if ref.down:
        others += sorted(graph.below(i))
    return {(j, index if graph.same_scope(i, j) else None): None for j in others}


def above(graph: Graph, i: int) -> set[int]:
    """All transitive upstream tasks."""
    found: set[int] = set()
    pending = list(graph.ups[i])
    while pending:
        j = pending.pop()
        if j not in found:
            found.add(j)
            pending.extend(graph.ups[j])
    return found


def to_payload(graph: Graph, chosen: Iterable[tuple[int, int | None]]) -> Instances:
    """Chosen instances as a request has them; a task chosen whole leaves its single indices out."""
    known = set(chosen)
    place = {i: at for at, i in enumerate(graph.in_order())}
    kept = [one for one in known if one[1] is None or (one[0], None) not in known]
    kept.sort(key=lambda one: (place[one[0]], -1 if one[1] is None else one[1]))
    return [[graph.tasks[i].task_id, index] for i, index in kept]


def failed_in(
    connection: Any, graphs: Graphs, dag: Any, run: Any, within: Iterable[tuple[int, int | None]] | None = None
) -> Chosen:
    """What failed in a run (within a choice), and all below it."""
    stored = instances.load(connection, graphs, dag, run)
    graph = stored.view.graph
    allowed = None if within is None else set(within)
    chosen: Chosen = {}
    for row in instances.task_rows(stored, expand=True):
        i = graph.index[row["task_id"]]
        index = None if row["map_index"] < 0 else row["map_index"]
        if row["state"] not in BAD or (allowed is not None and not {(i, index), (i, None)} & allowed):
            continue
        chosen[(i, index)] = None
        chosen.update({(j, index if graph.same_scope(i, j) else None): None for j in graph.below(i)})
    return chosen


def with_setups(graph: Graph, chosen: Chosen) -> Chosen:
    """A choice with the setups and teardowns in whose scope it lies: they run again with the work between them."""
    found: Chosen = dict(chosen)
    teardowns = [i for i, task in enumerate(graph.tasks) if task.is_teardown]
    setups = [i for i, task in enumerate(graph.tasks) if task.is_setup]
    for i, index in chosen:
        along: set[int] = set()
        for setup in setups:
            ends = [end for end in teardowns if setup in graph.setups[end]]
            between = [end for end in ends if end in graph.below(i) or end == i]
            if (i == setup or i in graph.below(setup)) and (between or not ends):
                along |= {setup, *between}
        for j in along:
            found[(j, index if graph.same_scope(i, j) else None)] = None
    return found


def check_maps(connection: Any, graph: Graph, run: Any, chosen: Chosen) -> None:
    """Refuse to clear what a mapped task was expanded over without that task: its items would no longer be the same.
    Raises Refused."""
    expanded = {no for _, no, _ in facts.expansions_of(connection, [run.id])}
    tasks = {i for i, _ in chosen}
    for i in tasks:
        for down in graph.sourced[i]:
            if down not in tasks and graph.nos[down] in expanded:
                upper, lower = graph.tasks[i].task_id, graph.tasks[down].task_id
                raise Refused(
                    f"{lower} is mapped over what {upper} returned: cleared alone, {upper} may return other items",
                    remedy=f"Clear {upper}+ to take it along, or say --only.",
                )


def of_run(connection: Any, graphs: Graphs, dag: Any, run: Any, *, only_failed: bool) -> Instances:
    """Every task of a run; or what failed, all below it, and its setups and teardowns."""
    graph = graphs.get(connection, run.version_id)
    if not only_failed:
        return [[graph.tasks[i].task_id, None] for i in graph.in_order()]
    return to_payload(graph, with_setups(graph, failed_in(connection, graphs, dag, run)))
