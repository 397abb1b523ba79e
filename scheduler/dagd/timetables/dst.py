"""How a local clock maps to UTC: which instants a local time means where clocks are put forward or back.

A wall time here is an integer, the microseconds since 1970-01-01 00:00 as a clock on the wall shows them; adding an
offset to an instant gives it. Two facts carry everything else, in any zone:

- a named local time lands on the first instant at which the clock shows it or more: its first occurrence where an hour
  repeats, the first instant after the gap where it is skipped. This never decreases as the time grows;
- hence a named time has landed by an instant exactly when it is not above the highest time shown until then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from dagd.model.errors import InvalidSchedule, did_you_mean
from dagd.model.times import SECOND, Micros, delta_micros, to_micros

Wall = int

DAY = 86_400 * SECOND
POLICIES = ("once", "skip", "both")
# No offset reaches a day (Python's own limit); two offsets are less than two days apart.
MAX_OFFSET = DAY
SPREAD = 2 * MAX_OFFSET
# Slots end here: far enough for anyone, and all arithmetic stays inside datetime's years.
FLOOR: Micros = to_micros(datetime(3, 1, 1, tzinfo=UTC))
HORIZON: Micros = to_micros(datetime(9990, 1, 1, tzinfo=UTC))
# No zone changes its offset twice within a day (the tightest pair of the tz database is four days apart), so an
# offset looked at once a day shows every change.
_PROBE = DAY
_CHUNK = 32 * DAY


class Span(NamedTuple):
    """The instants [start, end) during which the clock is `offset` ahead of UTC."""

    start: Micros
    end: Micros
    offset: int


class Landing(NamedTuple):
    """The first instant at which the clock shows a wall time or more. `gap` is None when it shows that very time, else
    the wall times [from, to) that the clock jumped over there."""

    instant: Micros
    gap: tuple[Wall, Wall] | None


class Zone:
    """The clock of one time zone."""

    def __init__(self, info: ZoneInfo) -> None:
        self._info = info

    def span(self, at: Micros) -> Span:
        """The span of one offset around `at` (its ends may be arbitrary: neighbours can share an offset)."""
        for span in _spans(self._info, at // _CHUNK):
            if at < span.end:
                return span
        raise AssertionError(f"spans do not cover {at}")

    def wall(self, at: Micros) -> Wall:
        """What the clock shows at `at`."""
        return at + self.span(at).offset

    def highest(self, at: Micros) -> Wall:
        """The highest wall time that the clock has shown up to and including `at`."""
        span = self.span(at)
        top = at + span.offset
        while span.start > at - SPREAD:
            span = self.span(span.start - 1)
            top = max(top, span.end + span.offset - 1)
        return top

    def land(self, wall: Wall) -> Landing:
        """Where a named wall time lands."""
        span = self.span(wall - MAX_OFFSET)
        while span.end + span.offset <= wall:
            span = self.span(span.end)
        instant = max(span.start, wall - span.offset)
        shown = instant + span.offset
        return Landing(instant, None if shown == wall else (self.highest(instant - 1) + 1, shown))

    def showings(self, wall: Wall) -> list[Micros]:
        """Every instant at which the clock shows `wall`: none, one or two, in order."""
        found = []
        span = self.span(wall - MAX_OFFSET)
        while span.start <= wall + MAX_OFFSET:
            if span.start <= wall - span.offset < span.end:
                found.append(wall - span.offset)
            span = self.span(span.end)
        return found


def unslotted(landing: Landing, wall: Wall, policy: str) -> tuple[Wall, Wall] | None:
    """The wall times [from, to) around a skipped `wall` that have no slot under `policy`; None when `wall` has one.

    `skip` drops the gap. The others drop only days that the zone left out altogether (Apia, 30 December 2011): a time
    is due once on each local day, and there is no such day.
    """
    if landing.gap is None:
        return None
    if policy == "skip":
        return landing.gap
    midnight = wall - wall % DAY
    is_day_left_out = landing.gap[0] <= midnight and midnight + DAY <= landing.gap[1]
    return (midnight, midnight + DAY) if is_day_left_out else None


def read_policy(policy: object) -> str:
    """A known DST policy. Raises InvalidSchedule."""
    if isinstance(policy, str) and policy in POLICIES:
        return policy
    raise InvalidSchedule(
        f"unknown dst policy {policy!r}",
        remedy=did_you_mean(str(policy), POLICIES) or f"It is one of {', '.join(POLICIES)}.",
    )


@cache
def read_zone(name: str) -> Zone:
    """The zone of an IANA name such as "Europe/Berlin". Raises InvalidSchedule."""
    try:
        return Zone(ZoneInfo(name))
    except (KeyError, ValueError, OSError) as error:  # not found, not a relative path, a folder
        raise InvalidSchedule(
            f"unknown time zone {name!r}",
            remedy=did_you_mean(name, available_timezones()) or 'Use an IANA name such as "Europe/Berlin" or "UTC".',
        ) from error


@lru_cache(maxsize=8192)
def _spans(info: ZoneInfo, chunk: int) -> tuple[Span, ...]:
    start, end = chunk * _CHUNK, (chunk + 1) * _CHUNK
    spans = []
    offset = _offset(info, start)
    for probe in range(start + _PROBE, end + 1, _PROBE):
        changed = _offset(info, probe)
        if changed != offset:
            change_at = _change(info, probe - _PROBE, probe)
            spans.append(Span(start, change_at, offset))
            start, offset = change_at, changed
    if start < end:
        spans.append(Span(start, end, offset))
    return tuple(spans)


def _change(info: ZoneInfo, low: Micros, high: Micros) -> Micros:
    """The instant in (low, high] from which the offset is no longer that of `low`; offsets change on whole seconds."""
    offset = _offset(info, low)
    while high - low > SECOND:
        middle = low + (high - low) // (2 * SECOND) * SECOND
        if _offset(info, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(info: ZoneInfo, at: Micros) -> int:
    offset = datetime.fromtimestamp(at // SECOND, info).utcoffset()
    return 0 if offset is None else delta_micros(offset)
