"""`dagd backfill create`: count the slots, store the backfill, and follow it."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import islice
from typing import Any

import click

from dagd.authoring.params import merge_params
from dagd.cli import refs
from dagd.cli.backfill_shown import find_row, read_json, tell_slots
from dagd.cli.backfill_watch import finish, follow
from dagd.cli.context import now_micros, read_json_object, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.cli.requesting import QUEUED
from dagd.cli.text import is_terminal
from dagd.cli.trigger import read_param
from dagd.cli.waiting import decision
from dagd.cli.zones import read_instant, read_zone
from dagd.decide.backfills import MOST_SLOTS, first_cursor, runs_again, slots_of
from dagd.engine.doorbell import ring_all
from dagd.engine.timetables import timetable_of
from dagd.model.errors import NotFound, Refused, TimedOut, UsageError
from dagd.model.settings import Settings
from dagd.model.specs import DagSpec, canonical
from dagd.model.states import Reprocess, RunState
from dagd.model.times import iso
from dagd.store import backfills, dialects, requests
from dagd.store.database import Database

Row = dict[str, Any]
FORMS = {
    "none": Reprocess.NONE, "failed": Reprocess.FAILED, "completed": Reprocess.COMPLETED, "all": Reprocess.COMPLETED,
}  # fmt: skip


class Asked:
    """What a backfill would be: its DAG, its range, its slots and the runs that they have."""

    def __init__(self, connection: Any, name: str, wanted: backfills.Wanted) -> None:
        self.dag, self.spec = requests.current_spec(connection, name)
        self.wanted = wanted
        _refuse_past(self.dag, self.spec, wanted)
        timetable = timetable_of(self.spec, self.dag.first_seen_at)
        if timetable is None or timetable.is_continuous:
            raise Refused(
                f"DAG {name!r} has no slots: its schedule is {self.spec.schedule_text or 'None'}",
                remedy=f"A backfill needs a schedule in time; `dagd trigger {name} --logical-date T` makes one run.",
            )
        slots = [slot.due_at for slot in islice(slots_of(timetable, wanted), MOST_SLOTS + 1)]
        self._refuse_number(name, slots)
        self.slots = len(slots)
        self.cursor = first_cursor(timetable, wanted)
        taken = backfills.runs_in(connection, self.dag.id, slots[0], slots[-1])
        states = [taken[slot][1] for slot in slots if slot in taken]
        self.found = dict(Counter(RunState(state).word for state in states))
        self.again = sum(runs_again(wanted.reprocess, state) for state in states)

    def _refuse_number(self, name: str, slots: list[int]) -> None:
        span = f"from {iso(self.wanted.from_at)} to {iso(self.wanted.to_at)}"
        if len(slots) > MOST_SLOTS:
            raise Refused(
                f"DAG {name!r} has more than {MOST_SLOTS:,} slots {span}", remedy="Take a part of it at a time."
            )
        if not slots:
            raise Refused(
                f"DAG {name!r} has no slot {span} that has fallen due" + _bounds(self.spec),
                remedy=f"`dagd dags next {name} --after {iso(self.wanted.from_at)}` shows its slots.",
            )

    @property
    def existing(self) -> int:
        """How many slots have a run already."""
        return sum(self.found.values())


def _refuse_past(dag: Any, spec: DagSpec, wanted: backfills.Wanted) -> None:
    looking = [task.task_id for task in spec.tasks if task.depends_on_past or task.wait_for_downstream]
    if wanted.is_reverse and looking:
        raise Refused(
            f"DAG {dag.name!r} cannot be backfilled in reverse: {looking[0]} looks at the run before it",
            remedy="Leave --reverse out.",
        )


def _bounds(spec: DagSpec) -> str:
    told = [f"begins {iso(spec.start_at)}"] if spec.start_at is not None else []
    told += [f"ends {iso(spec.end_at)}"] if spec.end_at is not None else []
    return f" (it {' and '.join(told)})" if told else ""


@click.command()
@click.argument("dag")
@click.option(
    "--from", "from_", required=True, help="The first logical date, in the DAG's zone; a date is its midnight."
)
@click.option("--to", required=True, help="The last logical date, included.")
@click.option("--max-active", type=click.IntRange(1, 1000), default=10, show_default=True, help="Runs at once.")
@click.option("--reverse", is_flag=True, help="The latest slot first.")
@click.option(
    "--reprocess", type=click.Choice(list(FORMS)), default="none", show_default=True,
    help="Which runs that exist are run again: those that failed, or every ended one (completed and all are one).",
)  # fmt: skip
@click.option("-c", "--conf", help="The conf of its runs: a JSON object.")
@click.option("-p", "--param", "params", multiple=True, metavar="K=V", help="One key of the conf; repeatable.")
@click.option("--dry-run", is_flag=True, help="Only say which slots there are.")
@click.option(
    "--wait/--no-wait", default=None, help="Stay until it is over (as on a terminal); exit 1 when runs failed."
)
@click.option("--timeout", type=click.FloatRange(min=0), help="With --wait: give up after so many seconds, exit 6.")
@with_output()
@click.pass_context
def create(
    ctx: click.Context, out: Output, dag: str, from_: str, to: str, max_active: int, reverse: bool, reprocess: str,
    conf: str | None, params: tuple[str, ...], dry_run: bool, wait: bool | None, timeout: float | None,
) -> None:  # fmt: skip
    """Run the slots of DAG from one logical date to another, beside its schedule.

    Runs are made as places free up. Slots that are yet to come are left out; slots that have a run keep it, unless
    --reprocess says otherwise.
    """
    known = settings()
    given = {} if conf is None else read_json_object(conf, "the conf")
    with opened(known) as database:
        with database.read() as connection:
            name = refs.find_dag(connection, refs.dag_alone(dag)).name
            _, spec = requests.current_spec(connection, name)
            given |= dict(read_param(text, spec.params) for text in params)
            merge_params(spec.params, given)
            zone = read_zone(spec.timezone or known["core.default_timezone"])
            first, last = read_instant(from_, zone), read_instant(to, zone)
            if last < first:
                raise UsageError(f"--to {to} is before --from {from_}")
            now = dialects.clock(connection)
            wanted = backfills.Wanted(first, last, now, reverse, max_active, FORMS[reprocess], canonical(given))
            asked = Asked(connection, name, wanted)
        if dry_run:
            _tell_plan(out, asked)
            return
        number, result = _store(database, known, asked)
        follows = wait if wait is not None else _is_watched(out) and result is not None
        _tell(database, out, asked, number, result, is_last=not follows)
        if follows:
            _follow(ctx, database, out, number, timeout)


def _follow(ctx: click.Context, database: Database, out: Output, number: int, timeout: float | None) -> None:
    try:
        shown = follow(database, number, timeout, out)
    except TimedOut:
        if out.is_machine:
            with database.read() as connection:
                out.record(read_json(connection, find_row(connection, f"b-{number}")), name="backfill_id")
            out.flush()
        raise
    finish(ctx, out, shown)


def _is_watched(out: Output) -> bool:
    return not out.is_machine and is_terminal(sys.stderr) and is_terminal(sys.stdout)


def _store(database: Database, known: Settings, asked: Asked) -> tuple[int, Row | None]:
    with database.write() as connection:
        number, command = backfills.create(
            connection, asked.dag.id, asked.dag.name, asked.wanted, cursor=asked.cursor, slots=asked.slots,
            existing=asked.existing, actor=requests.user_name(),
        )  # fmt: skip
    ring_all(known.run_folder)
    return number, decision(database, command, now_micros())


def _tell_plan(out: Output, asked: Asked) -> None:
    wanted = asked.wanted
    if out.is_machine:
        out.record(
            {
                "backfill_id": None, "dag_id": asked.dag.name, "from": iso(wanted.from_at), "to": iso(wanted.to_at),
                "slots": asked.slots, "new": asked.slots - asked.existing, "existing": asked.existing, "done": 0,
                "success": 0, "failed": 0, "running": 0, "state": None, "run_again": asked.again, "dry_run": True,
            },
            name="dag_id",
        )  # fmt: skip
        return
    tell_slots(out, asked.slots, asked.found, asked.again, wanted.reprocess)
    _tell_bounds(out, asked)
    out.note("nothing was started: --dry-run")


def _tell_bounds(out: Output, asked: Asked) -> None:
    """Which part of the range has no slots."""
    wanted, spec = asked.wanted, asked.spec
    if spec.start_at is not None and wanted.from_at < spec.start_at:
        out.note(f"the DAG begins {out.instant(iso(spec.start_at))} (start_date): there are no slots before")
    if spec.end_at is not None and spec.end_at < min(wanted.to_at, wanted.until):
        out.note(f"the DAG ends {out.instant(iso(spec.end_at))} (end_date): there are no slots after")
    elif wanted.to_at > wanted.until:
        out.note("slots that are yet to fall due are left to the schedule")


def _tell(database: Database, out: Output, asked: Asked, number: int, result: Row | None, *, is_last: bool) -> None:
    with database.read() as connection:
        row = backfills.row_of(connection, number)
        if row is None:
            raise NotFound(f"backfill b-{number} has been deleted with its DAG")
        shown = read_json(connection, row) | {"run_again": asked.again}
    if out.is_machine:
        if is_last:
            out.record(shown, name="backfill_id")
        return
    tell_slots(out, asked.slots, asked.found, asked.again, asked.wanted.reprocess)
    _tell_bounds(out, asked)
    if result is None:
        out.line(f"backfill b-{number}: {QUEUED}")
    elif is_last:
        out.line(f"backfill b-{number}  {out.state(shown['state'])}")
    if asked.dag.paused:
        out.note(f"the DAG is paused: the backfill waits for dagd dags unpause {asked.dag.name}")
    if is_last:
        out.note(f"follow it: dagd backfill watch b-{number}")
