"""The only writer of `state`: every birth and every move of attempts, runs, backfills, deadlines and requests.

Each move compares and sets: the row must stand in a source state of the move, and carry the token where it has one. The
verbs return how many rows moved; whoever counts on all of them raises Doubt when one did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, and_, bindparam, func, insert, text, update

from dagd.model.plans import (
    BackfillMove,
    CommandDone,
    DeadlineRow,
    Deferral,
    End,
    Enqueue,
    Firing,
    NewRun,
    Resume,
    RunMove,
    Settle,
    Start,
)
from dagd.model.states import (
    ATTEMPT_MOVES,
    BACKFILL_MOVES,
    RUN_MOVES,
    AttemptState,
    BackfillState,
    CommandState,
    DeadlineState,
    RunState,
)
from dagd.store import dialects
from dagd.store.database import new_key
from dagd.store.schema import attempt, backfill, command, dag_run, deadline

A = attempt.c
Row = dict[str, Any]


def _key_of(key: tuple[int, int, int], try_no: int) -> Row:
    return {"k_run": key[0], "k_task": key[1], "k_map": key[2], "k_try": try_no}


def _attempt_move(event: str, **values: Any) -> Any:
    """UPDATE of one attempt: by key, token and source state."""
    move = ATTEMPT_MOVES[event]
    return (
        update(attempt)
        .where(
            A.run_id == bindparam("k_run"),
            A.task_no == bindparam("k_task"),
            A.map_index == bindparam("k_map"),
            A.try_no == bindparam("k_try"),
            A.token == bindparam("k_token"),
            text(f"attempt.state IN ({', '.join(str(int(code)) for code in sorted(move.sources))})"),
        )
        .values(state=text(str(int(move.target))), **values)
    )


BORN = insert(attempt).values(leg=text("1"), state=text(str(int(AttemptState.QUEUED))), charged=text("0"))
ENQUEUE = dialects.Batch(BORN, ("run_id", "task_no", "map_index", "try_no", "token", "queued_at"))
START = _attempt_move(
    "start",
    started_at=func.coalesce(A.started_at, bindparam("at", type_=BigInteger)),  # a later leg is the same try
    pid=bindparam("pid_"),
    agent=bindparam("agent_"),
)
DEFER = _attempt_move(
    "defer",
    started_at=func.coalesce(A.started_at, bindparam("at", type_=BigInteger)),
    pid=bindparam("pid_"),
    resume_at=bindparam("resume"),
    leg_state=bindparam("saved"),
    waits_for=bindparam("trigger_"),
    gives_up_at=bindparam("gives_up"),
)
RESUME = _attempt_move("resume", token=bindparam("new_token"), leg=bindparam("new_leg"), resume_at=None)
FIRE = (
    update(attempt)
    .where(
        A.run_id == bindparam("k_run"),
        A.task_no == bindparam("k_task"),
        A.map_index == bindparam("k_map"),
        A.try_no == bindparam("k_try"),
        A.token == bindparam("k_token"),
        A.state == int(AttemptState.DEFERRED),
    )
    .values(resume_at=bindparam("at"), leg_state=bindparam("saved"), waits_for=None, gives_up_at=None)
)
END = {
    event: dialects.Batch(
        _attempt_move(
            event,
            ended_at=bindparam("ended"),
            started_at=func.coalesce(A.started_at, bindparam("at", type_=BigInteger)),
            pid=func.coalesce(bindparam("pid_", type_=BigInteger), A.pid),
            reason=bindparam("why"),
            error=bindparam("error_"),
            exit_code=bindparam("exit_"),
            signal=bindparam("signal_"),
            charged=bindparam("charge"),
            next_try_at=bindparam("next_at"),
            label=bindparam("label_"),
            agent=func.coalesce(A.agent, bindparam("agent_", type_=Text)),
        )
    )
    for event in ("succeed", "fail", "skip", "cancel")
}
SETTLE = insert(attempt).values(leg=1, charged=0, try_no=0)


def enqueue(connection: Connection, rows: Sequence[Enqueue]) -> int:
    """Insert new tries, queued."""
    params = [
        {
            "run_id": row.key[0], "task_no": row.key[1], "map_index": row.key[2], "try_no": row.try_no,
            "token": row.token, "queued_at": row.at,
        }
        for row in rows
    ]  # fmt: skip
    ENQUEUE.run(connection, params)
    return len(params)


def start(connection: Connection, rows: Sequence[Start]) -> int:
    """Queued tries run. A try that has moved on since is left alone."""
    params = [
        {
            **_key_of(row.key, row.try_no),
            "k_token": row.token,
            "at": row.started_at,
            "pid_": row.pid,
            "agent_": row.agent,
        }
        for row in rows
    ]
    return connection.execute(START, params).rowcount


def end(connection: Connection, rows: Sequence[End]) -> int:
    """Live tries end. Returns how many moved."""
    moved = 0
    for event, statement in END.items():
        params = [_end_params(row) for row in rows if row.event == event]
        if params:
            moved += statement.run(connection, params)
    return moved


def _end_params(row: End) -> Row:
    return {
        **_key_of(row.key, row.try_no), "k_token": row.token, "ended": row.ended_at, "at": row.started_at,
        "pid_": row.pid, "why": row.reason, "error_": row.error, "exit_": row.exit_code, "signal_": row.signal,
        "charge": int(row.charged), "next_at": row.next_try_at, "label_": row.label,
        "agent_": row.agent,
    }  # fmt: skip


def defer(connection: Connection, rows: Sequence[Deferral]) -> int:
    """Live tries wait without a process."""
    params = [
        {
            **_key_of(row.key, row.try_no), "k_token": row.token, "at": row.started_at, "pid_": row.pid,
            "resume": row.resume_at, "saved": row.state, "trigger_": row.trigger, "gives_up": row.gives_up_at,
        }
        for row in rows
    ]  # fmt: skip
    return connection.execute(DEFER, params).rowcount


def fire(connection: Connection, rows: Sequence[Firing]) -> int:
    """What deferred tries waited for has happened: they are due now, with the event, and wait for their place."""
    params = [{**_key_of(row.key, row.try_no), "k_token": row.token, "at": row.at, "saved": row.state} for row in rows]
    return connection.execute(FIRE, params).rowcount


def resume(connection: Connection, rows: Sequence[Resume]) -> int:
    """Deferred tries are queued again, with a new token: the old leg's frame changes nothing any more."""
    params = [
        {**_key_of(row.key, row.try_no), "k_token": row.token, "new_token": row.new_token, "new_leg": row.leg}
        for row in rows
    ]
    return connection.execute(RESUME, params).rowcount


