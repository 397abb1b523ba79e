"""Tasks that can never run: no outcome of what is above them satisfies their trigger rule.

Every task is followed by the set of ways in which it may end, which errs on the side of too many: a finding is then
always true. Marks and cancels by hand are left aside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, product
from math import prod

from dagd.decide.rules import Counts, Verdict, apply_rule
from dagd.model.specs import DagSpec, TaskSpec

# How an instance may end: success, failed, upstream_failed, skipped.
S, F, U, K = "s", "f", "u", "k"
WORDS = {S: "success", F: "failed", U: "upstream_failed", K: "skipped"}
MOST_WORLDS = 256

Ends = frozenset[str]
Choices = Mapping[str, list[frozenset[str]]]


def unreachable(spec: DagSpec, choices: Choices) -> Iterator[tuple[str, str]]:
    """(task_id, why) of each task that never runs, without those that only follow from another. `choices` of a branch:
    the sets of ids that it may choose; a branch without them may choose any."""
    worlds = list(_worlds(choices))
    order = _in_order(spec)
    below = _below(spec)
    found: dict[str, set[str]] = {}
    runs: set[str] = set()
    for world in worlds:
        ends: dict[str, Ends] = {}
        for task in order:
            verdicts = _verdicts(task, spec, ends, world, below)
            ends[task.task_id] = _ends_of(task, verdicts)
            found.setdefault(task.task_id, set()).update(ends[task.task_id])
            if Verdict.RUN in verdicts:
                runs.add(task.task_id)
    dead = {task.task_id for task in order} - runs
    for task in order:
        if task.task_id in dead and not dead.intersection(task.upstreams):
            yield task.task_id, _why(task, found, choices)


def _worlds(choices: Choices) -> Iterator[Mapping[str, frozenset[str]]]:
    """Every combination of choices; branches beyond a sensible number of them may choose anything."""
    known = list(choices)
    while prod(len(choices[name]) for name in known) > MOST_WORLDS:
        known.pop()
    for chosen in product(*(choices[name] for name in known)):
        yield dict(zip(known, chosen, strict=True))


def _in_order(spec: DagSpec) -> list[TaskSpec]:
    left, placed, order = list(spec.tasks), set[str](), list[TaskSpec]()
    while left:
        ready = [task for task in left if placed.issuperset(task.upstreams)]
        order += ready
        placed.update(task.task_id for task in ready)
        left = [task for task in left if task.task_id not in placed]
    return order


def _below(spec: DagSpec) -> dict[str, set[str]]:
    """Everything downstream of each task."""
    below: dict[str, set[str]] = {task.task_id: set() for task in spec.tasks}
    for task in reversed(_in_order(spec)):
        for up in task.upstreams:
            below[up] |= {task.task_id} | below[task.task_id]
    return below


def _verdicts(
    task: TaskSpec, spec: DagSpec, ends: Mapping[str, Ends], world: Mapping[str, frozenset[str]],
    below: Mapping[str, set[str]],
) -> set[Verdict]:  # fmt: skip
    """What its rule may say of an instance of the task."""
    if task.is_teardown:
        return {Verdict.RUN, Verdict.SKIP, Verdict.UPSTREAM_FAIL}
    found: set[Verdict] = set()
    open_ends = {up: ends[up] for up in task.upstreams}
    for up in (spec.task(name) for name in task.upstreams):
        if up.decides != "branch":
            continue
        if up.task_id not in world:
            found.add(Verdict.SKIP)
        elif not _is_kept(task.task_id, spec, world[up.task_id], below):
            if S in open_ends[up.task_id]:
                found.add(Verdict.SKIP)
            open_ends[up.task_id] -= {S}
    if any(one.decides in {"short_circuit", "short_circuit_direct"} and task.task_id in below[one.task_id]
           for one in spec.tasks):  # fmt: skip
        found.add(Verdict.SKIP)
    together: set[Ends] = {frozenset()}
    for name, options in open_ends.items():
        many = _is_mapped(spec.task(name))
        together = {known | one for known in together for one in _subsets(options, many=many)}
    return found | {_judge(task.trigger_rule, one) for one in together}


def _is_kept(task_id: str, spec: DagSpec, chosen: frozenset[str], below: Mapping[str, set[str]]) -> bool:
    """Whether a branch that chose these ids lets the task go on: it is one, in one (a group), or below one."""
    names = {task.task_id for task in spec.tasks for name in chosen if _is_in(task.task_id, name)}
    return task_id in names or any(task_id in below[name] for name in names)


def _is_in(task_id: str, name: str) -> bool:
    return task_id == name or task_id.startswith(f"{name}.")


def _is_mapped(task: TaskSpec) -> bool:
    return task.expand is not None or task.mapped_group is not None


def _subsets(options: Ends, *, many: bool) -> Iterator[Ends]:
    """The ends that one task's instances may show together."""
    for size in range(1, len(options) + 1 if many else 2):
        for some in combinations(sorted(options), size):
            yield frozenset(some)


def _judge(rule: str, ends: Ends) -> Verdict:
    f, u = F in ends, U in ends
    return apply_rule(rule, Counts(0, int(S in ends), f + u, int(K in ends), int(S in ends) + f))


def _ends_of(task: TaskSpec, verdicts: set[Verdict]) -> Ends:
    found: set[str] = {K, U} if _is_mapped(task) else set()
    if Verdict.RUN in verdicts:
        found |= {S} if task.is_engine_grade else {S, F, K}
    if Verdict.SKIP in verdicts:
        found.add(K)
    if Verdict.UPSTREAM_FAIL in verdicts:
        found.add(U)
    return frozenset(found)


def _why(task: TaskSpec, found: Mapping[str, set[str]], choices: Choices) -> str:
    above = "; ".join(
        f"{up} can only end {' or '.join(_words(found[up]))}" for up in task.upstreams if len(found[up]) < 4
    )
    branches = [name for name in choices if name not in task.upstreams]
    if branches and all(len(one) < 2 for name in branches for one in choices[name]):
        above = above or f"what is above it never runs together: {', '.join(branches)} chooses one"
    return f"{task.task_id!r} can never run under trigger_rule={task.trigger_rule!r}" + (f": {above}" if above else "")


def _words(ends: set[str]) -> list[str]:
    return [WORDS[one] for one in (S, F, U, K) if one in ends]
