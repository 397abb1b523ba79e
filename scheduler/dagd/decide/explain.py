"""Why something runs, waits or does not exist: read from the memory that decides, by the functions that decide.

`blocking` says that this keeps the subject from starting (or kept it from it). How things ended is in `explain_end`.
"""

from __future__ import annotations

import json

from dagd.decide import assets, flow
from dagd.decide.cases import MOST, WORDS, Answer, Because, Case, names, word_of
from dagd.decide.explain_end import ended, failure, said
from dagd.decide.rules import Verdict
from dagd.decide.state import READY, RESUMING, RETRYING, RunView, TaskState
from dagd.model.states import AttemptState, BackfillState, RunKind, RunState
from dagd.model.times import Micros, iso
from dagd.model.triggers import describe

A = AttemptState

# --- a DAG -----------------------------------------------------------------------------------------------------------


def why_dag(case: Case) -> Answer:
    """Why a DAG has a run to come, or none."""
    dag, spec = case.dag, case.dag.graph.spec if case.dag.graph else None
    reasons = [*dag_blockers(case)]
    state = "missing" if dag.missing else "held" if dag.held else "paused" if dag.paused else "active"
    if spec is None:
        return Answer(state, reasons)
    next_text: str | None = None
    if spec.condition is not None:
        reasons += asset_reasons(case)
    if dag.next_due is not None and not dag.missing:
        next_text = iso(dag.next_due)
        reasons.append(Because("WHY-NEXT-SLOT", f"next slot {case.when(dag.next_due)}", False))
    elif spec.condition is None and spec.schedule.get("kind") == "none":
        reasons.append(Because("WHY-NO-SCHEDULE", f"it has no schedule: `dagd trigger {dag.name}` starts it", False))
    elif spec.condition is None and not dag.missing:
        reasons.append(Because("WHY-NO-MORE-SLOTS", "its schedule has no slot any more", False))
    if case.file_error is not None:
        told = f"its file is broken, the last good version keeps running: {case.file_error}"
        reasons.append(Because("WHY-BROKEN-FILE", told, False))
    reasons += backfill_reasons(case)
    if not any(reason.blocking for reason in reasons):
        reasons.append(Because("WHY-FREE", f"not blocked: {_places(case)}", False))
    if dag.paused:
        next_text = f"dagd dags unpause {dag.name}"
    return Answer(state, reasons, next_text)


def dag_blockers(case: Case) -> list[Because]:
    """What keeps new runs of the DAG from starting."""
    dag, found = case.dag, []
    if dag.missing:
        found.append(Because("WHY-MISSING-FILE", "its file is gone: no run starts until it is back"))
    if dag.paused:
        found.append(Because("WHY-PAUSED", f"it is paused; `dagd dags unpause {dag.name}` lets it run"))
    if dag.held is not None:
        found.append(Because("WHY-HELD", f"it is set aside after an error: {dag.held.partition(chr(10))[0]}"))
    if dag.graph is not None and len(dag.running) >= dag.max_runs:
        runs = [case.state.runs[run].run_id for run in sorted(dag.running)]
        told = f"{len(dag.running)} of {dag.max_runs} runs (max_active_runs) are active: {names(runs)}"
        found.append(Because("WHY-ACTIVE-RUNS", told))
    if not case.has_scheduler:
        found.append(Because("WHY-NO-SCHEDULER", "no scheduler is running: start `dagd up`"))
    return found


def backfill_reasons(case: Case) -> list[Because]:
    """The backfills of the DAG that have not ended."""
    found = []
    for view in case.dag.backfills.values():
        told = f"backfill {view.name} is {view.state.word}: {view.done} of {view.slots} slots done, "
        told += f"{len(view.active)} of {view.max_active} runs active"
        if case.dag.paused:
            told += "; it waits for the DAG to be unpaused"
        elif view.state is BackfillState.PAUSED:
            told += f"; `dagd backfill resume {view.name}` lets it go on"
        found.append(Because("WHY-BACKFILL", told, False))
    return found


