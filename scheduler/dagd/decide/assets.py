"""Asset triggers: which open events make a DAG run, and which of them the run consumes. By row, never by time."""

from __future__ import annotations

from typing import Any

from dagd.decide.state import DagState


def leaves_of(condition: Any) -> tuple[str, ...]:
    """The asset keys of a condition, sorted, without repeats."""
    if condition is None:
        return ()
    kind, inner = condition[0], condition[1]
    if kind == "asset":
        return (inner,)
    return tuple(sorted({key for part in inner for key in leaves_of(part)}))


def is_true(condition: Any, open_keys: set[str]) -> bool:
    """Whether the condition holds when the leaves in `open_keys` have an open event."""
    kind, inner = condition[0], condition[1]
    if kind == "asset":
        return inner in open_keys
    parts = [is_true(part, open_keys) for part in inner]
    return all(parts) if kind == "all" else any(parts)


def consumed_leaves(condition: Any, open_keys: set[str]) -> set[str]:
    """The open leaves that lie in true maximal sub-trees: for `(A & B) | C` with A and C open, C alone."""
    if not is_true(condition, open_keys):
        return set()
    kind, inner = condition[0], condition[1]
    if kind == "asset":
        return {inner}
    return set().union(*(consumed_leaves(part, open_keys) for part in inner))


def events_to_consume(dag: DagState) -> list[int]:
    """The ids of the open events that one run would consume now, in id order; empty when the condition is not true."""
    if dag.graph is None or dag.graph.spec.condition is None:
        return []
    open_keys = {key for key, events in dag.open_events.items() if events}
    condition = dag.graph.spec.condition
    if not open_keys or not is_true(condition, open_keys):
        return []
    leaves = consumed_leaves(condition, open_keys)
    return sorted(event for key in leaves for event in dag.open_events.get(key, {}))
