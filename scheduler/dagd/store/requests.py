"""What people, programs and running tasks ask for: a run, a decision, a fact. Acknowledged means committed."""

from __future__ import annotations

import json
import os
import pwd
import random
import re
import string
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, delete, insert, or_, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from dagd.authoring.params import merge_params
from dagd.model.errors import DagdError, InvalidId, NotFound, Refused, Unreachable
from dagd.model.plans import NewRun
from dagd.model.specs import DagSpec, canonical, spec_from_json
from dagd.model.states import AttemptState, RunKind, RunState
from dagd.model.times import iso
from dagd.store import dialects, facts, reads_assets, transitions
from dagd.store.database import Database
from dagd.store.schema import asset, attempt, audit, dag, dag_run, dag_version, task, variable
from dagd.store.schema import connection as connection_table
from dagd.store.secrets import Sealer

DatabaseProblem = DBAPIError
PREFIXES = ("scheduled__", "backfill__", "asset__", "plan__")
ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")
LONGEST_KEY = 250
MOST_EVENTS = 1000
LETTERS = string.ascii_lowercase + string.digits


def is_away(error: Exception) -> bool:
    """Whether a request failed because the database cannot be reached now."""
    return isinstance(error, Unreachable) or (isinstance(error, DBAPIError) and dialects.is_disconnect(error))


@dataclass(frozen=True, slots=True)
class Triggered:
    """The answer to a trigger: the run, and whether this request made it."""

    id: int
    run_id: str
    created: bool


def write_audit(connection: Connection, actor: str, action: str, subject: str, detail: str | None = None) -> None:
    """One line of the audit log, in the transaction of the change that it tells of."""
    at = dialects.clock(connection)
    connection.execute(insert(audit).values(at=at, actor=actor, action=action, subject=subject, detail=detail))


def current_spec(connection: Connection, name: str) -> tuple[Any, DagSpec]:
    """A DAG's row and its current spec. Raises NotFound."""
    row = connection.execute(select(dag).where(dag.c.name == name)).first()
    if row is None or row.current_version is None:
        raise NotFound(f"there is no DAG {name!r}")
    text = connection.execute(select(dag_version.c.spec).where(dag_version.c.id == row.current_version)).scalar_one()
    return row, spec_from_json(text)


def trigger_run(
    connection: Connection, name: str, *, conf: dict[str, Any] | None = None, run_id: str | None = None,
    key: str | None = None, logical_at: int | None = None, actor: str = "cli",
) -> Triggered:  # fmt: skip
    """Insert a queued run. The same key with the same conf answers the run that it made.

    Raises NotFound, InvalidParams, and Refused for another conf under a key, a taken or reserved run id.
    """
    row, spec = current_spec(connection, name)
    given = conf or {}
    _check_names(run_id, key)
    if key is not None:
        found = _by_key(connection, row.id, key)
        if found is not None:
            return _same_request(found, given, key)
    merge_params(spec.params, given)
    now = dialects.clock(connection)
    at = now if logical_at is None else logical_at
    run = NewRun(
        id=_new_id(now, row.shard), dag=row.id, run_id=run_id or f"m-{''.join(random.choices(LETTERS, k=8))}",
        kind=RunKind.MANUAL, version=row.current_version, due_at=at, logical_at=at, interval_start=at,
        interval_end=at, slot=None, created_at=now, conf=canonical(given), request_key=key,
    )  # fmt: skip
    while not _is_inserted(connection, run):
        found = _by_key(connection, row.id, key) if key is not None else None
        if found is not None:
            return _same_request(found, given, str(key))
        same = select(dag_run.c.id).where(dag_run.c.dag_id == row.id, dag_run.c.run_id == run.run_id)
        if connection.execute(same).first() is not None:
            raise Refused(f"DAG {name!r} has a run {run.run_id!r} already", remedy="Choose another --run-id.")
        run.id = _new_id(now, row.shard)  # another run got this number in the same millisecond
    write_audit(connection, actor, "trigger", f"{name}/{run.run_id}", run.conf)
    return Triggered(run.id, run.run_id, True)


def _check_names(run_id: str | None, key: str | None) -> None:
    if run_id is not None and run_id.startswith(PREFIXES):
        raise Refused(f"run ids that begin with {run_id.split('__')[0]}__ are given by the scheduler alone")
    if run_id is not None and not ID.fullmatch(run_id):
        raise Refused(f"{run_id[:300]!r} is no run id", remedy=InvalidId.remedy_default)
    if key is not None and not 1 <= len(key) <= LONGEST_KEY:
        raise Refused(f"a request key has 1 to {LONGEST_KEY} characters, not {len(key)}")


def _is_inserted(connection: Connection, run: NewRun) -> bool:
    try:
        with connection.begin_nested():
            transitions.insert_runs(connection, [run])
    except IntegrityError:
        return False
    return True