def asset_reasons(case: Case) -> list[Because]:
    """The leaves of the asset condition: which have an open event, which are waited for."""
    assert case.dag.graph is not None
    condition, found = case.dag.graph.spec.condition, []
    open_keys = {key for key, events in case.dag.open_events.items() if events}
    is_met = assets.is_true(condition, open_keys)
    for key in assets.leaves_of(condition):
        count = len(case.dag.open_events.get(key, ()))
        if count:
            found.append(Because("WHY-ASSET-OPEN", f"asset {key} has {count} event(s) that no run has consumed", False))
        else:
            told = f"asset {key} has no event since the last run" + ("" if is_met else ": it is waited for")
            found.append(Because("WHY-ASSET-WAITS", told, not is_met))
    return sorted(found, key=lambda one: not one.blocking)


def _places(case: Case) -> str:
    dag = case.dag
    pools = sorted({task.pool for task in dag.graph.tasks}) if dag.graph else []
    known = [case.state.pools[name] for name in pools if name in case.state.pools]
    told = [f"pool {pool.name} {pool.used}/{pool.slots}" for pool in known[:MOST]]
    return ", ".join([*told, f"active runs {len(dag.running)}/{dag.max_runs}"])


# --- a run -----------------------------------------------------------------------------------------------------------


def why_run(case: Case) -> Answer:
    """Why a run exists, and what it waits for or how it ended."""
    run = case.run
    assert run is not None
    kind = {
        RunKind.SCHEDULED: f"its slot fell due {case.when(run.due_at)}",
        RunKind.ASSET: "asset events made it",
        RunKind.PLAN: "an asset plan asked for it",
    }.get(run.kind, f"it was asked for {case.when(run.created_at)}")
    if run.backfill is not None:
        kind = f"backfill b-{run.backfill} {'made it' if run.kind is RunKind.BACKFILL else 'runs it again'}"
    why = Because("WHY-KIND", f"{run.kind.word} run: {kind}", False)
    if run.state is RunState.QUEUED:
        return Answer("queued", [*(queue_reasons(case, run)), why])
    tasks = [answer_for_task(case, task) for task in run.tasks]
    reasons: list[Because] = []
    if run.verdict is not None and run.reason:
        reasons.append(Because("WHY-STOPPED", f"it ends as {run.verdict.word}: {run.reason}"))
    if run.state is RunState.RUNNING:
        for task, answer in zip(run.tasks, tasks, strict=True):
            if task.remaining and answer.reasons:
                first = answer.reasons[0]
                reasons.append(first._replace(message=f"{task.spec.task_id}: {first.message}"))
    else:
        reasons += _failures(case, run)
        if run.state is RunState.SUCCESS:
            reasons.append(Because("WHY-DONE", "every task that counts succeeded or was skipped", False))
    named = f"dagd tasks clear {case.dag.name}/{run.run_id}"
    failed = next((task.spec.task_id for task in run.tasks if A.FAILED in task.states), None)
    is_over = run.state in (RunState.FAILED, RunState.CANCELLED)
    return Answer(run.state.word, [*reasons[: MOST * 2], why], f"{named}/{failed}+" if is_over and failed else None)


def queue_reasons(case: Case, run: RunView) -> list[Because]:
    """Why a queued run has not started."""
    found = dag_blockers(case)
    if found:
        return found
    ahead = [one for one in case.dag.queued if one < (run.rank, run.due_at, run.id)]
    if ahead:
        return [Because("WHY-QUEUE", f"{len(ahead)} queued run(s) of the DAG come before it")]
    return [Because("WHY-STARTING", "nothing holds it back: it starts with the scheduler's next turn", False)]


def _failures(case: Case, run: RunView) -> list[Because]:
    found = []
    for task in run.tasks:
        for pos, code in enumerate(task.states):
            if code == A.FAILED:
                found.append(failure(case, task, pos))
    return found


# --- a task instance -------------------------------------------------------------------------------------------------


def answer_for_task(case: Case, task: TaskState) -> Answer:
    """The answer for the first instance of a task that has not ended, else for the first one."""
    open_at = next((pos for pos in range(len(task.states)) if task.is_open(pos)), 0)
    return why_instance(case, task, open_at)


