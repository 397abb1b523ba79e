"""A backfill as people and programs see it: its JSON, its bar, and what its slots are before it exists."""

from __future__ import annotations

from typing import Any

from dagd.cli.context import now_micros
from dagd.cli.output import Column, Output, duration
from dagd.model.errors import NotFound
from dagd.model.states import BackfillState, Reprocess
from dagd.model.times import iso
from dagd.store import backfills

Row = dict[str, Any]
CELLS = 18
LIST = [
    Column("backfill_id", "backfill"), Column("dag_id", "dag"), Column("state", "state", "state"),
    Column("from", "from", "instant"), Column("to", "to", "instant"), Column("slots", "slots"), Column("done", "done"),
    Column("success", "success"), Column("failed", "failed"), Column("running", "running"),
    Column("max_active", "at once", wide=True), Column("reprocess", "reprocess", wide=True),
    Column("created_at", "created", "instant", wide=True), Column("ended_at", "ended", "instant", wide=True),
]  # fmt: skip


def find_row(connection: Any, text: str) -> Any:
    """A backfill by its name, `b-12` or `12`. Raises NotFound."""
    digits = text.removeprefix("b-")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None
    row = None if number is None else backfills.row_of(connection, number)
    if row is None:
        raise NotFound(f"there is no backfill {text!r}", remedy="`dagd backfill list` shows them all.")
    return row


def backfill_json(row: Any, running: int) -> Row:
    """One backfill of `backfill list` and `show`."""
    return {
        "backfill_id": f"b-{row.id}", "dag_id": row.dag_name, "from": iso(row.from_at), "to": iso(row.to_at),
        "slots": row.slots, "new": row.slots - row.existing, "existing": row.existing, "done": row.done,
        "success": row.success, "failed": row.failed, "running": running, "state": BackfillState(row.state).word,
        "kept": row.kept, "max_active": row.max_active, "reverse": bool(row.is_reverse),
        "reprocess": Reprocess(row.reprocess).word, "created_at": iso(row.created_at),
        "started_at": iso(row.started_at), "ended_at": iso(row.ended_at), "elapsed_s": seconds_gone(row),
        "left_s": seconds_left(row),
    }  # fmt: skip


def seconds_gone(row: Any) -> float | None:
    """How long it has gone on, or took."""
    end = now_micros() if row.ended_at is None else row.ended_at
    return None if row.started_at is None else round(max(0, end - row.started_at) / 1_000_000, 3)


def seconds_left(row: Any) -> float | None:
    """How long the rest will take when runs take as long as they did; None when none has ended, or it is over."""
    ended = row.done - row.kept
    if ended <= 0 or not BackfillState(row.state).is_active:
        return None
    mean_s = row.spent_us / ended / 1_000_000
    return float(round(max(0, row.slots - row.done) * mean_s / row.max_active, 1))


def read_json(connection: Any, row: Any) -> Row:
    """The JSON of a row with how many of its runs have not ended."""
    return backfill_json(row, backfills.running_runs(connection, [row.dag_id]).get(row.id, 0))


def bar(shown: Row, *, utf8: bool) -> str:
    """One line: how many slots are done, how the runs ended, how long it took and will take."""
    slots, done = shown["slots"], min(shown["done"], shown["slots"])
    full = CELLS * done // max(1, slots)
    cells = "█" * full + "░" * (CELLS - full) if utf8 else "#" * full + "." * (CELLS - full)
    good, bad, live = "✓✗▶" if utf8 else "+x>"
    counts = [f"{good}{shown['success']}"]
    counts += [f"{bad}{shown['failed']}"] if shown["failed"] else []
    counts += [f"{live}{shown['running']}"] if shown["running"] else []
    counts += [f"{shown['kept']} kept"] if shown["kept"] else []
    took = "" if shown["elapsed_s"] is None else f"   {duration(shown['elapsed_s'])}"
    left = "" if shown["left_s"] is None else f", about {duration(shown['left_s'])} left"
    state = "" if shown["state"] == "running" else f"   {shown['state']}"
    return f"backfill {shown['backfill_id']}  {cells} {done}/{slots}  {' '.join(counts)}{took}{left}{state}"


def tell_slots(out: Output, slots: int, found: dict[str, int], again: int, reprocess: Reprocess) -> None:
    """How many slots there are, and what becomes of those that have a run. `found`: runs by the word of their state."""
    existing = sum(found.values())
    said = f"{slots} slot{'s' * (slots != 1)}: {slots - existing} new"
    if existing:
        states = ", ".join(f"{count} {word}" for word, count in found.items()) if len(found) > 1 else next(iter(found))
        fate = "kept" if not again else "run again" if again == existing else f"{again} run again, the rest kept"
        offer = "; --reprocess failed|all" if reprocess is Reprocess.NONE else ""
        said += f", {existing} exist{'s' * (existing == 1)} ({states}, {fate}{offer})"
    out.line(said)
