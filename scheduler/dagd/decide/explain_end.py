"""How something ended, and why: what failed, which rule settled it, who decided that it was skipped."""

from __future__ import annotations

from dagd.decide.cases import BAD, MOST, Answer, Because, Case, names, word_of
from dagd.decide.state import TaskState
from dagd.model.states import AttemptState, Reason

A = AttemptState


def ended(case: Case, task: TaskState, pos: int) -> Answer:
    """Why an instance ended as it did, and the command that runs it again."""
    code, end, name = task.states[pos], case.ends.get((task.i, pos)), task.spec.task_id
    run = case.run
    assert run is not None
    again = f"dagd tasks clear {case.dag.name}/{run.run_id}/{name}+"
    reason = (end.reason if end else None) or (task.rest[0] if task.rest is not None else None)
    if end is not None and end.is_marked:
        return Answer(A(code).word, [Because("WHY-MARKED", f"{name} was marked {A(code).word} by hand", False)], again)
    if code == A.SUCCESS:
        tries = f" in try {end.tries}" if end is not None and end.tries > 1 else ""
        return Answer("success", [Because("WHY-DONE", f"{name} succeeded{tries}", False)])
    if code == A.FAILED:
        return Answer("failed", [failure(case, task, pos)], again)
    if code == A.UPSTREAM_FAILED or (code == A.SKIPPED and reason == Reason.UPSTREAM):
        return Answer(A(code).word, _by_rule(case, task, pos), again)
    if code == A.SKIPPED:
        return Answer("skipped", [_skip(case, task, reason)], again)
    told = f"{name} was stopped: {reason or 'cancelled'}"
    return Answer(A(code).word, [Because("WHY-STOPPED", told)], again)


def failure(case: Case, task: TaskState, pos: int) -> Because:
    """What failed, after how many tries, with what error, and where."""
    index = f"/{pos}" if len(task.states) > 1 else ""
    end = case.ends.get((task.i, pos))
    tries = f" after {end.tries} tries" if end is not None and end.tries > 1 else ""
    return Because("WHY-FAILED", f"{task.spec.task_id}{index} failed{tries}{said(case, task, pos)}")


def said(case: Case, task: TaskState, pos: int) -> str:
    """`: error at file:line` of an instance's end, as much of it as is known."""
    end = case.ends.get((task.i, pos))
    if end is None:
        return ""
    text = end.error.partition("\n")[0] if end.error else end.reason or ""
    if end.error and end.reason not in (None, Reason.EXCEPTION):
        text = f"{end.reason}: {text}"
    return (f": {text}" if text else "") + (f" at {end.place}" if end.place else "")


def _by_rule(case: Case, task: TaskState, pos: int) -> list[Because]:
    """The rule that settled it, the upstreams that decided, and what failed further up."""
    run = case.run
    assert run is not None
    wanted = BAD if task.states[pos] == A.UPSTREAM_FAILED else BAD | {A.SKIPPED}
    guilty = [up for up in run.graph.ups[task.i] if set(run.tasks[up].states) & wanted]
    shown = names([_guilt(case, up) for up in guilty])
    rule = "teardown" if task.setup is not None else f"trigger rule {task.spec.trigger_rule}"
    because = f"; upstream {shown}" if guilty else ""
    found = [Because("WHY-UPSTREAM", f"{task.spec.task_id} did not run: {rule}{because}")]
    seen, stack = set(), list(guilty)
    while stack and len(found) <= MOST:
        up = stack.pop()
        if up in seen:
            continue
        seen.add(up)
        above = run.tasks[up]
        found += [failure(case, above, at) for at, code in enumerate(above.states) if code == A.FAILED][:1]
        if A.UPSTREAM_FAILED in above.states:
            stack.extend(one for one in run.graph.ups[up] if set(run.tasks[one].states) & BAD)
    return found


def _guilt(case: Case, i: int) -> str:
    run = case.run
    assert run is not None
    task = run.tasks[i]
    code = next((one for one in (A.FAILED, A.UPSTREAM_FAILED, A.CANCELLED, A.SKIPPED) if one in task.states), None)
    end = case.ends.get((i, task.states.index(code))) if code is not None else None
    glyph = "✗ " if code in BAD else ""
    tries = f" after {end.tries} tries" if end is not None and end.tries > 1 else ""
    return f"{task.spec.task_id} {glyph}{word_of(code) if code is not None else 'ended'}{tries}"


def _skip(case: Case, task: TaskState, reason: str | None) -> Because:
    run, name = case.run, task.spec.task_id
    assert run is not None
    deciders = [run.tasks[i] for i in sorted(run.graph.gates[task.i])]
    if reason == Reason.NOT_CHOSEN:
        by = names([one.spec.task_id for one in deciders if one.spec.decides == "branch"])
        return Because("WHY-NOT-CHOSEN", f"{name} was not chosen by the branch {by}")
    if reason == Reason.SHORT_CIRCUIT:
        by = names([one.spec.task_id for one in deciders if one.spec.decides != "branch"])
        return Because("WHY-SHORT-CIRCUIT", f"{name} was skipped by the short-circuit {by}")
    if reason == Reason.EMPTY_MAP:
        sources = names([run.graph.tasks[i].task_id for i in sorted(run.graph.sources[task.i])])
        return Because(
            "WHY-EMPTY-MAP", f"{name} is mapped over nothing" + (f": {sources} gave no items" if sources else "")
        )
    if reason in (Reason.DAGRUN_TIMEOUT, Reason.FAIL_FAST, Reason.MARKED, Reason.CANCELLED):
        return Because("WHY-STOPPED", f"{name} was not started any more: {reason}")
    return Because("WHY-SKIPPED", f"{name} skipped itself" + (f": {reason}" if reason and reason != "skipped" else ""))
