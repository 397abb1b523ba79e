"""Dynamic mapping: lengths, expansions, and which tasks a group name stands for. The scheduler knows lengths only."""

from __future__ import annotations

from math import prod

from dagd.decide.graph import Graph
from dagd.decide.rules import Counts, Verdict, apply_rule, teardown_verdict
from dagd.decide.settling import settle_whole
from dagd.decide.state import RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import Expansion
from dagd.model.specs import ExpandSpec, MapSource
from dagd.model.states import AttemptState, Reason

UNMAPPABLE = -1


def roots_of(graph: Graph, name: str) -> list[int]:
    """The task of that id, or the roots of the group of that id; empty when there is neither."""
    if name in graph.index:
        return [graph.index[name]]
    inside = {
        i for i, task in enumerate(graph.tasks)
        if task.group is not None and (task.group == name or task.group.startswith(f"{name}."))
    }  # fmt: skip
    return [i for i in sorted(inside) if not inside.intersection(graph.ups[i])]


def source_length(run: RunView, source: MapSource) -> int:
    """The number of items of an ended source; UNMAPPABLE when its value has no items."""
    if source.kind == "literal":
        return source.count
    if source.kind == "xcom":
        i = run.graph.index[source.task_id]
        if run.tasks[i].is_mapped:
            return run.lengths.get((i, source.key), 0)
        return run.lengths.get((i, source.key), UNMAPPABLE)
    lengths = [source_length(run, part) for part in source.parts]
    if UNMAPPABLE in lengths:
        return UNMAPPABLE
    if source.kind == "concat":
        return sum(lengths)
    return max(lengths) if source.longest else min(lengths)


def expansion_length(run: RunView, expand: ExpandSpec) -> int:
    """The number of instances; UNMAPPABLE when a source has no items to map over."""
    lengths = [source_length(run, source) for source in expand.sources]
    return UNMAPPABLE if UNMAPPABLE in lengths else prod(lengths)


def _source_end(run: RunView, i: int) -> str | None:
    """The move for a mapped task that cannot expand because of how a source ended, or None."""
    worst: str | None = None
    for source in run.graph.sources[i]:
        task = run.tasks[source]
        if task.is_mapped and not task.is_whole:
            continue
        if task.states[0] == AttemptState.SKIPPED:
            worst = worst or "skip"
        elif task.states[0] != AttemptState.SUCCESS:
            worst = "upstream_fail"
    return worst


def expand_task(turn: Turn, run: RunView, task: TaskState, *, is_skipped: bool) -> bool:
    """Fix the length of a mapped task, once its sources have ended; True when it has its indices now. Over a failed
    source it is upstream_failed even when its rule says skip: so the order of ends does not matter."""
    if task.sources_open:
        return False
    bad_end = _source_end(run, task.i)
    if bad_end is not None:
        settle_whole(turn, run, task, bad_end, Reason.UPSTREAM)
        return False
    if is_skipped:
        settle_whole(turn, run, task, "skip", Reason.UPSTREAM)
        return False
    expand = run.graph.expands[task.i]
    assert expand is not None
    count = expansion_length(run, expand)
    if count == UNMAPPABLE:
        settle_whole(turn, run, task, "fail", Reason.UNMAPPABLE)
    elif count == 0:
        settle_whole(turn, run, task, "skip", Reason.EMPTY_MAP)
    elif count > turn.state.max_map_length:
        settle_whole(turn, run, task, "fail", _too_many(turn, count))
    else:
        turn.plan.expansions.append(Expansion(run.id, task.no, count))
        set_size(run, task, count)
        return True
    return False


def _too_many(turn: Turn, count: int) -> str:
    return f"mapped over {count:,} items; core.max_map_length allows {turn.state.max_map_length:,}"


