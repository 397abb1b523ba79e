"""`pin="latest"`: unended runs move to the DAG's new version; what it lacks and never started is removed."""

from __future__ import annotations

from dagd.decide.settling import ADMITTED
from dagd.decide.state import DagState, RunView, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import Settle
from dagd.model.states import Reason, RunState


def is_behind(dag: DagState, run: RunView) -> bool:
    """Whether a run is to move to the version that the DAG has now."""
    return (
        dag.graph is not None
        and dag.graph.spec.pin == "latest"
        and run.graph.version != dag.graph.version
        and run.verdict is None
    )


def repin(turn: Turn, dag: DagState) -> None:
    """Move the DAG's unended runs to its version. The runs that have begun are loaded again after the commit."""
    graph = dag.graph
    assert graph is not None
    for run_id in list(dag.order):
        run = turn.state.runs[run_id]
        if not is_behind(dag, run):
            continue
        if run.state is RunState.QUEUED:
            run.graph = graph
            turn.plan.pins.append((run.id, graph.version))
            continue
        gone = [task for task in run.tasks if task.no not in graph.by_no]
        if any(_is_live(task) for task in gone):
            continue  # a process of a removed task runs: its end looks here again
        for task in gone:
            if task.remaining and not task.instances:
                turn.plan.settles.append(Settle((run.id, task.no, -1), "remove", Reason.REMOVED, turn.now))
        turn.plan.pins.append((run.id, graph.version))
        turn.plan.reloads.append(run.id)


def _is_live(task: TaskState) -> bool:
    return any(code in ADMITTED for code in task.states)
