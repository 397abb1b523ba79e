"""The engine's clock: the database's, not that of a host which may be wrong."""

from __future__ import annotations

from dagd.engine.clock import Clock
from dagd.model.times import SECOND


class Host(Clock):
    """A host whose wall clock is `ahead` of the database's, which stands at `at` on its monotonic clock."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.at = 1_000 * SECOND
        self._offset = ahead

    def _monotonic(self) -> int:  # type: ignore[override]
        return getattr(self, "at", 0)


def test_s12_a_host_that_is_ahead_does_not_hold_the_time_there() -> None:
    host = Host(ahead=30 * SECOND)
    assert host.now() == 1_030 * SECOND
    host.follow(1_000 * SECOND)
    assert host.now() == 1_000 * SECOND
    host.at += SECOND
    assert host.now() == 1_001 * SECOND


def test_the_time_never_goes_back_once_it_is_the_databases() -> None:
    host = Host(ahead=0)
    host.follow(1_000 * SECOND)
    assert host.now() == 1_000 * SECOND
    host.follow(990 * SECOND)
    assert host.now() == 1_000 * SECOND


def test_a_slow_answer_does_not_set_the_time_back() -> None:
    host = Host(ahead=0)
    host.follow(1_000 * SECOND, host.begin_asking())
    asked_at = host.begin_asking()
    host.at += SECOND // 2  # the database read its clock at once, and its answer took half a second
    host.follow(1_000 * SECOND, asked_at)
    assert host.now() == 1_000 * SECOND + SECOND // 2


def test_an_answer_that_no_delay_explains_is_followed() -> None:
    for database_now, expected in ((990, 990.5), (1_010, 1_010)):  # the nearest that fits the moment of the answer
        host = Host(ahead=0)
        asked_at = host.begin_asking()
        host.at += SECOND // 2
        host.follow(database_now * SECOND, asked_at)
        assert host.now() == expected * SECOND
