"""A DAG's life against the page: which slots become runs when its schedule, zone, dates and catch-up are edited, when
it is paused, its file gone and the scheduler down. The oracle lists every minute of the story by plain arithmetic."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dagd.decide.graph import Graph
from dagd.engine import loader
from dagd.model.times import SECOND
from tests.core_driver import Driver, dag

EXAMPLES = int(os.environ.get("DAGD_TEST_EXAMPLES", "150"))
MINUTE = 60 * SECOND
BEGIN = 1_800_000_000 // 86_400 * 86_400 * SECOND  # a midnight in UTC
PAST, FUTURE = -3 * 1440, 6 * 1440  # the minutes that the oracle lists
OFFSETS = {"UTC": 0, "Asia/Kolkata": 330, "America/Phoenix": -420}  # zones without clock changes


@dataclass(frozen=True)
class Written:
    """What the file says. Minutes are counted from BEGIN; `kind` is cron (minute, hours apart), every, list or none."""

    kind: str
    zone: str = "UTC"
    minute: int = 0
    hours: int = 1
    every: int = 60
    listed: tuple[int, ...] = ()
    start: int | None = None
    end: int | None = None
    catchup: bool = False

    @property
    def grid(self) -> tuple[Any, ...]:
        """What is closed and opened: moved dates alone are no new grid, but where steps are counted from them."""
        match self.kind:
            case "cron":
                return ("cron", self.zone, self.minute, self.hours)
            case "every":
                return ("every", self.every, self.zone, self.start)
            case "list":
                return ("list", self.zone, self.listed)
        return ("none", self.zone)

    def slots(self) -> list[int]:
        low, high = (PAST if self.start is None else self.start), (FUTURE if self.end is None else self.end)
        return [at for at in ticks(self) if low <= at <= high]

    def spec(self) -> dict[str, Any]:
        match self.kind:
            case "cron":
                hour = "*" if self.hours == 1 else f"*/{self.hours}"
                given: dict[str, Any] = {"exprs": [f"{self.minute} {hour} * * *"], "timezone": None, "dst": None}
                return {"kind": "cron", **given, "seconds": False, "interval": "trailing"}
            case "every":
                return {"kind": "delta", "micros": self.every * MINUTE}
            case "list":
                return {"kind": "events", "at": [BEGIN + at * MINUTE for at in self.listed]}
        return {"kind": "none"}


@lru_cache(maxsize=64)
def ticks(written: Written) -> list[int]:
    """The instants of a grid, without regard to the dates."""
    ahead = OFFSETS[written.zone]
    match written.kind:
        case "cron":
            shown = ((at, (at + ahead) // 60, (at + ahead) % 60) for at in range(PAST, FUTURE))
            return [at for at, hour, minute in shown if minute == written.minute and hour % 24 % written.hours == 0]
        case "every":
            anchor = -BEGIN // MINUTE - ahead if written.start is None else written.start
            return [at for at in range(PAST, FUTURE) if (at - anchor) % written.every == 0]
        case "list":
            return sorted(set(written.listed))
    return []


@dataclass
class Expected:
    """The page's rule. `settled` is the last slot that ran, or where a grid was closed."""

    first_seen: int
    written: Written
    runs: list[tuple[int, int]] = field(default_factory=list)  # (slot, start of its interval)
    settled: int | None = None
    floor: int = 0
    opened: int = PAST

    def look(self, now: int, *, since: int | None = None) -> None:
        """The scheduler looks at an active DAG: since it last did, it was up all the time (`since`) or down."""
        due = [at for at in self.waiting() if at <= now]
        if not self.written.catchup:
            missed = [at for at in due if since is None or at <= since]
            due = [*missed[-1:], *due[len(missed) :]]
        for at in due:
            before = [tick for tick in ticks(self.written) if tick < at]
            self.runs.append((at, before[-1] if before else at))
            self.settled = at

    def waiting(self) -> list[int]:
        """The slots that are to run, or would be if the DAG stayed as it is."""
        slots = self.written.slots()
        if not self.written.catchup:
            return [
                at for at in slots if at > max(self.floor, self.opened, PAST if self.settled is None else self.settled)
            ]
        if self.settled is not None:
            return [at for at in slots if at > self.settled]
        has_first = self.written.start is not None or self.written.kind == "list"
        return slots if has_first else [at for at in slots if at > self.first_seen]

    def edit(self, written: Written, now: int) -> None:
        """The change is seen; what was due on the old grid has been looked at already when the DAG was active."""
        if written.grid != self.written.grid and self.settled is not None:
            self.settled = max(self.settled, now)
        self.opened, self.written = now, written


