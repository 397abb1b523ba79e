"""Random DAGs, outcomes, requests and orders through the pure core, checked against rows after every turn.

Safety: `Driver.check` (no limit exceeded, counters agree with rows), `Rows` (no illegal move, no second success, no
overlapping tries), and memory rebuilt from rows equals memory. Liveness: every run ends.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagd.decide.rules import RULES
from dagd.model.specs import DagSpec, GroupSpec
from dagd.model.states import AttemptState
from dagd.model.times import SECOND
from tests.core_driver import Driver, dag, expand, items, over

EXAMPLES = max(400, settings.get_profile(settings.get_current_profile_name()).max_examples)
NAMES = [f"t{at}" for at in range(8)]
RULE = st.one_of(st.just("all_success"), st.just("all_done"), st.sampled_from(sorted(RULES)))
FILE = {"kind": "file", "path": "/x"}
ENDS = ["succeed", "succeed", "succeed", "fail", "skip", "defer", "lost"]


@st.composite
def a_task(draw: st.DrawFn, at: int, in_group: bool) -> dict[str, Any]:
    above = NAMES[:at]
    ups = draw(st.lists(st.sampled_from(above), unique=True, max_size=3)) if above else []
    task: dict[str, Any] = {"trigger_rule": draw(RULE), "retry_delay_us": draw(st.sampled_from([1, SECOND]))}
    task["retries"] = draw(st.integers(0, 1))
    task["pool"] = draw(st.sampled_from(["default_pool", "narrow"]))
    task["pool_slots"] = draw(st.integers(1, 2)) if task["pool"] == "narrow" else 1
    task["priority"] = draw(st.integers(1, 3))
    task["isolation"] = draw(st.sampled_from(["fork", "fork", "engine"]))
    task["max_active_tis_per_dag"] = draw(st.sampled_from([None, None, 1]))
    task["depends_on_past"] = draw(st.sampled_from([False, False, True]))
    task["decides"] = draw(st.sampled_from([None, None, "branch", "short_circuit", "short_circuit_direct"]))
    if task["decides"]:
        task["isolation"] = "fork"
    if in_group:
        task |= {"mapped_group": "g", "group": "g"}
    elif ups and draw(st.booleans()):
        task["expand"] = expand(draw(st.sampled_from([over(ups[0]), items(2), items(0)])))
        task["isolation"] = "fork"
    task["up"] = " ".join(ups)
    usual = {"trigger_rule": "all_success", "pool": "default_pool", "pool_slots": 1, "priority": 1, "isolation": "fork"}
    return {key: value for key, value in task.items() if value and usual.get(key) != value}


@st.composite
def dags(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of `dag`."""
    size = draw(st.integers(1, len(NAMES)))
    grouped = draw(st.sets(st.integers(1, size), max_size=3))
    tasks = {name: draw(a_task(at, at in grouped)) for at, name in enumerate(NAMES[:size])}
    if size > 2 and draw(st.booleans()):
        tasks[NAMES[0]]["is_setup"] = True
        tasks["down"] = {"setups": NAMES[0], "up": NAMES[size - 1], "on_failure_fail_dagrun": draw(st.booleans())}
    first_in_group = next((at for at in range(size) if at in grouped), None)
    outside = [name for at, name in enumerate(NAMES[: first_in_group or 0]) if at not in grouped]
    source = draw(st.sampled_from([items(2), items(1), *map(over, outside[:1])]))
    groups = (GroupSpec("g", expand=expand(source)),) if first_in_group is not None else ()
    for name in source.xcom_sources():
        for at in grouped & set(range(size)):
            task = tasks[NAMES[at]]
            task["up"] = " ".join(sorted({*task.get("up", "").split(), name}))
    return {
        "tasks": tasks,
        "groups": groups,
        "fail_fast": draw(st.sampled_from([False, False, True])),
        "success_when": draw(st.sampled_from(["all", "leaves"])),
        "max_active_tasks": draw(st.sampled_from([2, 16])),
        "max_active_runs": draw(st.sampled_from([1, 2])),
    }


def outcome_of(driver: Driver, token: str, choice: int, size: int) -> dict[str, Any]:
    """A result that a task of this kind might give."""
    name, _ = driver.where(token)
    spec = driver.graphs[1].spec.task(name)
    end = ENDS[choice % len(ENDS)]
    below = [
        NAMES[at]
        for at in range(len(NAMES))
        if any(name in t.upstreams for t in driver.graphs[1].tasks if t.task_id == NAMES[at])
    ]
    more: dict[str, Any] = {
        "value": size if choice % 5 else None,
        "branch": below[: choice % 3],
        "short_circuit": choice % 2 == 0,
    }
    if token in driver.stopped:
        return driver.result(token, "cancel" if choice % 2 else "succeed", **more)
    if end == "defer":
        leg = driver.live[token].leg
        if leg < 3 and not spec.decides:
            if choice % 2:
                return driver.result(token, "defer", trigger=FILE, timeout_us=choice % 5 * SECOND)
            return driver.result(token, "defer", until=driver.now + choice % 3 * SECOND)
        end = "succeed"
    if end == "lost":
        return driver.result(token, "fail", reason="lost")
    return driver.result(token, end, **more)


