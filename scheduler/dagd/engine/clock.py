"""Now, by the database's clock: our monotonic clock plus the offset that the last fence returned."""

from __future__ import annotations

import time


class Clock:
    """Microseconds UTC that never go back; the offset follows the database."""

    def __init__(self) -> None:
        self._offset = time.time_ns() // 1000 - self._monotonic()
        self._last = 0
        self._is_guess = True

    @staticmethod
    def _monotonic() -> int:
        return time.monotonic_ns() // 1000

    def now(self) -> int:
        """Now in microseconds UTC."""
        self._last = max(self._last, self._monotonic() + self._offset)
        return self._last

    def begin_asking(self) -> int:
        """To be handed to `follow` with the answer."""
        return self._monotonic()

    def follow(self, database_now: int, asked_at: int | None = None, slack: int = 2_000) -> None:
        """Take the database's clock, which was read at some moment since `asked_at`: what fits such a moment, or is
        within the resolution, is left alone. A slow answer says little, and must not set the time back.

        What this host's clock said before is forgotten: one that is ahead would hold `now` where it stood, and all
        would fire early until the database has caught up.
        """
        if self._is_guess:
            self._is_guess, self._last = False, 0
        latest = self._monotonic()
        low, high = database_now - latest, database_now - (latest if asked_at is None else asked_at)
        if not low - slack <= self._offset <= high + slack:
            self._offset = low if self._offset < low else high

    def seconds_until(self, at: int) -> float:
        """Seconds from now until `at`, not negative."""
        return max(0.0, (at - self.now()) / 1_000_000)