def why_instance(case: Case, task: TaskState, pos: int) -> Answer:
    """Why a task instance is in its state."""
    run, code = case.run, task.states[pos]
    assert run is not None
    if run.state is RunState.QUEUED:
        first = Because("WHY-RUN-QUEUED", f"its run {run.run_id} has not started")
        return Answer("none", [first, *queue_reasons(case, run)])
    if not task.is_open(pos):
        return ended(case, task, pos)
    instance = task.instances.get(pos)
    blockers = [] if case.has_scheduler else [Because("WHY-NO-SCHEDULER", "no scheduler is running: start `dagd up`")]
    if code in (RETRYING, A.DEFERRED) and instance is not None:
        return _pauses(case, task, pos, blockers)
    if code in (A.QUEUED, A.RUNNING) and instance is not None:
        return Answer(A(code).word, [_live(case, code, instance.try_no, instance.first_started_at), *blockers])
    if code in (READY, RESUMING):
        free = Because("WHY-STARTING", "nothing holds it back: it starts with the scheduler's next turn", False)
        return Answer(WORDS[code], [*(place_blockers(case, task) or [free]), *blockers])
    return Answer("none", [*_waits_for(case, task, pos), *blockers])


def _pauses(case: Case, task: TaskState, pos: int, blockers: list[Because]) -> Answer:
    """An instance that waits for an instant: the next try, or the next leg."""
    instance = task.instance(pos)
    if task.states[pos] == A.DEFERRED:
        until = f" until {case.when(instance.resume_at)}" if instance.resume_at is not None else ""
        if instance.trigger is not None and not until:
            until = f" for {describe(json.loads(instance.trigger))}"
        most = f", until {case.when(instance.gives_up_at)} at most" if instance.gives_up_at is not None else ""
        told = f"it waits{until}{most} and holds no slot"
        return Answer("deferred", [Because("WHY-DEFERRED", told), *blockers], iso(instance.resume_at))
    next_at = instance.next_try_at if instance.next_try_at is not None else case.turn.now
    told = f"try {instance.try_no} failed{said(case, task, pos)}; the next one starts {case.when(next_at)}"
    return Answer("up_for_retry", [Because("WHY-RETRY", told), *blockers], iso(next_at))


def _live(case: Case, code: int, try_no: int, started_at: Micros | None) -> Because:
    if code == A.RUNNING and started_at is not None:
        return Because("WHY-RUNNING", f"try {try_no} runs since {case.when(started_at)}", False)
    return Because("WHY-QUEUED", f"try {try_no} has its place and waits for its process", False)


def place_blockers(case: Case, task: TaskState) -> list[Because]:
    """The limits that a ready instance meets, in the order in which admission looks at them."""
    spec, dag, found = task.spec, case.dag, []
    pool = case.state.pools.get(spec.pool)
    if pool is None or spec.pool in case.missing_pools:
        told = f"there is no pool {spec.pool!r}: `dagd pools set {spec.pool} SLOTS` makes it"
        return [Because("WHY-POOL-MISSING", told)]
    if spec.pool_slots > pool.slots:
        told = f"it asks for {spec.pool_slots} slots of pool {pool.name}, which has {pool.slots}: it can never start"
        return [Because("WHY-POOL-TOO-SMALL", told)]
    limit = dag.graph.spec.max_active_tasks if dag.graph else 0
    if dag.graph is not None and dag.active_tasks >= limit:
        told = f"the DAG runs {dag.active_tasks} of {limit} tasks (max_active_tasks)"
        found.append(Because("WHY-DAG-LIMIT", told))
    active, at_once = dag.task_active.get(task.no, 0), spec.max_active_tis_per_dag
    if at_once is not None and active >= at_once:
        told = f"{active} of {at_once} instances of the task run (max_active_tis_per_dag)"
        found.append(Because("WHY-TASK-LIMIT", told))
    of_run = task.count(A.QUEUED, A.RUNNING)
    if spec.max_active_tis_per_dagrun is not None and of_run >= spec.max_active_tis_per_dagrun:
        told = f"{of_run} of {spec.max_active_tis_per_dagrun} instances run in this run (max_active_tis_per_dagrun)"
        found.append(Because("WHY-TASK-LIMIT", told))
    if spec.pool_slots > pool.slots - pool.used:
        users = case.pool_users.get(pool.name, [])
        wants = f", it needs {spec.pool_slots}" if spec.pool_slots > 1 else ""
        told = f"pool {pool.name} is full: {pool.used} of {pool.slots} slots used{wants}"
        found.append(Because("WHY-POOL", f"{told} by {names(users)}" if users else told))
    if case.workers is not None and case.busy >= case.workers:
        told = f"no worker slot is free: {case.busy} tries have a place, the agent has {case.workers} slots"
        found.append(Because("WHY-WORKERS", told))
    ahead = _ahead(case, task) if any(one.code in ("WHY-POOL", "WHY-WORKERS", "WHY-DAG-LIMIT") for one in found) else []
    if ahead:
        found.append(Because("WHY-PRIORITY", f"what has a higher priority comes first: {names(ahead)}"))
    return found


