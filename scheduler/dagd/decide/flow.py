"""How the end of one instance spreads: counters of its successors, rules, expansions, readiness.

A finish touches only its successors. `spread` drains a work list, so that a cascade of skips needs no recursion.
"""

from __future__ import annotations

from dagd.decide import admission, deadlines, mapping
from dagd.decide.rules import Counts, Verdict, apply_rule, teardown_verdict
from dagd.decide.settling import settle, settle_waiting, settle_whole
from dagd.decide.state import RETRYING, WAITING, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.states import AttemptState, Reason


def spread(turn: Turn) -> None:
    """Carry every end of this turn to what it affects, until nothing changes."""
    while turn.ended:
        run, task, pos, code, is_last = turn.ended.popleft()
        count_end(run, task, pos, code, is_last=is_last)
        if task.decided:
            apply_decision(turn, run, task, pos)
        _look_below(turn, run, task, pos)
        if is_last:
            deadlines.on_task_ended(turn, run, task.i)
            look_at_next_run(turn, run)


def count_end(run: RunView, task: TaskState, pos: int, code: int, *, is_last: bool) -> None:
    """Tell the counters of a task's successors that one of its instances ended; `is_last` when that was its last."""
    graph = run.graph
    i = task.i
    for down in graph.downs[i]:
        other = run.tasks[down]
        is_setup = i in graph.setups[down]
        if graph.same_scope(i, down):
            inner = other.inner_setup if is_setup else other.inner
            if inner is not None and not task.is_whole:  # a whole one was counted when its group expanded
                inner[pos].add(code)
        else:
            counts = other.setup if is_setup and other.setup is not None else other.outer
            counts.add(code)
    for down in graph.gated[i]:
        other = run.tasks[down]
        if graph.same_scope(i, down):
            if other.inner_gates is not None and not task.is_whole:
                other.inner_gates[pos] -= 1
        elif is_last:
            other.gates -= 1
    if is_last:
        for down in graph.sourced[i]:
            run.tasks[down].sources_open -= 1