def settle(connection: Connection, rows: Sequence[Settle]) -> None:
    """Instances end without a try of their own: one row each, try_no 0."""
    connection.execute(
        SETTLE,
        [
            {
                "run_id": row.key[0], "task_no": row.key[1], "map_index": row.key[2],
                "state": int(ATTEMPT_MOVES[row.event].target), "reason": row.reason, "ended_at": row.at,
            }
            for row in rows
        ],
    )  # fmt: skip


def insert_runs(connection: Connection, rows: Sequence[NewRun]) -> None:
    """Insert queued runs. Raises IntegrityError when the slot, the run id or the request key has its run already."""
    connection.execute(
        insert(dag_run).values(state=int(RunState.QUEUED)),
        [
            {
                "id": row.id, "dag_id": row.dag, "run_id": row.run_id, "kind": int(row.kind), "version_id": row.version,
                "due_at": row.due_at, "logical_at": row.logical_at, "interval_start": row.interval_start,
                "interval_end": row.interval_end, "slot": row.slot, "request_key": row.request_key, "conf": row.conf,
                "partition": row.partition, "backfill_id": row.backfill, "created_at": row.created_at,
            }
            for row in rows
        ],
    )  # fmt: skip


def _run_move(event: str, **values: Any) -> Any:
    """UPDATE of one run: by key and source state."""
    move = RUN_MOVES[event]
    sources = text(f"dag_run.state IN ({', '.join(str(int(code)) for code in sorted(move.sources))})")
    return update(dag_run).where(dag_run.c.id == bindparam("k_run"), sources).values(state=int(move.target), **values)