def _ahead(case: Case, task: TaskState) -> list[str]:
    """The tasks of the DAG that are ready, want a place of the same pool, and come first by rank or priority."""
    run, found = case.run, []
    assert run is not None
    mine = (run.rank, -task.spec.priority)
    for other in case.state.runs.values():
        for one in other.tasks if other.dag == case.dag.id else ():
            is_before = one.spec.pool == task.spec.pool and (other.rank, -one.spec.priority) < mine
            if is_before and one.count(READY, RESUMING):
                found.append(f"{other.run_id}/{one.spec.task_id} (priority {one.spec.priority})")
    return found


def _waits_for(case: Case, task: TaskState, pos: int) -> list[Because]:
    """What an instance without a conclusion waits for."""
    run, found = case.run, []
    assert run is not None
    if flow.is_blocked(task, pos):
        found.append(Because("WHY-OLD-TRY", "the try that a clear or mark stopped has yet to end"))
    if not task.past_ok:
        before = flow.past_blocker(case.turn, run, task)
        rule = "wait_for_downstream" if task.spec.wait_for_downstream else "depends_on_past"
        told = f"{rule}: {task.spec.task_id} of the run before, {before}, has not succeeded or been skipped"
        found.append(Because("WHY-PAST", told))
    gates = [
        _shown(run, gate, pos, task.i) for gate in sorted(run.graph.gates[task.i]) if _is_open(run, gate, pos, task.i)
    ]
    if gates:
        found.append(Because("WHY-GATE", f"its branch or short-circuit has not ended: {names(gates)}"))
    ups = [_shown(run, up, pos, task.i) for up in run.graph.ups[task.i] if _is_open(run, up, pos, task.i)]
    verdict = flow.verdict_at(task, pos) if task.inner is not None else flow.verdict_of(run, task)
    if ups and (verdict is Verdict.WAIT or task.sources_open):
        rule = "teardown" if task.setup is not None else f"trigger rule {task.spec.trigger_rule}"
        found.append(Because("WHY-UPSTREAM", f"{rule}: waits for {names(ups)}"))
    return found or [Because("WHY-STARTING", "the scheduler's next turn concludes on it", False)]


def _is_open(run: RunView, i: int, pos: int, below: int) -> bool:
    task = run.tasks[i]
    if run.graph.same_scope(i, below) and pos < len(task.states):
        return task.is_open(pos)
    return task.remaining > 0


def _shown(run: RunView, i: int, pos: int, below: int) -> str:
    """An upstream with its state; of a mapped one how many have ended."""
    task = run.tasks[i]
    if run.graph.same_scope(i, below) and pos < len(task.states):
        return f"{task.spec.task_id}/{pos} ({word_of(task.states[pos])})"
    if len(task.states) > 1:
        return f"{task.spec.task_id} ({len(task.states) - task.remaining} of {len(task.states)} ended)"
    return f"{task.spec.task_id} ({word_of(task.states[0])})"