def _look_below(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    graph = run.graph
    for down in dict.fromkeys([*graph.downs[task.i], *graph.gated[task.i], *graph.sourced[task.i]]):
        other = run.tasks[down]
        if graph.same_scope(task.i, down) and other.inner is not None:
            evaluate_at(turn, run, other, pos)
        else:
            evaluate(turn, run, other)


def evaluate(turn: Turn, run: RunView, task: TaskState) -> None:
    """Draw the conclusion that a task's counters allow now, if any."""
    group = run.graph.scopes[task.i]
    if group is not None and (task.size is None or task.is_whole):
        if mapping.expand_group(turn, run, group):
            for member in run.graph.members[group]:
                evaluate(turn, run, run.tasks[member])
        return
    if task.inner is not None:
        for pos in range(task.size or 0):
            evaluate_at(turn, run, task, pos)
        return
    if WAITING not in task.states:
        return
    verdict = verdict_of(run, task)
    if not task.is_mapped or task.is_whole:
        _conclude(turn, run, task, 0, verdict)
    elif task.size is not None:
        _conclude_expanded(turn, run, task, verdict)
    elif verdict is Verdict.UPSTREAM_FAIL:
        _conclude(turn, run, task, 0, verdict)
    elif verdict is not Verdict.WAIT:
        if mapping.expand_task(turn, run, task, is_skipped=verdict is Verdict.SKIP):
            _conclude_expanded(turn, run, task, Verdict.RUN)


def verdict_of(run: RunView, task: TaskState) -> Verdict:
    """What the rule, the gates and the run before say of a task outside mapped groups."""
    if task.gates or not task.past_ok:
        return Verdict.WAIT
    if task.setup is not None:
        return teardown_verdict(task.setup, task.outer)
    return apply_rule(task.spec.trigger_rule, task.outer)


def evaluate_at(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    """Draw the conclusion for one index of a task in a mapped group."""
    if task.states[pos] == WAITING:
        _conclude(turn, run, task, pos, verdict_at(task, pos))


def verdict_at(task: TaskState, pos: int) -> Verdict:
    """What the rule and the gates say of one index of a task in a mapped group."""
    if task.gates or not task.past_ok or (task.inner_gates is not None and task.inner_gates[pos]):
        return Verdict.WAIT
    counts = task.outer.plus(task.inner[pos]) if task.inner is not None else task.outer
    if task.setup is not None:
        inner_setup = task.inner_setup[pos] if task.inner_setup is not None else Counts()
        return teardown_verdict(task.setup.plus(inner_setup), counts)
    return apply_rule(task.spec.trigger_rule, counts)


def _conclude(turn: Turn, run: RunView, task: TaskState, pos: int, verdict: Verdict) -> None:
    if verdict is Verdict.RUN:
        if is_blocked(task, pos):
            return
        admission.make_ready(turn, run, task, pos, pos + 1)
    elif verdict is Verdict.SKIP:
        _settle_one(turn, run, task, pos, "skip")
    elif verdict is Verdict.UPSTREAM_FAIL:
        _settle_one(turn, run, task, pos, "upstream_fail")


def _conclude_expanded(turn: Turn, run: RunView, task: TaskState, verdict: Verdict) -> None:
    """A mapped task that has its length and indices that wait: all of them, or some after a clear."""
    if verdict is Verdict.RUN:
        for start, end in _waiting_ranges(task):
            admission.make_ready(turn, run, task, start, end)
    elif verdict is not Verdict.WAIT:
        for pos in [pos for pos, code in enumerate(task.states) if code == WAITING]:
            _conclude(turn, run, task, pos, verdict)


def _settle_one(turn: Turn, run: RunView, task: TaskState, pos: int, event: str) -> None:
    if task.size is None:
        settle_whole(turn, run, task, event, Reason.UPSTREAM)
    else:
        settle(turn, run, task, pos, event, Reason.UPSTREAM)


def apply_decision(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    """An instance of a branch or short-circuit has ended: what its decision leaves out is skipped.

    A branch that is itself mapped leaves out what no index chose, once all have ended; a short-circuit that is mapped
    stops everything below as soon as one index says so.
    """
    graph, kind = run.graph, task.spec.decides
    in_group = graph.scopes[task.i] is not None
    if kind != "branch" or in_group:
        if pos not in task.decided or task.states[pos] != AttemptState.SUCCESS:
            return
        chosen = task.decided[pos]
    elif task.remaining or AttemptState.SUCCESS not in task.states:
        return
    else:
        said = [names for at, names in task.decided.items() if task.states[at] == AttemptState.SUCCESS]
        chosen = [name for names in said for name in names]
    reason = Reason.NOT_CHOSEN if kind == "branch" else Reason.SHORT_CIRCUIT
    for i in _left_out(run, task, chosen):
        other = run.tasks[i]
        if graph.same_scope(task.i, i):
            if not other.is_whole and other.states[pos] == WAITING:
                settle(turn, run, other, pos, "skip", reason)
        elif not in_group:
            settle_waiting(turn, run, other, "skip", reason)


def _left_out(run: RunView, task: TaskState, chosen: list[str]) -> list[int]:
    """The tasks that a decision skips: teardowns never."""
    graph, kind = run.graph, task.spec.decides
    if kind == "short_circuit":
        doomed = sorted(graph.below(task.i))
    elif kind == "short_circuit_direct":
        doomed = list(graph.downs[task.i])
    else:
        kept: set[int] = set()
        for name in chosen:
            for i in mapping.roots_of(graph, name):
                kept |= {i} | graph.below(i)
        doomed = [down for down in graph.downs[task.i] if down not in kept]
    return [i for i in doomed if not graph.tasks[i].is_teardown]


def look_at_next_run(turn: Turn, run: RunView) -> None:
    """The run after this one may have tasks that wait for what has just ended here."""
    dag = turn.dag(run)
    if not run.graph.uses_past or run.id not in dag.order:
        return
    at = dag.order.index(run.id)
    for later_id in dag.order[at + 1 : at + 2]:
        later = turn.state.runs.get(later_id)
        if later is not None and later.tasks:
            check_past(turn, later)


def check_past(turn: Turn, run: RunView) -> None:
    """Look again at the tasks that wait for the run before."""
    for task in run.tasks:
        if not task.past_ok and past_blocker(turn, run, task) is None:
            task.past_ok = True
            evaluate(turn, run, task)


def past_blocker(turn: Turn, run: RunView, task: TaskState) -> str | None:
    """The run_id of the run before that holds this task back, or None."""
    spec = task.spec
    if not (spec.depends_on_past or spec.wait_for_downstream):
        return None
    dag = turn.dag(run)
    at = dag.order.index(run.id) if run.id in dag.order else 0
    watched = [task.no]
    if spec.wait_for_downstream:
        watched += [run.graph.nos[down] for down in run.graph.downs[task.i]]
    if at > 0:
        before = turn.state.runs[dag.order[at - 1]]
        passed = all(_passed_live(before, no) for no in watched)
        return None if passed else before.run_id
    if run.previous is None or run.previous.id == run.id:
        return None
    fine = {int(AttemptState.SUCCESS), int(AttemptState.SKIPPED)}
    passed = all(run.previous.states.get(no, int(AttemptState.SKIPPED)) in fine for no in watched)
    return None if passed else run.previous.run_id


def _passed_live(before: RunView, no: int) -> bool:
    i = before.graph.by_no.get(no)
    if i is None:
        return True
    if not before.tasks:
        return False
    task = before.tasks[i]
    ended = task.count(AttemptState.SUCCESS, AttemptState.SKIPPED)
    return task.remaining == 0 and ended == (task.size or 1)


def look_again(turn: Turn, run: RunView) -> None:
    """After a rebuild: draw every conclusion that the counters allow."""
    for task in run.tasks:
        task.past_ok = past_blocker(turn, run, task) is None
    for task in run.tasks:
        for pos in [pos for pos in task.decided if pos < len(task.states)]:
            apply_decision(turn, run, task, pos)  # what it skipped and somebody cleared is skipped again
    for task in run.tasks:
        evaluate(turn, run, task)
    spread(turn)


def _waiting_ranges(task: TaskState) -> list[tuple[int, int]]:
    if not task.instances and not any(task.states):
        return [(0, len(task.states))]
    ranges: list[tuple[int, int]] = []
    for pos, code in enumerate(task.states):
        if code != WAITING or is_blocked(task, pos):
            continue
        if ranges and ranges[-1][1] == pos:
            ranges[-1] = (ranges[-1][0], pos + 1)
        else:
            ranges.append((pos, pos + 1))
    return ranges


def is_blocked(task: TaskState, pos: int) -> bool:
    """Whether a superseded try of the instance has yet to end."""
    instance = task.instances.get(pos)
    return instance is not None and instance.blocked_by is not None


def unblock(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    """The superseded try of an instance has ended: the instance goes on from where it stands."""
    task.instance(pos).blocked_by = None
    if task.size is None or pos >= task.size:
        return  # a map that has not got its new length yet, or a shorter one
    if task.states[pos] == RETRYING:
        retry_due(turn, run, task, pos)
    else:
        evaluate(turn, run, task)


def retry_due(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    """The pause before the next try may be over (the timer of a try before a clear comes early)."""
    if task.states[pos] == RETRYING and not is_blocked(task, pos) and (task.instance(pos).next_try_at or 0) <= turn.now:
        admission.make_ready(turn, run, task, pos, pos + 1)