RUN_MOVE = {
    "start": _run_move("start", started_at=bindparam("at")),
    # dagrun_timeout counts anew
    "reopen": _run_move("reopen", started_at=bindparam("at"), ended_at=None, reason=None),
} | {
    event: _run_move(event, ended_at=bindparam("at"), reason=bindparam("why"))
    for event in ("succeed", "fail", "cancel")
}


def move_runs(connection: Connection, rows: Sequence[RunMove]) -> int:
    """Runs change their states; returns how many moved. The moves of one run keep their order."""
    moved = 0
    for together in _rounds(rows):
        for event, part in together.items():
            begins = event in ("start", "reopen")
            given: list[Row] = [
                {"k_run": row.run, "at": row.at} | ({} if begins else {"why": row.reason}) for row in part
            ]
            moved += connection.execute(RUN_MOVE[event], given).rowcount
    return moved


def _rounds(rows: Sequence[RunMove]) -> list[dict[str, list[RunMove]]]:
    """The first moves of all runs by event, then their second ones, and so on: few statements for many runs."""
    found: list[dict[str, list[RunMove]]] = []
    before: Counter[int] = Counter()
    for row in rows:
        if before[row.run] == len(found):
            found.append({})
        found[before[row.run]].setdefault(row.event, []).append(row)
        before[row.run] += 1
    return found


def insert_backfill(connection: Connection, values: Row) -> int:
    """A new backfill, queued; returns its id."""
    counts = dict.fromkeys(("done", "success", "failed", "kept", "spent_us"), 0)
    result = connection.execute(insert(backfill).values(**values, **counts, state=int(BackfillState.QUEUED)))
    return new_key(result)


def move_backfill(connection: Connection, row: BackfillMove) -> int:
    """One backfill changes its state: 1 when it moved, 0 when it did not stand in a source state."""
    change = BACKFILL_MOVES[row.event]
    values: Row = {"state": int(change.target)}
    if row.event == "start":
        values["started_at"] = row.at
    elif not BackfillState(change.target).is_active:
        values["ended_at"] = row.at
    statement = update(backfill).where(backfill.c.id == row.backfill, backfill.c.state.in_(sorted(change.sources)))
    return connection.execute(statement.values(**values)).rowcount


def write_deadlines(connection: Connection, rows: Sequence[DeadlineRow]) -> None:
    """Set, meet, miss or cancel deadlines; a closed one stays as it is."""
    for row in rows:
        key = {"run_id": row.run, "task_no": row.task_no, "kind": row.kind}
        if row.state == DeadlineState.PENDING:
            values = {**key, "dag_id": row.dag, "due_at": row.due_at, "state": row.state}
            connection.execute(dialects.insert_ignore(connection, deadline).values(**values))
            continue
        values = {"state": row.state}
        if row.state == DeadlineState.MISSED:
            values["fired_at"] = row.at
        elif row.state == DeadlineState.MET:
            values["met_at"] = row.at
        same = and_(*(deadline.c[name] == value for name, value in key.items()))
        pending = deadline.c.state == int(DeadlineState.PENDING)
        connection.execute(update(deadline).where(same, pending).values(**values))


def insert_command(connection: Connection, values: Row) -> int:
    """A new request; returns its id."""
    result = connection.execute(insert(command).values(**values, state=int(CommandState.NEW)))
    return new_key(result)


def close_command(connection: Connection, row: CommandDone, at: int) -> int:
    """A request is done or refused, in the transaction of its effect."""
    state = CommandState.DONE if row.is_done else CommandState.REFUSED
    statement = update(command).where(command.c.id == row.id, command.c.state == int(CommandState.NEW))
    return connection.execute(statement.values(state=int(state), result=row.result, done_at=at)).rowcount
