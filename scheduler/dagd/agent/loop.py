"""The one loop of the agent: readiness, timers, signals. Everything runs in its thread."""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable

Callback = Callable[[], None]
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# Longest wait without an event: the bound on how late a fact is seen that sends no event.
LONGEST_S = 1.0


class Timer:
    """A call that is due once. `cancel` makes it nothing."""

    __slots__ = ("act",)

    def __init__(self, act: Callback) -> None:
        self.act: Callback | None = act

    def cancel(self) -> None:
        """It will not be called."""
        self.act = None


class Loop:
    """Calls what is registered until `stop`. `turns` are called, in order, at the end of each turn; `spare_s` says how
    long nobody will miss the loop after it, so that the next turn finds more to do at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._signals: dict[int, Callback] = {}
        self._acts: dict[int, Callback] = {}
        self._running = True
        self.turns: list[Callback] = []
        self.spare_s: Callable[[], float] = lambda: 0.0
        self._wakeup_read, self._wakeup_write = os.pipe()
        os.set_blocking(self._wakeup_read, False)
        os.set_blocking(self._wakeup_write, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self.watch(self._wakeup_read, self._take_signals)

    def watch(self, fd: int, act: Callback, events: int = READ) -> None:
        """`act` is called while `fd` is ready. The caller unwatches before it closes."""
        self._selector.register(fd, events, act)
        self._acts[fd] = act

    def rewatch(self, fd: int, act: Callback, events: int) -> None:
        """Other events for a watched descriptor."""
        self._selector.modify(fd, events, act)
        self._acts[fd] = act

    def unwatch(self, fd: int) -> None:
        """Forgets the descriptor; nothing when it is not watched."""
        if self._acts.pop(fd, None) is not None:
            self._selector.unregister(fd)

    def after(self, delay_s: float, act: Callback) -> Timer:
        """Calls `act` once, `delay_s` seconds from now."""
        timer = Timer(act)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def on_signal(self, number: int, act: Callback) -> None:
        """Calls `act` in the loop, once for any number of signals that came together."""
        self._signals[number] = act
        signal.signal(number, lambda _number, _frame: None)

    def stop(self) -> None:
        """Leaves after this turn."""
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        selector = self._selector
        acts = self._acts
        while self._running:
            for key, _events in selector.select(self._patience()):
                # An earlier call of this turn may have closed it, and its number may be another file by now.
                act = acts.get(key.fd)
                if act is not None and act is key.data:
                    act()
            self._ring()
            for turn in self.turns:
                turn()
            spare = self.spare_s()
            if spare:
                time.sleep(spare)

    def _patience(self) -> float:
        timers = self._timers
        while timers and timers[0][2].act is None:
            heapq.heappop(timers)
        return max(0.0, min(LONGEST_S, timers[0][0] - time.monotonic())) if timers else LONGEST_S

    def _ring(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= time.monotonic():
            timer = heapq.heappop(timers)[2]
            if timer.act is not None:
                timer.act()

    def _take_signals(self) -> None:
        try:
            numbers = os.read(self._wakeup_read, 4096)
        except BlockingIOError:
            return
        for number in sorted(set(numbers)):
            if number in self._signals:
                self._signals[number]()
