"""The clocks of test runs: both jump ahead when a run waits; one stands still otherwise."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from dagd.authoring.instants import exact_micros
from dagd.model.errors import WrongArgument
from dagd.model.times import delta_micros, from_micros

FROZEN_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What a test run asks of its clock."""

    def micros(self) -> int:
        """The present instant, in microseconds UTC."""

    def jump_to(self, at: int) -> None:
        """Move on to `at`; never back."""


class LocalClock:
    """Real time from a settable start, and jumps ahead."""

    def __init__(self, start_at: int | None) -> None:
        self._began = time.monotonic_ns() // 1000
        self._start_at = time.time_ns() // 1000 if start_at is None else start_at

    def micros(self) -> int:
        """The present instant of the test run."""
        return self._start_at + time.monotonic_ns() // 1000 - self._began

    def jump_to(self, at: int) -> None:
        """Move on to `at`; never back."""
        self._start_at += max(0, at - self.micros())


class FrozenClock:
    """A clock that stands still. A test moves it with `set` and `tick`; a run moves it on to what it waits for (a
    retry, a poke, a deferral, a deadline)."""

    def __init__(self, at: datetime | str = FROZEN_AT) -> None:
        self._at = _read(at)

    def now(self) -> datetime:
        """What the clock shows, in UTC."""
        return from_micros(self._at)

    def set(self, at: datetime | str) -> None:
        """Put the clock to an aware instant (or ISO 8601 text with an offset), back too. Raises WrongArgument."""
        self._at = _read(at)

    def tick(self, by: timedelta | float = 1) -> datetime:
        """Move the clock on by a duration, or by seconds; what it shows then."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise WrongArgument(f"tick({by!r}) goes back", remedy="clock.set(...) goes anywhere.")
        self._at += delta_micros(step)
        return self.now()

    def micros(self) -> int:
        """What the clock shows, in microseconds UTC."""
        return self._at

    def jump_to(self, at: int) -> None:
        """Move on to `at`; never back."""
        self._at = max(self._at, at)

    def __repr__(self) -> str:
        return f"<FrozenClock {self.now().isoformat()}>"


def make_clock(given: datetime | Clock | None) -> Clock:
    """The clock of a test run: one that is given, or real time from an instant (None: from now)."""
    if given is None or isinstance(given, datetime):
        return LocalClock(None if given is None else _read(given))
    return given


def _read(at: datetime | str) -> int:
    try:
        instant = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        raise WrongArgument(f"{at!r} is no instant", remedy="Write 2026-03-29T01:30:00+01:00.") from None
    if instant.tzinfo is None:
        raise WrongArgument(f"{at!r} has no time zone", remedy="Give tzinfo=UTC, or an offset in the text.")
    return exact_micros(instant)
