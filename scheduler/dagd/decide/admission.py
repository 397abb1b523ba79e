"""From ready to queued: pools, limits, priorities and fairness. Every limit is checked here and nowhere else.

Each pool has buckets by (rank, -priority); in a bucket DAGs take turns; within a DAG first come, first served. A DAG
at its limit leaves the rotation of its buckets until one of its tries ends, so blocked work is never scanned again and
again, and a full pool never hides the work of another.
"""

from __future__ import annotations

from collections import deque

from dagd.decide.settling import call_back, end_instance
from dagd.decide.state import READY, RESUMING, DagState, Pool, Ready, RunView, State, TaskState
from dagd.decide.turn import Turn
from dagd.model.plans import End, Enqueue, Launch, Resume
from dagd.model.specs import TaskSpec
from dagd.model.states import AttemptState
from dagd.model.times import SECOND

PATIENCE_US = 5 * SECOND
QUICK_US = 3_000
PREFETCH = 16
MOST_PASSED = 32  # starts of smaller requests before a larger one's slots are kept free, however fast they come
LOOK_AHEAD = 64  # how many requests for more slots than are free may be passed over for a smaller one behind them
STARTABLE = frozenset({READY, RESUMING})


def make_ready(turn: Turn, run: RunView, task: TaskState, pos: int, end: int) -> None:
    """Instances `pos` to `end` may start: they join their pool's queue, or end at once when no process is needed."""
    if task.spec.isolation == "engine":
        for at in range(pos, end):
            _complete_at_once(turn, run, task, at)
        return
    for at in range(pos, end):
        task.states[at] = RESUMING if task.states[at] == AttemptState.DEFERRED else READY
    pool = turn.state.pools.get(task.spec.pool)
    if pool is None:
        pool = turn.state.pools[task.spec.pool] = Pool(task.spec.pool, 0, 0)
    put(turn, pool, Ready(run, task.i, pos, end, turn.now))


def put(turn: Turn, pool: Pool, item: Ready) -> None:
    """Queue `item` in `pool`; one that can never fit is set aside until the pool changes."""
    run = item.run
    task = run.tasks[item.task]
    if task.spec.pool_slots > pool.slots:
        pool.aside.append(item)
        return
    key = (run.rank, -task.spec.priority)
    bucket = pool.buckets.setdefault(key, {})
    queue = bucket.get(run.dag)
    if queue is None:
        queue = bucket[run.dag] = deque()
    queue.append(item)


def _complete_at_once(turn: Turn, run: RunView, task: TaskState, pos: int) -> None:
    instance = task.instance(pos)
    instance.try_no += 1
    token = turn.state.new_token()
    key = turn.key(run, task, pos)
    turn.plan.enqueues.append(Enqueue(key, instance.try_no, token, turn.now, task.spec.pool, 0))
    end = End(key, instance.try_no, token, "succeed", turn.now, started_at=turn.now)
    turn.plan.instant_ends.append(end)
    turn.engine_successes.append((run, task, pos, token, instance.try_no))
    call_back(turn, run, task, pos, "success")
    end_instance(turn, run, task, pos, AttemptState.SUCCESS)


def admit(turn: Turn) -> None:
    """Start what fits: ranks before priorities over all pools, pools side by side, DAGs in turn."""
    full: set[str] = set()
    pools = turn.state.pools
    for pool in pools.values():
        pool.wanted = 0
    for key, name in sorted((key, pool.name) for pool in pools.values() for key in pool.buckets):
        if name not in full and not _drain_bucket(turn, pools[name], key):
            full.add(name)


def _drain_bucket(turn: Turn, pool: Pool, key: tuple[int, int]) -> bool:
    """Admit from one bucket; False when the pool or the host is full."""
    bucket, passed_over = pool.buckets[key], {}
    has_room = True
    while bucket and has_room:
        if not _host_has_room(turn, bucket):
            has_room = False
            break
        if pool.free <= 0:
            pool.wanted = max(pool.wanted, 1)
            has_room = False
            break
        dag_id = next(iter(bucket))
        queue = bucket.pop(dag_id)
        dag = turn.state.dags.get(dag_id)
        if dag is None:
            continue
        taken = _take_one(turn, pool, dag, queue)
        if taken == "dag full":
            _park(pool, key, dag, queue)
        elif taken == "keep free":
            pool.buckets[key] = bucket = {dag_id: queue, **bucket}  # first in turn until it has its slots
            has_room = False
        elif taken == "passed over":
            passed_over[dag_id] = queue
        else:
            pool.passed += taken == "taken" and bool(passed_over)
            if queue:
                bucket[dag_id] = queue  # to the end of the rotation
    bucket.update(passed_over)
    if not bucket:
        del pool.buckets[key]
    return has_room


def _host_has_room(turn: Turn, bucket: dict[int, deque[Ready]]) -> bool:
    """Whether the host takes one more. Quick warm tries may queue in the agent, so that each turn carries more of them;
    what takes longer is kept here, where priorities still count."""
    state = turn.state
    if state.outstanding < state.capacity:
        return True
    if state.outstanding >= state.capacity * PREFETCH:
        return False
    queue = next(iter(bucket.values()))
    if not queue or not queue[0].is_current(state):
        return True
    spec = queue[0].run.graph.tasks[queue[0].task]
    return spec.isolation == "warm" and state.pace_us.get(spec.worker_key, QUICK_US) < QUICK_US


def note_pace(state: State, spec: TaskSpec, took_us: int) -> None:
    """A warm try has ended: what the tries of its worker take when nothing slows them (down at once, up slowly)."""
    if spec.isolation == "warm":
        before = state.pace_us.get(spec.worker_key, took_us)
        state.pace_us[spec.worker_key] = took_us if took_us < before else before + (took_us - before) // 50


