"""Promises about time: set with the run, met, missed once at the moment they pass, or cancelled."""

from __future__ import annotations

from dagd.decide.graph import Graph
from dagd.decide.state import RunView
from dagd.decide.turn import Turn
from dagd.model.plans import DeadlineRow
from dagd.model.specs import DeadlineSpec
from dagd.model.states import AttemptState, DeadlineState, RunKind, RunState

WHOLE_RUN = -1


def kind_of(spec: DeadlineSpec, at: int) -> str:
    """The stored kind: what it is about and its place in the list, unique within its subject."""
    return f"{spec.by}-{spec.after}-{at}"


def specs_of(run: RunView, i: int) -> list[tuple[str, DeadlineSpec]]:
    """The deadlines of task `i`, or of the whole run for -1, with their kinds."""
    specs = run.graph.spec.deadlines if i == WHOLE_RUN else run.graph.tasks[i].deadlines
    return [(kind_of(spec, at), spec) for at, spec in enumerate(specs)]


def has_promises(graph: Graph) -> bool:
    """Whether a run has deadlines from the moment when it is made."""
    specs = [*graph.spec.deadlines, *(spec for task in graph.tasks for spec in task.deadlines)]
    return any(spec.by != "duration" and spec.after != "started" for spec in specs)


def set_at(turn: Turn, run: RunView, after: frozenset[str], i: int) -> None:
    """Set the deadlines of subject `i` that count from one of `after`."""
    for kind, spec in specs_of(run, i):
        counts_from = "started" if spec.by == "duration" else spec.after
        if counts_from not in after or (i, kind) in run.deadlines:
            continue
        base = turn.happened_at if counts_from == "started" else _base(run, counts_from)
        due = base + spec.within_us
        run.deadlines[(i, kind)] = due
        turn.plan.deadlines.append(
            DeadlineRow(run.id, no_of(run, i), kind, run.dag, due, DeadlineState.PENDING, turn.now)
        )
        turn.state.set_timer(due, "deadline", run.id, i, kind)


def no_of(run: RunView, i: int) -> int:
    """The stored task_no of a subject."""
    return WHOLE_RUN if i == WHOLE_RUN else run.graph.nos[i]


def _base(run: RunView, counts_from: str) -> int:
    """From when a deadline counts. A backfill promises nothing for the past: its runs count from their creation."""
    if counts_from == "due" and run.kind is RunKind.SCHEDULED:
        return run.due_at
    return run.created_at


def set_with_run(turn: Turn, run: RunView) -> None:
    """Set every deadline that counts from the slot or the creation."""
    for i in (WHOLE_RUN, *range(len(run.graph.tasks))):
        set_at(turn, run, frozenset({"due", "created"}), i)


def close(turn: Turn, run: RunView, i: int, state: DeadlineState, *, by: str | None = None) -> None:
    """Close the pending deadlines of a subject; `by` restricts to start deadlines."""
    for kind, spec in specs_of(run, i):
        due = run.deadlines.get((i, kind))
        if due is None or (by is not None and spec.by != by):
            continue
        if state is DeadlineState.CANCELLED and spec.even_if_failed:
            continue
        if due < turn.happened_at:
            fire(turn, run, i, kind)
            continue
        del run.deadlines[(i, kind)]
        turn.plan.deadlines.append(DeadlineRow(run.id, no_of(run, i), kind, run.dag, due, state, turn.happened_at))


def fire(turn: Turn, run: RunView, i: int, kind: str) -> None:
    """The moment passed: a pending deadline is missed, once."""
    due = run.deadlines.pop((i, kind), None)
    if due is None:
        return
    turn.plan.deadlines.append(DeadlineRow(run.id, no_of(run, i), kind, run.dag, due, DeadlineState.MISSED, turn.now))
    task_id = None if i == WHOLE_RUN else run.graph.tasks[i].task_id
    turn.tell("deadline", f"{run.run_id}/{task_id or ''}", run, task_id=task_id, kind=kind, due_at=due)
    index = next((at for at, (name, _) in enumerate(specs_of(run, i)) if name == kind), None)
    if index is not None and specs_of(run, i)[index][1].has_callback:
        turn.tell("callback", f"{run.run_id}/{task_id or ''}", run, task_id=task_id, event="deadline", index=index)


def on_task_started(turn: Turn, run: RunView, i: int) -> None:
    """The first try of a task has started."""
    if run.deadlines or run.graph.tasks[i].deadlines:
        close(turn, run, i, DeadlineState.MET, by="start")
        set_at(turn, run, frozenset({"started"}), i)


def on_task_ended(turn: Turn, run: RunView, i: int) -> None:
    """Every instance of a task has ended."""
    if not run.deadlines:
        return
    task = run.tasks[i]
    fine = task.count(AttemptState.SUCCESS, AttemptState.SKIPPED) == len(task.states)
    close(turn, run, i, DeadlineState.MET if fine else DeadlineState.CANCELLED)


def on_run_ended(turn: Turn, run: RunView, state: RunState) -> None:
    """The run has ended: what it met is met, the rest is moot unless asked to be kept."""
    verdict = DeadlineState.MET if state is RunState.SUCCESS else DeadlineState.CANCELLED
    close(turn, run, WHOLE_RUN, verdict)
    for i in {subject for subject, _ in run.deadlines}:
        close(turn, run, i, DeadlineState.CANCELLED)