def is_waiting(row: Any) -> bool:
    """Whether a stored try waits for a trigger."""
    return row.state == AttemptState.DEFERRED and row.waits_for is not None


def act(driver: Driver, spec: DagSpec, move: int) -> None:
    """One step of the world: mostly a try ends, sometimes a person asks for something, sometimes time passes."""
    run = 1 + move // 7 % 2
    kind = move % 23
    task = spec.tasks[move // 23 % len(spec.tasks)].task_id
    if kind == 0 and run in driver.rows.runs:
        driver.command("cancel", run)
    elif kind == 1 and run in driver.rows.runs:
        below = {task}
        for other in spec.tasks:
            if below & set(other.upstreams):
                below.add(other.task_id)
        driver.command("clear", run, instances=[[name, None] for name in sorted(below)])
    elif kind == 2 and run in driver.rows.runs:
        driver.command("mark_tasks", run, instances=[[task, None]], state=["success", "failed", "skipped"][move % 3])
    elif kind == 3 and run in driver.rows.runs:
        driver.command("kill", run, instances=[[task, None]])
    elif kind == 4:
        driver.turn(pools=[("narrow", move % 4, move % 4)])
    elif kind == 5 and driver.live:
        token = list(driver.live)[move % len(driver.live)]
        driver.turn(started=[(token, 7, driver.now, "agent")])
    elif kind in (6, 7) and (waits := [row.token for row in driver.rows.attempts.values() if is_waiting(row)]):
        told = {"event": {"n": move}} if kind == 6 else {"error": {"message": "cannot look"}}
        driver.turn(fired=[{"token": waits[move % len(waits)], **told}])
    elif driver.live:
        token = list(driver.live)[move % len(driver.live)]
        driver.turn(results=[outcome_of(driver, token, move // 3, move % 3)])
    else:
        at = driver.state.next_timer_at()
        driver.now = driver.now if at is None else max(driver.now, at)
        driver.turn()


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(
    given_dag=dags(),
    moves=st.lists(st.integers(0, 10**6), max_size=60) | st.lists(st.integers(0, 10**6), min_size=30, max_size=60),
)
def test_the_core_is_safe_ends_every_run_and_is_what_its_rows_say(given_dag: dict[str, Any], moves: list[int]) -> None:
    spec = dag(**given_dag)
    driver = Driver(spec, pools={"narrow": 2}, check_rebuild=True)
    driver.trigger()
    driver.trigger()
    for move in moves:
        act(driver, spec, move)
    driver.turn(pools=[("narrow", 2, 2)])
    driver.drain({name: {"outcome": "succeed", "value": 1, "branch": [], "short_circuit": False} for name in NAMES})
    for run, row in driver.rows.runs.items():
        if driver.state.runs.get(run) is not None:
            stuck = {task.spec.task_id: list(task.states) for task in driver.state.runs[run].tasks}
            assert is_held_by_the_past(driver, run), (run, driver.states(run), stuck)
        else:
            assert row.state >= 10
    assert not driver.state.superseded


def is_held_by_the_past(driver: Driver, run: int) -> bool:
    """A run may wait for ever when the one before it ended badly: depends_on_past says so."""
    views = driver.state.runs
    return any(not task.past_ok for view in views.values() for task in view.tasks) or not views[run].tasks


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(given_dag=dags(), choices=st.lists(st.integers(0, 10**6), min_size=40, max_size=40))
def test_the_end_of_a_run_does_not_depend_on_the_order_in_which_tries_end(
    given_dag: dict[str, Any], choices: list[int]
) -> None:
    """Each instance has its fixed outcome; tries end first come, first served, or the other way round."""
    spec = dag(**given_dag)
    found = []
    for lifo in (False, True):
        driver = Driver(spec, pools={"narrow": 2})
        driver.trigger()
        script = {}
        for at, task in enumerate(spec.tasks):
            choice = choices[at]
            end = ["succeed", "succeed", "fail", "skip"][choice % 4]
            script[task.task_id] = {
                "outcome": end,
                "value": choice % 3,
                "branch": [t.task_id for t in spec.tasks if task.task_id in t.upstreams][: choice % 2],
                "short_circuit": choice % 5 > 0,
            }
        driver.drain(script, lifo=lifo)
        found.append((driver.run_state(), {k: v for k, v in driver.states().items() if not spec.fail_fast}))
    (one, ones), (other, others) = found
    assert one == other
    assert by_task(ones) == by_task(others)


def by_task(states: dict[str, str]) -> dict[str, set[str]]:
    """How the instances of each task ended: a group below a branch may be settled whole or index by index."""
    found: dict[str, set[str]] = {}
    for name, state in states.items():
        found.setdefault(name.split("[")[0], set()).add(state)
    return found
