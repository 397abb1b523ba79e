"""Dependencies between tasks, groups, lists of them, and what tasks return: `>>`, `<<`, chain, cross_downstream, Label.

Edges between tasks are set at once; an edge with a group on a side waits in `DAG.group_edges` until the DAG is
complete, since the group may still grow (`resolve_group_edges`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Union

from dagd.authoring.ambient import caller_ref
from dagd.model.errors import CycleFound, WrongArgument

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG
    from dagd.authoring.groups import TaskGroup
    from dagd.authoring.node import TaskNode

Endpoint = Union["TaskNode", "TaskGroup"]


class Dependable:
    """Something that can stand beside `>>`."""

    def endpoints(self) -> Sequence[Endpoint]:
        """The tasks and groups that an edge to or from this one means."""
        return [self]  # type: ignore[list-item]

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Run this after `other`."""
        connect(other, self, edge_modifier.label if edge_modifier else None)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Run `other` after this."""
        connect(self, other, edge_modifier.label if edge_modifier else None)

    def __rshift__(self, other: Any) -> Any:
        if isinstance(other, EdgeModifier):
            return other.after(self)
        connect(self, other)
        return other

    def __lshift__(self, other: Any) -> Any:
        if isinstance(other, EdgeModifier):
            return other.before(self)
        connect(other, self)
        return other

    def __rrshift__(self, other: Any) -> Any:
        connect(other, self)
        return self

    def __rlshift__(self, other: Any) -> Any:
        connect(self, other)
        return self


class EdgeModifier(Dependable):
    """A label on an edge: `a >> Label("when big") >> b`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._ups: list[Any] = []
        self._downs: list[Any] = []

    def endpoints(self) -> Sequence[Endpoint]:
        """A label is no task: only its two sides are."""
        raise WrongArgument(f"Label({self.label!r}) joins tasks and is none itself", where=caller_ref())

    def after(self, other: Any) -> EdgeModifier:
        """`other >> label`."""
        self._ups.append(other)
        for down in self._downs:
            connect(other, down, self.label)
        return self

    def before(self, other: Any) -> EdgeModifier:
        """`other << label`."""
        self._downs.append(other)
        for up in self._ups:
            connect(up, other, self.label)
        return self

    def __rshift__(self, other: Any) -> Any:
        self.before(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.after(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        return self.after(other)

    def __rlshift__(self, other: Any) -> Any:
        return self.before(other)


def Label(label: str) -> EdgeModifier:
    """A label for an edge."""
    return EdgeModifier(label)


def flatten(value: Any) -> list[Endpoint]:
    """The tasks and groups that one side of an edge names. Raises WrongArgument for anything else."""
    if isinstance(value, Dependable):
        return list(value.endpoints())
    if isinstance(value, (list, tuple, set)):
        return [node for one in value for node in flatten(one)]
    if callable(value) and hasattr(value, "function"):
        remedy = "Call it first: a decorated function becomes a task when it is called."
        raise WrongArgument(f"{value!r} is no task yet", where=caller_ref(), remedy=remedy)
    raise WrongArgument(f"{value!r} cannot stand in a dependency: it is no task, group or list", where=caller_ref())


def connect(ups: Any, downs: Any, label: str | None = None) -> None:
    """Run all of `downs` after all of `ups`."""
    up_nodes, down_nodes = flatten(ups), flatten(downs)
    for up in up_nodes:
        for down in down_nodes:
            _connect_two(up, down, label)


def _connect_two(up: Endpoint, down: Endpoint, label: str | None) -> None:
    dag = _common_dag(up, down)
    if up is down:
        raise CycleFound((up.node_id, down.node_id), where=caller_ref())
    if label is not None:
        dag.edge_labels[up.node_id, down.node_id] = label
    if up.is_group or down.is_group:
        dag.group_edges.append((up, down))
    else:
        link(up, down)


def link(up: Any, down: Any) -> None:
    """One edge between two tasks."""
    up.downstream_task_ids.add(down.task_id)
    down.upstream_task_ids.add(up.task_id)


def _common_dag(up: Endpoint, down: Endpoint) -> DAG:
    dag = up.dag or down.dag
    if dag is None:
        what = f"{up.node_id!r} and {down.node_id!r} belong to no DAG"
        raise WrongArgument(what, where=caller_ref(), remedy="Make tasks inside `with DAG(...)`, or give dag=.")
    for node in (up, down):
        if node.dag is None and not node.is_group:
            dag.add_task(node)
        elif node.dag is not dag:
            what = f"{up.node_id!r} and {down.node_id!r} belong to different DAGs"
            raise WrongArgument(what, where=caller_ref(), remedy="Use assets or ExternalTaskSensor across DAGs.")
    return dag


def chain(*elements: Any) -> None:
    """One after the other; two neighbouring lists of one length pair up item by item."""
    for up, down in pairwise(elements):
        pairs = isinstance(up, (list, tuple)) and isinstance(down, (list, tuple))
        if isinstance(up, EdgeModifier):
            up.before(down)
        elif isinstance(down, EdgeModifier):
            down.after(up)
        elif not pairs:
            connect(up, down)
        elif len(up) != len(down):
            what = f"chain: neighbouring lists of {len(up)} and {len(down)} tasks"
            raise WrongArgument(what, where=caller_ref(), remedy="Give lists of one length, or use cross_downstream.")
        else:
            for one, other in zip(up, down, strict=True):
                connect(one, other)


def chain_linear(*elements: Any) -> None:
    """One after the other; two neighbouring lists are joined each with each."""
    if not elements:
        raise WrongArgument("chain_linear needs at least one task", where=caller_ref())
    for up, down in pairwise(elements):
        connect(up, down)


def cross_downstream(from_tasks: Iterable[Any], to_tasks: Any) -> None:
    """Each of `to_tasks` after each of `from_tasks`."""
    connect(list(from_tasks), to_tasks)


def resolve_group_edges(dag: DAG) -> None:
    """Turn edges that name groups into edges between tasks, innermost first: roots depend on what is inside."""
    edges = sorted(dag.group_edges, key=lambda edge: -_common_depth(*edge))
    for up, down in edges:
        for one in up.leaves():
            for other in down.roots():
                if one is other:
                    raise CycleFound((up.node_id, down.node_id))
                link(one, other)
    dag.group_edges.clear()


def _path(node: Endpoint) -> list[int]:
    path: list[int] = []
    group = node.task_group
    while group is not None:
        path.append(id(group))
        group = group.task_group
    return path[::-1]


def _common_depth(up: Endpoint, down: Endpoint) -> int:
    depth = 0
    for one, other in zip(_path(up), _path(down), strict=False):
        if one != other:
            break
        depth += 1
    return depth
