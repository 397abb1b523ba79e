"""`dagd trigger`: insert a run; with --wait, stay until it has ended."""

from __future__ import annotations

from typing import Any

import click

from dagd.authoring.params import check_value
from dagd.cli import refs
from dagd.cli.context import new_id, new_name, now_micros, read_json, read_json_object, settings, storable
from dagd.cli.opening import opened
from dagd.cli.output import Output, duration, with_output
from dagd.cli.runs import full_run
from dagd.cli.text import first_line
from dagd.cli.waiting import follow, is_good, scheduler_lives
from dagd.cli.zones import read_logical_date, read_zone
from dagd.engine.doorbell import ring_all
from dagd.model.errors import InvalidParams, TimedOut, UsageError
from dagd.model.states import RunState
from dagd.store import reads_runs, requests
from dagd.store.database import Database

Row = dict[str, Any]
# JSON types of a schema, and what of Python's they are.
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "object": (dict,),
    "array": (list,), "null": (type(None),),
}  # fmt: skip


@click.command()
@click.argument("dag")
@click.option("-c", "--conf", help="The run's conf: a JSON object.")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="One key of the conf; repeatable.")
@click.option("--key", help="Asking twice with one key starts one run.")
@click.option("--run-id", help="The run's id (else one is made).")
@click.option("--logical-date", help="The run's logical date (else now).")
@click.option("--wait", is_flag=True, help="Stay until the run has ended; exit 1 when it did not succeed.")
@click.option("--timeout", type=click.FloatRange(min=0), help="With --wait: give up after so many seconds, exit 6.")
@with_output()
@click.pass_context
def trigger(
    ctx: click.Context, out: Output, dag: str, conf: str | None, params: tuple[str, ...], key: str | None,
    run_id: str | None, logical_date: str | None, wait: bool, timeout: float | None,
) -> None:  # fmt: skip
    """Start a run of DAG. The run is stored when this returns, whether the daemon runs or not."""
    known = settings()
    given = {} if conf is None else read_json_object(conf, "the conf")
    if run_id is not None:
        new_id(run_id, "run id")
    if key is not None:
        new_name(key, "key")
    zone = read_zone(known["core.default_timezone"])
    logical_at = None if logical_date is None else read_logical_date(logical_date, zone)
    with opened(known) as database:
        with database.write() as connection:
            row = refs.find_dag(connection, refs.dag_alone(dag))
            _, spec = requests.current_spec(connection, row.name)
            given |= dict(read_param(text, spec.params) for text in params)
            made = requests.trigger_run(
                connection, row.name, conf=given, run_id=run_id, key=key, logical_at=logical_at,
                actor=requests.user_name(),
            )  # fmt: skip
        ring_all(known.run_folder)
        answer: Row = {"dag_id": row.name, "run_id": made.run_id, "created": made.created}
        if not wait:
            _acknowledge(database, out, row, answer)
            return
        with database.read() as connection:
            run = reads_runs.by_number(connection, made.id)
        _wait(ctx, database, out, row, run, answer, timeout)


def _acknowledge(database: Database, out: Output, dag: Any, answer: Row) -> None:
    if out.is_machine:
        out.record(answer, name="run_id")
        return
    name = f"{answer['dag_id']}/{answer['run_id']}"
    with database.read() as connection:
        run = reads_runs.by_name(connection, dag.id, answer["run_id"])
        lives = scheduler_lives(connection, now_micros())
    state = out.state(RunState(run.state).word if run is not None else None)
    out.line(f"{answer['dag_id']} {answer['run_id']}  {state}" + ("" if answer["created"] else "  (this key's run)"))
    if dag.paused:
        out.note(f"the DAG is paused: dagd dags unpause {answer['dag_id']}")
    if not lives:
        out.note("no scheduler is running: the run starts with `dagd up`")
    out.note(f"follow it: dagd runs watch {name}")


def _wait(
    ctx: click.Context, database: Database, out: Output, dag: Any, run: Any, answer: Row, timeout: float | None
) -> None:
    if not out.is_machine:
        with database.read() as connection:
            if not scheduler_lives(connection, now_micros()):
                out.note("no scheduler is running: the run waits for `dagd up`")
        if dag.paused:
            out.note(f"the DAG is paused: the run waits for dagd dags unpause {dag.name}")
    try:
        state = follow(database, dag, run, timeout, out)
    except TimedOut:
        with database.read() as connection:
            code = reads_runs.state_of(connection, run.id)
        if out.is_machine and code is not None:
            out.record({**answer, "state": RunState(code).word}, name="run_id")
            out.flush()
        raise
    if out.is_machine:
        out.record({**answer, "state": state}, name="run_id")
    else:
        with database.read() as connection:
            now = reads_runs.by_number(connection, run.id)
            _tell_end(out, full_run(connection, dag, now))
    out.flush()
    if not is_good(state):
        ctx.exit(1)


def _tell_end(out: Output, run: Row) -> None:
    name = f"{run['dag_id']}/{run['run_id']}"
    took = f" in {duration(run['duration_s'])}" if run["duration_s"] is not None else ""
    mark = out.state(run["state"], short=True)
    line = f"{mark} {run['dag_id']} {run['run_id']} {run['state']}{took}"
    failed = next((task for task in run["tasks"] if task["state"] == "failed"), None)
    if failed is None:
        out.line(line + (f"   {run['reason']}" if run["reason"] else ""))
        return
    said = first_line(failed["error"] or failed["reason"] or "", 100)
    out.line(out.fit(f"{line}   {failed['task_id']}: {said}   {failed.get('error_at') or ''}").rstrip())
    index = f"/{failed['map_index']}" if failed["map_index"] is not None and failed["map_index"] >= 0 else ""
    task = f"{name}/{failed['task_id']}"
    out.line(f"  logs: dagd logs {task}{index}    why: dagd why {name}    rerun: dagd tasks clear {task}+{index}")


def read_param(text: str, specs: Any) -> tuple[str, Any]:
    """One `k=v`: v is read as JSON when that fits the Param's type, else it is the text. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"-p {text!r} is not K=V", remedy="Write -p day=2026-11-19.")
    storable(text, f"-p {name}")
    try:
        parsed = read_json(value, name)
    except UsageError:
        return name, value
    if name not in specs:
        return name, value
    return name, parsed if fits(specs[name], parsed, value) else value


def fits(spec: Any, parsed: Any, text: str) -> bool:
    """Whether the JSON reading of a text is what the Param's type asks for, rather than the text itself."""
    schema = spec.get("schema") or {}
    declared = schema.get("type")
    if declared is None and spec.get("value") is not None:
        declared = _type_of(spec["value"])
    if declared is not None:
        names = [declared] if isinstance(declared, str) else list(declared)
        return any(_is_a(parsed, name) for name in names)
    if not schema:
        return True
    return _is_valid(spec, parsed) or not _is_valid(spec, text)


def _type_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "string")


def _is_a(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES.get(name, ()))


def _is_valid(spec: Any, value: Any) -> bool:
    try:
        check_value("value", spec, value)
    except InvalidParams:
        return False
    return True
