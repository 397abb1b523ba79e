"""Effective priorities: `priority_weight` with those of all tasks below or above, by `weight_rule`."""

from __future__ import annotations

from collections.abc import Sequence

from dagd.authoring.node import TaskNode

_LARGEST = 2**31 - 1


def effective_weights(tasks: Sequence[TaskNode]) -> dict[str, int]:
    """The priority of each task, by id. The tasks have no cycle; the results fit 32 bits."""
    index = {task.task_id: i for i, task in enumerate(tasks)}
    ups = [[index[name] for name in task.upstream_task_ids] for task in tasks]
    downs = [[index[name] for name in task.downstream_task_ids] for task in tasks]
    order = _order(ups, downs)
    rules = {task.weight_rule for task in tasks}
    reach = {
        "downstream": _reach(order[::-1], downs) if "downstream" in rules else [],
        "upstream": _reach(order, ups) if "upstream" in rules else [],
    }
    masks: dict[int, int] = {}
    for i, task in enumerate(tasks):
        masks[task.priority_weight] = masks.get(task.priority_weight, 0) | 1 << i
    weights: dict[str, int] = {}
    for i, task in enumerate(tasks):
        total = task.priority_weight
        if task.weight_rule != "absolute":
            mask = reach[task.weight_rule][i]
            total += sum(weight * (mask & members).bit_count() for weight, members in masks.items())
        weights[task.task_id] = max(-_LARGEST, min(_LARGEST, total))
    return weights


def _order(ups: list[list[int]], downs: list[list[int]]) -> list[int]:
    waiting = [len(above) for above in ups]
    order = [i for i, count in enumerate(waiting) if not count]
    for i in order:
        for down in downs[i]:
            waiting[down] -= 1
            if not waiting[down]:
                order.append(down)
    return order


def _reach(order: list[int], neighbours: list[list[int]]) -> list[int]:
    """For each index the bit set of everything that can be reached from it."""
    masks = [0] * len(neighbours)
    for i in order:
        for other in neighbours[i]:
            masks[i] |= masks[other] | 1 << other
    return masks