@st.composite
def writings(draw: st.DrawFn, now: int) -> Written:
    near = st.integers(-300, 600).map(lambda away: now + away)
    return Written(
        draw(st.sampled_from(["cron", "cron", "every", "every", "list", "none"])),
        draw(st.sampled_from(sorted(OFFSETS))),
        draw(st.sampled_from([0, 15, 30])),
        draw(st.sampled_from([1, 1, 2])),
        draw(st.sampled_from([45, 60, 90])),
        tuple(draw(st.lists(near, min_size=1, max_size=5))),
        draw(st.one_of(st.none(), st.none(), near)),
        draw(st.one_of(st.none(), st.none(), st.none(), near)),
        draw(st.booleans()),
    )


class Life(RuleBasedStateMachine):
    """One DAG and one scheduler, on a clock of minutes."""

    @initialize(data=st.data(), paused=st.booleans())
    def first_seen(self, data: st.DataObject, paused: bool) -> None:
        self.now, self.is_up, self.looked = 7, True, 7
        self.versions: dict[int, Graph] = {}
        self.row = SimpleNamespace(
            id=1, name="d", shard=1, paused=paused, unpaused_at=None, current_version=0, missing_since=None,
            found_again_at=None, held=None, first_seen_at=self.instant, next_due=None, scheduled_version=None,
            last_slot=None,
        )  # fmt: skip
        self.driver = Driver()
        written = data.draw(writings(self.now))
        self.write(written)
        self.expected = Expected(self.now, written, floor=self.now)
        self.created: list[tuple[int, int]] = []
        self.load()
        self.look(None)

    # --- the rig ----------------------------------------------------------------------------------------------------

    @property
    def instant(self) -> int:
        return BEGIN + self.now * MINUTE

    def get(self, _connection: object, version: int) -> Graph:
        return self.versions[version]

    def write(self, written: Written) -> None:
        start, end = (None if at is None else BEGIN + at * MINUTE for at in (written.start, written.end))
        more = {"start_at": start, "end_at": end, "timezone": written.zone, "catchup": written.catchup}
        spec = dag(tasks={"a": {"isolation": "engine"}}, schedule=written.spec(), **more)
        number = self.row.current_version + 1
        self.versions[number] = Graph(spec, number, number, {"a": 10})
        self.row.current_version = number

    def load(self) -> None:
        """A scheduler begins with what the rows say."""
        self.driver.state.dags.clear()
        self.driver.state.timers.clear()
        found, changed = loader.new_dag(None, self, self.row)  # type: ignore[arg-type]
        self.driver.state.dags[1] = found
        self.driver.graphs[1] = self.versions[self.row.current_version]
        self.turn(dag_changes=[(1, changed)])

    def sweep(self) -> None:
        found = self.driver.state.dags[1]
        changed = loader.take_dag_row(None, self, found, self.row)  # type: ignore[arg-type]
        self.driver.graphs[1] = self.versions[self.row.current_version]
        self.turn(dag_changes=[(1, changed)])

    def turn(self, **inputs: Any) -> None:
        self.driver.now = self.instant
        plan = self.driver.turn(**inputs)
        for run in plan.new_runs:
            assert run.slot is not None
            assert run.slot == run.due_at == run.logical_at == run.interval_end <= self.instant
            self.created.append(((run.slot - BEGIN) // MINUTE, (run.interval_start - BEGIN) // MINUTE))
        for due in plan.next_dues:
            assert not due.guarded or (not self.row.paused and self.row.next_due == due.expected)
            self.row.next_due, self.row.scheduled_version, self.row.last_slot = due.next_due, due.version, due.last_slot

    @property
    def is_active(self) -> bool:
        return not self.row.paused and self.row.missing_since is None

    def look(self, since: int | None) -> None:
        if self.is_active:
            self.expected.look(self.now, since=since)

    def noticed(self) -> None:
        """A row changed under a scheduler that is up."""
        if self.is_up:
            self.sweep()
            self.look(self.now)

    # --- what happens -----------------------------------------------------------------------------------------------

    @rule(minutes=st.integers(1, 200))
    def time_passes(self, minutes: int) -> None:
        target, before = self.now + minutes, self.now
        while self.is_up and (at := self.driver.state.next_timer_at()) is not None and at <= BEGIN + target * MINUTE:
            self.now = max(self.now, (at - BEGIN) // MINUTE)
            self.turn()
        self.now = target
        if self.is_up:
            self.turn()
            self.look(before)

    @rule(minutes=st.integers(30, 400))
    def all_is_well_for_hours(self, minutes: int) -> None:
        self.time_passes(5)
        if self.row.missing_since is not None:
            self.its_file_goes_or_comes_back()
        if not self.is_up:
            self.the_scheduler_stops_or_starts()
        if self.row.paused:
            self.it_is_paused_or_unpaused()
        self.time_passes(minutes)

    @rule(minutes=st.integers(30, 300), data=st.data(), what=st.sampled_from(["down", "paused", "missing"]))
    def it_is_edited_in_an_interruption(self, minutes: int, data: st.DataObject, what: str) -> None:
        turn = {
            "down": self.the_scheduler_stops_or_starts, "paused": self.it_is_paused_or_unpaused,
            "missing": self.its_file_goes_or_comes_back,
        }[what]  # fmt: skip
        turn()
        self.time_passes(minutes)
        self.it_is_edited(data)
        self.time_passes(minutes // 3)
        turn()

    @rule()
    def the_scheduler_stops_or_starts(self) -> None:
        self.is_up = not self.is_up
        if self.is_up:
            self.meet_edits()
            self.load()
            self.look(None)

    @rule()
    def it_is_paused_or_unpaused(self) -> None:
        self.row.paused = not self.row.paused
        if not self.row.paused:
            self.row.unpaused_at, self.expected.floor = self.instant, self.now
        self.noticed()

    @rule()
    def its_file_goes_or_comes_back(self) -> None:
        if self.row.missing_since is None:
            self.row.missing_since = self.instant
        else:
            self.row.missing_since, self.row.found_again_at = None, self.instant
            self.expected.floor = self.now
        self.noticed()

    @rule(data=st.data())
    def it_is_edited(self, data: st.DataObject) -> None:
        old, new = self.latest, data.draw(writings(self.now))
        part = data.draw(st.sampled_from(["all", "catchup", "end", "start", "zone", "nothing"]))
        changed = {name: getattr(new, name) for name in (part,) if hasattr(new, part)}
        self.unseen = new if part == "all" else replace(old, **changed)
        self.write(self.unseen)
        if self.is_up:
            self.meet_edits()
            self.sweep()
            self.look(self.now)

    unseen: Written | None = None

    @property
    def latest(self) -> Written:
        return self.unseen or self.expected.written

    def meet_edits(self) -> None:
        """A scheduler sees the last of the edits since it looked: the old grid is closed, then the new one is open."""
        if self.unseen is None:
            return
        old, new = self.expected.written, self.unseen
        if new.grid == old.grid:
            self.move_dates(new)
        else:
            if self.expected.settled is not None or not new.catchup:
                self.expected.written = replace(old, catchup=new.catchup)
                self.look(None)
            self.expected.edit(new, self.now)
        self.unseen = None

    def move_dates(self, new: Written) -> None:
        """The same grid: what was missed before the edit and still exists runs, what exists only since does not."""
        expected = self.expected
        missed = [at for at in expected.waiting() if at <= self.now]
        expected.written = new
        if not new.catchup:
            expected.opened = max(expected.opened, missed[0] - 1 if missed else self.now)

    @invariant()
    def exactly_the_slots_that_fell_due_have_a_run(self) -> None:
        assert sorted(self.created) == sorted(self.expected.runs)


Life.TestCase.settings = settings(
    max_examples=EXAMPLES // 10, stateful_step_count=25, derandomize="DAGD_TEST_EXAMPLES" not in os.environ
)
TestLife = Life.TestCase