def _new_id(now: int, shard: int) -> int:
    return ((now // 1000) & ((1 << 41) - 1)) << 22 | (shard & 63) << 16 | random.getrandbits(16)


def _by_key(connection: Connection, dag_id: int, key: str | None) -> Any:
    return connection.execute(select(dag_run).where(dag_run.c.dag_id == dag_id, dag_run.c.request_key == key)).first()


def _same_request(found: Any, given: dict[str, Any], key: str) -> Triggered:
    if json.loads(found.conf) != given:
        raise Refused(
            f"key {key!r} made run {found.run_id!r} with another conf", remedy="Use a new key for a new conf."
        )
    return Triggered(found.id, found.run_id, False)


def put_command(
    connection: Connection, kind: str, dag_id: int, run_id: int | None, payload: dict[str, Any], *, subject: str,
    actor: str = "cli",
) -> int:  # fmt: skip
    """A request that needs a decision; returns its id. Its audit row is in the same transaction."""
    now = dialects.clock(connection)
    text = canonical(payload)
    write_audit(connection, actor, kind, subject, text)
    values = {"kind": kind, "dag_id": dag_id, "run_id": run_id, "payload": text, "created_at": now}
    return transitions.insert_command(connection, values)


def read_for_task(
    database: Database, sealer: Sealer, kind: str, args: dict[str, Any], place: tuple[int, int, int]
) -> Any:  # fmt: skip
    """Answer a running task; None for a variable or connection that is not there. Raises DagdError."""
    with database.read() as connection:
        if kind == "xcom":
            return _xcom(connection, args, place)
        if kind == "variable":
            return connection.execute(select(variable.c.value).where(variable.c.key == args["key"])).scalar()
        if kind == "connection":
            statement = select(connection_table.c.sealed).where(connection_table.c.id == args["id"])
            sealed = connection.execute(statement).scalar()
            return None if sealed is None else json.loads(sealer.unseal(sealed))
        if kind == "previous_run":
            return _previous_run(connection, args)
        if kind == "run_state":
            return _run_state(connection, args, place)
        if kind == "asset_events":
            return _asset_events(connection, args["asset"])
    raise DagdError(f"unknown request {kind!r}")


def _xcom(connection: Connection, args: dict[str, Any], place: tuple[int, int, int]) -> Any:
    """Values of a task of the same run, or of another run of any DAG when `run_id` and `dag_id` say so."""
    run = place[0]
    row = facts.run_row(connection, run)
    if row is None:
        return []
    dag_id = row.dag_id
    if args.get("dag_id"):
        dag_id = connection.execute(select(dag.c.id).where(dag.c.name == args["dag_id"])).scalar()
    if args.get("run_id"):
        other = select(dag_run.c.id).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == args["run_id"])
        run = connection.execute(other).scalar() or 0
    number = connection.execute(
        select(task.c.task_no).where(task.c.dag_id == dag_id, task.c.task_id == args["task_id"])
    ).scalar()
    if number is None:
        return []
    key = args.get("key") or "return_value"
    rows = facts.xcom_values(connection, run, number, key)
    if not rows and args.get("prior"):
        before = facts.last_run_with_value(connection, dag_id, place[0], number, key)
        rows = [] if before is None else facts.xcom_values(connection, before, number, key)
    return [[row.map_index, row.body, row.file] for row in rows]


def _asset_events(connection: Connection, key: str) -> list[dict[str, Any]]:
    """The last events of an asset, the oldest of them first."""
    number = connection.execute(select(asset.c.id).where(asset.c.key == key)).scalar()
    rows = [] if number is None else reads_assets.events(connection, number, MOST_EVENTS)
    return [
        {
            "asset": key, "ts": row.ts, "metadata": row.metadata, "data_version": row.data_version,
            "partition": row.partition_key or None, "dag_id": row.dag_name, "run_id": row.run_name,
            "task_id": row.task_id, "map_index": row.map_index,
        }
        for row in reversed(rows)
    ]  # fmt: skip


def _previous_run(connection: Connection, args: dict[str, Any]) -> dict[str, Any] | None:
    """The run before the one of `run_id` in its DAG's order (in `state`, when one is named), or None."""
    dag_id = connection.execute(select(dag.c.id).where(dag.c.name == args["dag_id"])).scalar()
    own = connection.execute(
        select(dag_run.c.due_at, dag_run.c.id).where(dag_run.c.dag_id == dag_id, dag_run.c.run_id == args["run_id"])
    ).first()
    if own is None:
        return None
    earlier = or_(dag_run.c.due_at < own.due_at, and_(dag_run.c.due_at == own.due_at, dag_run.c.id < own.id))
    statement = select(dag_run).where(dag_run.c.dag_id == dag_id, earlier)
    if args.get("state"):
        statement = statement.where(dag_run.c.state == int(RunState[str(args["state"]).upper()]))
    row = connection.execute(statement.order_by(dag_run.c.due_at.desc(), dag_run.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    names = ("run_id", "logical_at", "interval_start", "interval_end", "started_at", "ended_at")
    return {name: getattr(row, name) for name in names}


def _run_state(connection: Connection, args: dict[str, Any], place: tuple[int, int, int]) -> Any:
    """What an ExternalTaskSensor asks: {run_id, state, tasks: {task_id: [states]}} of the run due at `logical_date`."""
    dag_id = connection.execute(select(dag.c.id).where(dag.c.name == args["dag_id"])).scalar()
    if dag_id is None:
        raise NotFound(f"there is no DAG {args['dag_id']!r}")
    statement = select(dag_run).where(dag_run.c.dag_id == dag_id)
    if args.get("run_id"):
        statement = statement.where(dag_run.c.run_id == args["run_id"])
    elif args.get("logical_date") is not None:
        statement = statement.where(dag_run.c.logical_at == args["logical_date"])
    row = connection.execute(statement.order_by(dag_run.c.due_at.desc()).limit(1)).first()
    if row is None:
        return None
    names = {number: name for name, number in facts.task_numbers(connection, dag_id).items()}
    states: dict[str, list[str]] = {}
    latest: dict[tuple[int, int], int] = {}
    # An instance's state is that of its row with try_no 0, else of its last try.
    last = case((attempt.c.try_no == 0, 1), else_=0)
    for one in connection.execute(
        select(attempt)
        .where(attempt.c.run_id == row.id, attempt.c.superseded_by.is_(None))
        .order_by(attempt.c.task_no, attempt.c.map_index, last, attempt.c.try_no)
    ):
        latest[(one.task_no, one.map_index)] = one.state
    for (number, _), code in latest.items():
        states.setdefault(names[number], []).append(AttemptState(code).word)
    return {"run_id": row.run_id, "state": RunState(row.state).word, "due_at": iso(row.due_at), "tasks": states}


def write_for_task(database: Database, kind: str, args: dict[str, Any], place: tuple[int, int, int]) -> Any:
    """Carry out a task's own request in a transaction of its own; a retry of the task finds the same run."""
    with database.write() as connection:
        if kind == "trigger":
            key = args.get("key") or f"t:{place[0]}/{place[1]}/{place[2]}"
            if args.get("refuse_paused"):
                _refuse_paused(connection, args["dag_id"])
            again = _reset_run(connection, args, key) if args.get("reset") else None
            made = again or trigger_run(
                connection, args["dag_id"], conf=args.get("conf"), run_id=args.get("run_id"), key=key,
                logical_at=args.get("logical_date"), actor=_task_name(connection, place),
            )  # fmt: skip
            return {"run_id": made.run_id, "created": made.created, "id": made.id}
        if kind == "set_variable":
            _check_key(args["key"])
            statement = dialects.upsert(connection, variable, ["key"], ["value"])
            connection.execute(statement, {"key": args["key"], "value": args["value"]})
        elif kind == "delete_variable":
            connection.execute(delete(variable).where(variable.c.key == args["key"]))
        write_audit(connection, _task_name(connection, place), kind, args["key"])
    return None


def _refuse_paused(connection: Connection, name: str) -> None:
    if connection.execute(select(dag.c.paused).where(dag.c.name == name)).scalar():
        raise Refused(f"DAG {name!r} is paused", remedy=f"dagd dags unpause {name}")


def _reset_run(connection: Connection, args: dict[str, Any], key: str) -> Triggered | None:
    """The run that a trigger finds, asked to be cleared whole, or None when there is none. Raises Refused for another
    conf: a run keeps the one that it was made with."""
    row, _ = current_spec(connection, args["dag_id"])
    same = or_(dag_run.c.run_id == args.get("run_id"), dag_run.c.request_key == key)
    found = connection.execute(select(dag_run).where(dag_run.c.dag_id == row.id, same)).first()
    if found is None:
        return None
    if json.loads(found.conf) != (args.get("conf") or {}):
        raise Refused(f"run {found.run_id!r} has another conf, which a reset keeps", remedy="Use a new trigger_run_id.")
    text = connection.execute(select(dag_version.c.spec).where(dag_version.c.id == found.version_id)).scalar_one()
    payload = {"instances": [[one.task_id, None] for one in spec_from_json(text).tasks]}
    put_command(connection, "clear", row.id, found.id, payload, subject=f"{row.name}/{found.run_id}", actor="task")
    return Triggered(found.id, found.run_id, False)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= LONGEST_KEY or not key.isprintable() or key.strip() != key:
        raise Refused(f"{key[:80]!r} is no name of a variable", remedy="It is 1 to 250 printable characters.")


def _task_name(connection: Connection, place: tuple[int, int, int]) -> str:
    """Who a task is, for the audit log: `task DAG/RUN/TASK/INDEX`."""
    run, task_no, index = place
    found = connection.execute(
        select(dag.c.name, dag_run.c.run_id, task.c.task_id)
        .join(dag, dag.c.id == dag_run.c.dag_id)
        .join(task, and_(task.c.dag_id == dag.c.id, task.c.task_no == task_no))
        .where(dag_run.c.id == run)
    ).first()
    if found is None:
        return "task"
    return "task " + "/".join([*found, *([] if index < 0 else [str(index)])])


def user_name() -> str:
    """Who acts, for the audit log."""
    try:
        return os.environ.get("USER") or os.environ.get("LOGNAME") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