def set_size(run: RunView, task: TaskState, count: int) -> None:
    """Give a mapped task its instances in memory and tell its successors how many ends to expect."""
    task.size = count
    task.states = bytearray(count)
    task.remaining = count
    graph = run.graph
    for down in graph.downs[task.i]:
        if graph.same_scope(task.i, down):
            continue
        other = run.tasks[down]
        counts = other.setup if task.i in graph.setups[down] and other.setup is not None else other.outer
        counts.open += count - 1
    if graph.scopes[task.i] is not None:
        _lay_out_inner(run, task, count)


def _lay_out_inner(run: RunView, task: TaskState, count: int) -> None:
    """Counters for each index. Members that ended whole (not chosen before the group expanded) count at once."""
    graph, i = run.graph, task.i
    setups, works = _near_counts(run, task)
    gates = sum(1 for gate in graph.gates[i] if graph.same_scope(gate, i) and not run.tasks[gate].is_whole)
    task.inner = [works.plus(Counts()) for _ in range(count)]
    if task.spec.is_teardown:
        task.inner_setup = [setups.plus(Counts()) for _ in range(count)]
    task.inner_gates = [gates] * count if gates else None


def _near_counts(run: RunView, task: TaskState) -> tuple[Counts, Counts]:
    """What an index has above it in its own group, as setups and as work; whole members have ended for every index."""
    graph, setups, works = run.graph, Counts(), Counts()
    for up in graph.ups[task.i]:
        if graph.same_scope(up, task.i):
            counts = setups if up in graph.setups[task.i] else works
            counts.open += 1
            if run.tasks[up].is_whole:
                counts.add(run.tasks[up].states[0])
    return setups, works


def expand_group(turn: Turn, run: RunView, group: str) -> bool:
    """Fix the length of a mapped group, once its sources have ended. True when its members have their indices now."""
    members = [run.tasks[i] for i in run.graph.members[group]]
    if any(task.sources_open for task in members) or all(task.size is not None for task in members):
        return False
    if any(run.tasks[i].remaining for i in run.graph.group_gates[group]):
        return False  # what it leaves out never expands
    first = members[0]
    bad_end = _source_end(run, first.i)
    expand = run.graph.expands[first.i]
    assert expand is not None
    count = 0 if bad_end else expansion_length(run, expand)
    if bad_end or not 0 < count <= turn.state.max_map_length:
        event = bad_end or ("skip" if count == 0 else "fail")
        reason = Reason.UPSTREAM if bad_end else Reason.EMPTY_MAP if count == 0 else Reason.UNMAPPABLE
        if count > turn.state.max_map_length:
            reason = _too_many(turn, count)
        for task in members:
            if task.size is None:
                settle_whole(turn, run, task, event, reason)
        return False
    if any(task.is_whole for task in members):
        _settle_unreached(turn, run, members)
        if all(task.is_whole for task in members):
            return False
    turn.plan.expansions.append(Expansion(run.id, first.no, count))
    for task in members:
        if task.size is None:
            set_size(run, task, count)
    return True


def _settle_unreached(turn: Turn, run: RunView, members: list[TaskState]) -> None:
    """Members below those that a decision left out, as far as their rule lets them follow: they never expand either."""
    pending = [task for task in members if task.size is None]
    while pending:
        settled = []
        for task in pending:
            verdict = _verdict_below_whole(run, task)
            if verdict in (Verdict.SKIP, Verdict.UPSTREAM_FAIL):
                settle_whole(turn, run, task, verdict.value, Reason.UPSTREAM)
                settled.append(task)
        if not settled:
            return
        pending = [task for task in pending if task not in settled]


def _verdict_below_whole(run: RunView, task: TaskState) -> Verdict:
    near = [up for up in run.graph.ups[task.i] if run.graph.same_scope(up, task.i)]
    if not near or not all(run.tasks[up].is_whole for up in near):
        return Verdict.WAIT
    setups, works = _near_counts(run, task)
    if task.setup is not None:
        return teardown_verdict(task.setup.plus(setups), task.outer.plus(works))
    return apply_rule(task.spec.trigger_rule, task.outer.plus(works))