def _park(pool: Pool, key: tuple[int, int], dag: DagState, queue: deque[Ready]) -> None:
    """The DAG is at its limit: what it has here leaves the rotation, behind what left before."""
    dag.parked.add((pool.name, key))
    pool.parked.setdefault(key, {}).setdefault(dag.id, deque()).extend(queue)


def _next_startable(state: State, queue: deque[Ready]) -> Ready | None:
    """Take the first entry whose instance still waits for a place; what has moved on since leaves the queue."""
    while queue:
        item = queue.popleft()
        if not item.is_current(state):
            continue
        if item.run.tasks[item.task].states[item.pos] in STARTABLE:
            return item
        if item.pos + 1 < item.end:
            queue.appendleft(item._replace(pos=item.pos + 1))
    return None


def _take_one(turn: Turn, pool: Pool, dag: DagState, queue: deque[Ready]) -> str:
    skipped: list[Ready] = []
    outcome = "empty"
    while (item := _next_startable(turn.state, queue)) is not None:
        run, task = item.run, item.run.tasks[item.task]
        if task.spec.pool_slots > pool.slots:
            pool.aside.append(item)  # the pool shrank
            continue
        if dag.graph is not None and dag.active_tasks >= dag.graph.spec.max_active_tasks:
            queue.appendleft(item)
            outcome = "dag full"
            break
        if _task_limit_reached(dag, run, task):
            dag.held_items.setdefault(task.no, deque()).append(item)
            continue
        if task.spec.pool_slots > pool.free:
            pool.wanted = max(pool.wanted, task.spec.pool_slots - pool.free)
            if turn.now - item.since > PATIENCE_US or pool.passed >= MOST_PASSED:
                queue.appendleft(item)
                outcome = "keep free"  # what is free now is for this one alone
                break
            skipped.append(item)
            if len(skipped) == LOOK_AHEAD:
                break
            continue
        if item.pos + 1 < item.end:
            queue.appendleft(item._replace(pos=item.pos + 1))
        start_try(turn, pool, dag, run, task, item.pos)
        pool.passed = pool.passed + 1 if skipped else 0 if task.spec.pool_slots > 1 else pool.passed
        outcome = "taken"
        break
    queue.extendleft(reversed(skipped))
    return "passed over" if outcome == "empty" and skipped else outcome


def _task_limit_reached(dag: DagState, run: RunView, task: TaskState) -> bool:
    spec = task.spec
    if spec.max_active_tis_per_dag is not None and dag.task_active.get(task.no, 0) >= spec.max_active_tis_per_dag:
        return True
    if spec.max_active_tis_per_dagrun is None:
        return False
    return task.count(AttemptState.QUEUED, AttemptState.RUNNING) >= spec.max_active_tis_per_dagrun


def start_try(turn: Turn, pool: Pool, dag: DagState, run: RunView, task: TaskState, pos: int) -> None:
    """Commit a place to an instance: a new try, or the next leg of a deferred one."""
    state, instance = turn.state, task.instance(pos)
    token = state.new_token()
    key = turn.key(run, task, pos)
    if instance.leg:
        instance.leg += 1
        state.tokens.pop(instance.token or "", None)
        turn.plan.resumes.append(Resume(key, instance.try_no, instance.token or "", instance.leg, token, turn.now))
    else:
        instance.try_no += 1
        instance.leg = 1
        turn.plan.enqueues.append(Enqueue(key, instance.try_no, token, turn.now, pool.name, task.spec.pool_slots))
    instance.token = token
    instance.queued_at = turn.now
    instance.next_try_at = None
    task.states[pos] = AttemptState.QUEUED
    state.tokens[token] = (run.id, task.i, pos)
    state.outstanding += 1
    pool.used += task.spec.pool_slots
    dag.active_tasks += 1
    dag.task_active[task.no] = dag.task_active.get(task.no, 0) + 1
    run.active += 1
    turn.plan.launches.append(
        Launch(
            key, task.i, instance.try_no, instance.leg, token, instance.leg_state, instance.first_started_at, turn.now
        )
    )


def release(turn: Turn, run: RunView, task: TaskState) -> None:
    """A try holds no place any more (it ended or was deferred): wake what its limits held back."""
    state = turn.state
    dag = state.dags[run.dag]
    pool = state.pools.get(task.spec.pool)
    state.outstanding -= 1
    run.active -= 1
    dag.active_tasks -= 1
    dag.task_active[task.no] = dag.task_active.get(task.no, 1) - 1
    if pool is not None:
        pool.used -= task.spec.pool_slots
    wake(turn, dag, task.no)


def wake(turn: Turn, dag: DagState, task_no: int) -> None:
    """Put back what waited for this DAG's or this task's limit."""
    for name, key in dag.parked:
        pool = turn.state.pools[name]
        queue = pool.parked.get(key, {}).pop(dag.id, None)
        if queue:
            present = pool.buckets.setdefault(key, {})
            if dag.id in present:
                queue.extend(present.pop(dag.id))
            present[dag.id] = queue
    dag.parked.clear()
    held = dag.held_items.get(task_no)
    while held:
        item = held.popleft()
        if item.is_current(turn.state):
            put(turn, turn.state.pools[item.run.tasks[item.task].spec.pool], item)
    dag.held_items.pop(task_no, None)


def resize_pool(turn: Turn, name: str, slots: int, quota: int) -> None:
    """A pool was made, grown or shrunk; what was set aside is looked at again."""
    pool = turn.state.pools.get(name)
    if pool is None:
        turn.state.pools[name] = Pool(name, slots, quota)
        return
    pool.slots, pool.quota = slots, quota
    aside, pool.aside = pool.aside, []
    for item in aside:
        if item.is_current(turn.state):
            put(turn, pool, item)
