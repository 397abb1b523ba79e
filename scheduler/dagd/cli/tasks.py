"""`dagd tasks list | show | tries | render`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli import instances, refs, tasks_found
from dagd.cli.context import limit_option, settings
from dagd.cli.dags import TASKS as SPEC_COLUMNS
from dagd.cli.dags import task_json
from dagd.cli.masking import mask_value, masker_of
from dagd.cli.opening import opened
from dagd.cli.output import Column, Output, with_output
from dagd.cli.runs_shown import TASKS as INSTANCE_COLUMNS
from dagd.cli.runs_shown import for_table
from dagd.decide.results import CHOSE, RENDERED
from dagd.engine.items import read_spilled
from dagd.engine.loader import Graphs
from dagd.model.states import AttemptState, Charge
from dagd.runtime.masking import Masker
from dagd.runtime.xcom import to_shown
from dagd.store import reads, reads_runs

Row = dict[str, Any]
TRIES = [
    Column("try", "try"), Column("map_index", "index", wide=True), Column("state", "state", "state"),
    Column("queued_at", "queued", "instant", wide=True), Column("started_at", "started", "instant"),
    Column("ended_at", "ended", "instant"), Column("duration_s", "took", "duration"), Column("reason", "reason"),
    Column("charged", "charged to"), Column("exit_code", "exit", wide=True), Column("signal", "signal", wide=True),
    Column("pid", "pid", wide=True), Column("token", "token", wide=True), Column("leg", "leg", wide=True),
    Column("error", "error"),
]  # fmt: skip


@click.command()
@click.argument("place", metavar="DAG[/RUN[/TASK]]")
@click.option("--expand", is_flag=True, help="Each index of mapped tasks, also those without a try.")
@limit_option
@with_output(watch=True)
def list_tasks(out: Output, place: str, expand: bool, limit: int | None) -> None:
    """The tasks of a DAG's current version, or their instances in a run."""
    ref = refs.parse(place)
    with opened() as database, database.read() as connection:
        dag = refs.find_dag(connection, ref.dag)
        if ref.run is None:
            rows = [task_json(task) for task in _spec_tasks(connection, dag)]
            out.rows(rows[:limit], SPEC_COLUMNS, name="task_id", empty="no tasks")
            return
        graphs = Graphs()
        run = refs.find_run(connection, dag, ref.run)
        graph = graphs.get(connection, run.version_id)
        only = None if ref.task is None else tasks_found.task_index(graph, ref.task)
        rows = instances.task_rows(instances.load(connection, graphs, dag, run), only=only, expand=expand)
    if ref.index is not None:
        rows = [row for row in rows if row["map_index"] == ref.index]
    rows = rows[:limit]
    shown = rows if out.is_machine else [for_table(row) for row in rows]
    out.rows(shown, INSTANCE_COLUMNS, name="task_id", empty="no tasks")


def _spec_tasks(connection: Any, dag: Any) -> list[Row]:
    row = reads.version(connection, dag.id, None, dag.current_version)
    return [] if row is None else reads.spec_of(row)["tasks"]


@click.command()
@click.argument("task")
@with_output(watch=True)
def show_task(out: Output, task: str) -> None:
    """One task instance with its XCom and rendered fields. TASK is DAG/RUN/TASK[/MAP]."""
    with opened() as database, database.read() as connection:
        shown = full_task(connection, task)
    if out.is_machine:
        out.record(shown, name="task_id")
        return
    out.record({name: value for name, value in shown.items() if value not in (None, {}, [])})


def full_task(connection: Any, text: str) -> Row:
    """The JSON of `tasks show`. Raises NotFound, UsageError."""
    graphs = Graphs()
    place = tasks_found.find_task(connection, graphs, text)
    index = tasks_found.one_index(connection, place, text)
    stored = instances.load(connection, graphs, place.dag, place.run)
    task = stored.view.tasks[place.i]
    tasks_found.check_size(place, task.size, index)
    row = instances.instance_row(stored, task, task.pos(index), index)
    values = {one.key: one for one in reads_runs.values_of(connection, place.run.id, place.task_no, index)}
    rendered = values.pop(RENDERED, None)
    masker = masker_of(connection) if values or rendered else Masker()
    return {
        "dag_id": place.dag.name, "run_id": place.run.run_id, **row,
        "xcom": {key: mask_value(masker, read_value(one)) for key, one in values.items() if not key.startswith(CHOSE)},
        "rendered": {} if rendered is None else mask_value(masker, dict(read_value(rendered))),
        "operator": task.spec.operator, "trigger_rule": task.spec.trigger_rule, "upstreams": list(task.spec.upstreams),
        "queue": task.spec.queue, "owner": task.spec.owner, "priority": task.spec.priority, "doc_md": task.spec.doc_md,
    }  # fmt: skip


def read_value(row: Any) -> Any:
    """A stored value for people; one that lies in a file is read from there."""
    text = row.body
    if text is None and row.file:
        try:
            text = read_spilled(settings().xcom_folder, row.file)
        except (OSError, ValueError) as error:
            return f"(the file of this value cannot be read: {getattr(error, 'strerror', None) or error})"
    return None if text is None else to_shown(text)


@click.command()
@click.argument("task")
@limit_option
@with_output(watch=True)
def list_tries(out: Output, task: str, limit: int | None) -> None:
    """Every try of a task instance, from the first. Marks by hand are no tries: see `dagd audit list`."""
    with opened() as database, database.read() as connection:
        graphs = Graphs()
        place = tasks_found.find_task(connection, graphs, task)
        index = place.index if place.is_mapped else -1
        stored = instances.load(connection, graphs, place.dag, place.run)
        tasks_found.check_size(place, stored.view.tasks[place.i].size, index)
        found = reads_runs.tries_of(connection, place.run.id, place.task_no, index)
        rows = [try_json(place, row) for row in found]
    out.rows(rows[:limit], TRIES, name="token", empty="no try yet")


def try_json(place: tasks_found.Place, row: Any) -> Row:
    """One try, with the keys of `runs show`."""
    spec = place.graph.tasks[place.i]
    return {
        "dag_id": place.dag.name, "run_id": place.run.run_id, "task_id": spec.task_id, "map_index": row.map_index,
        "state": AttemptState(row.state).word, "try": row.try_no, "max_tries": spec.retries + 1,
        "isolation": spec.isolation, "pool": spec.pool, **instances.what_happened(row), "token": row.token,
        "leg": row.leg, "charged": Charge(row.charged).name.lower(), "superseded": row.superseded_by is not None,
        "stop_requested": row.stop_requested,
    }  # fmt: skip


@click.command()
@click.argument("task")
@with_output()
def render(out: Output, task: str) -> None:
    """The rendered template fields of a task instance, as its last try had them."""
    with opened() as database, database.read() as connection:
        shown = full_task(connection, task)["rendered"]
    if not shown and not out.is_machine:
        out.note(f"{task} has no rendered fields yet")
    elif out.is_machine:
        out.record(shown)
    else:
        for name, text in shown.items():
            out.line(f"{out.paint(name, 'bold')}\n{text}\n")
