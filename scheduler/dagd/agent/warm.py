"""The warm grade: processes that run one launch after the other, for tasks whose code is ours or that ask for it."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from typing import Any

from dagd.agent.logs import LogWriters
from dagd.agent.loop import Loop
from dagd.agent.tries import Tries, Try
from dagd.agent.warm_worker import Key, WarmWorker
from dagd.agent.zygotes import Zygotes
from dagd.model.states import Reason

IDLE_S = 60.0
# Tries shorter than this run on a few hot workers, several to a message. A worker that is with one try for longer than
# the patience is hot no more: what is behind that try goes elsewhere, and another worker takes its place.
QUICK_S = 0.002
PATIENCE_S = 0.005
HOT_WORKERS = max(2, os.cpu_count() or 2)
BATCH_S = 0.002
MOST_IN_BATCH = 32
MOST_SPARE_S = 0.001
# Workers that died before they began a launch, before the launch is given back.
MOST_BIRTHS = 3


class WarmGrade:
    """All warm workers. At most as many as there are slots; those used last are used first."""

    def __init__(self, tries: Tries, loop: Loop, writers: LogWriters, zygotes: Zygotes, slots: int) -> None:
        self.tries, self.loop, self.writers = tries, loop, writers
        self._zygotes, self._slots = zygotes, slots
        self._workers: dict[WarmWorker, None] = {}
        self._idle: dict[Key, list[WarmWorker]] = {}
        self._births: dict[Any, int] = {}
        self._pace: dict[Key, float] = {}  # what a key's tries take when nothing slows them, in seconds
        self._hot: dict[Key, int] = {}  # workers of a key that are with tries, and not for long
        self._backlog: dict[Key, deque[Try]] = {}
        self._is_watching = False
        self._numbers = itertools.count(1)
        self._dirty: list[WarmWorker] = []
        loop.after(IDLE_S, self._let_old_go)

    def is_quick(self, attempt: Try) -> bool:
        """Whether it will be over so soon that it may wait for a hot worker without a slot of its own."""
        return attempt.launch.get("grade") == "warm" and self._pace.get(_key_of(attempt), 1.0) < QUICK_S

    def start(self, attempt: Try) -> None:
        """A quick one, or one of which nothing is known, waits for a hot worker; others get a worker each."""
        key = _key_of(attempt)
        if self._pace.get(key, 0.0) < QUICK_S:
            self._backlog.setdefault(key, deque()).append(attempt)
        else:
            self._place(key, [attempt])

    def _place(self, key: Key, batch: list[Try]) -> None:
        """An idle worker takes the batch; a new one is made for the first of it, and the rest is back in line."""
        self._hot[key] = self._hot.get(key, 0) + 1
        idle = self._idle.get(key)
        if idle:
            idle.pop().begin(batch)
            return
        first, *others = batch
        self._backlog.setdefault(key, deque()).extendleft(reversed(others))
        if len(self._workers) >= self._slots:
            self._evict()
        worker = WarmWorker(self, key, f"worker {next(self._numbers)}", first)
        self._workers[worker] = None
        version = first.version
        assert version is not None
        self._zygotes.fork(version, "fork_worker", worker)

    def _distribute(self) -> None:
        """Hands what waits to hot workers that are free."""
        for key in list(self._backlog):
            is_quick = self._pace.get(key, 0.0) < QUICK_S
            while self._backlog[key] and self._has_room() and not (is_quick and self._hot.get(key, 0) >= HOT_WORKERS):
                self._place(key, self._next_batch(key))
            if self._backlog[key]:
                self.watch()
            else:
                del self._backlog[key]

    def _next_batch(self, key: Key) -> list[Try]:
        """As many as are quickly done, and no more than a fair share of what waits."""
        waiting = self._backlog[key]
        fair = -(-len(waiting) // HOT_WORKERS)
        count = max(1, min(MOST_IN_BATCH, fair, int(BATCH_S / max(self._pace.get(key, 1.0), 1e-6))))
        return [waiting.popleft() for _ in range(count)]

    def watch(self) -> None:
        """Something waits behind a try: look at it again when that should be over."""
        if not self._is_watching:
            self._is_watching = True
            self.loop.after(PATIENCE_S, self._relieve)

    def _relieve(self) -> None:
        self._is_watching = False
        oldest = time.monotonic() - PATIENCE_S
        for worker in [worker for worker in self._workers if worker.is_with_one_since(oldest)]:
            worker.recall()
            if not worker.is_with_one_since(oldest):
                continue  # it has just ended that one
            worker.is_slow = True
            self._hot[worker.key] = self._hot.get(worker.key, 1) - 1
            self._pace.setdefault(worker.key, PATIENCE_S)
            if worker.attempt is not None:
                self.tries.take_slot(worker.attempt)
        if any(worker.has_begun and not worker.is_slow for worker in self._workers):
            self.watch()  # what waits is distributed at the end of the turn

    def _has_room(self) -> bool:
        return len(self._workers) < self._slots or any(self._idle.values())

    def put_back(self, attempts: list[Try]) -> None:
        """They were with a worker and have not begun: first in line again."""
        for attempt in reversed(attempts):
            self._backlog.setdefault(_key_of(attempt), deque()).appendleft(attempt)

    def finished(self, worker: WarmWorker, took_s: float) -> None:
        """A worker has ended a try: what its key's tries take at present."""
        before = self._pace.get(worker.key, took_s)
        # Down at once, up slowly: many workers on few cores make each other slow, which must not look like long tries.
        self._pace[worker.key] = took_s if took_s < before else before + 0.02 * (took_s - before)

    def withdraw(self, attempt: Try) -> bool:
        """True while it waits, or its worker is not there yet, or can still be stopped from beginning it. If not, what
        was behind it with its worker is elsewhere now."""
        for worker in list(self._workers):
            if attempt in worker.rest or worker.attempt is attempt:
                worker.recall()
        for waiting in self._backlog.values():
            if attempt in waiting:
                waiting.remove(attempt)
                return True
        for worker in self._workers:
            if worker.attempt is attempt and not worker.has_begun:
                worker.attempt = None
                return True
        return False

    def rest(self, worker: WarmWorker) -> None:
        """It is free: it takes what waits longest for its key, or idles."""
        if worker.is_slow:
            worker.is_slow = False
            self._hot[worker.key] = self._hot.get(worker.key, 0) + 1
        if self._backlog.get(worker.key):
            worker.begin(self._next_batch(worker.key))
            return
        self._hot[worker.key] -= 1
        worker.idle_at = time.monotonic()
        self._idle.setdefault(worker.key, []).append(worker)

    def remove(self, worker: WarmWorker) -> None:
        """It is dead or dying."""
        was_known = self._workers.pop(worker, worker) is None
        if worker in self._idle.get(worker.key, ()):
            self._idle[worker.key].remove(worker)
        elif was_known and not worker.is_slow:
            self._hot[worker.key] = self._hot.get(worker.key, 1) - 1

    def spare_s(self) -> float:
        """For how long all hot workers have enough to do: half of what they were given."""
        spare = MOST_SPARE_S
        is_busy = False
        for worker in self._workers:
            if worker.has_begun and not worker.is_slow:
                spare = min(spare, len(worker.rest) * self._pace.get(worker.key, 0.0) / 2)
                is_busy = True
        return spare if is_busy and self._is_watching else 0.0

    def mark_dirty(self, worker: WarmWorker) -> None:
        """Something was queued for it."""
        self._dirty.append(worker)

    def flush(self) -> None:
        """Sends what the turn has brought."""
        if self._backlog:
            self._distribute()
        dirty, self._dirty = self._dirty, []
        for worker in dirty:
            worker.flush()

    def give_back(self, attempt: Try) -> None:
        """Its worker died before it began: another one, and after some that also die, another try."""
        if attempt.ending.kill is not None:
            self.tries.ended(attempt, None)
            return
        births = self._births[attempt.token] = self._births.get(attempt.token, 0) + 1
        if births < MOST_BIRTHS:
            self.start(attempt)
            return
        del self._births[attempt.token]
        self.tries.fail(attempt, Reason.LOST, "its worker processes died before they began it")

    def forget_births(self, attempt: Try) -> None:
        """It has begun."""
        if self._births:
            self._births.pop(attempt.token, None)

    def _evict(self) -> None:
        idle = [worker for workers in self._idle.values() for worker in workers]
        if idle:
            min(idle, key=lambda worker: worker.idle_at).let_go()

    def _let_old_go(self) -> None:
        oldest = time.monotonic() - IDLE_S
        for worker in [worker for workers in self._idle.values() for worker in workers if worker.idle_at < oldest]:
            worker.let_go()
        self._idle = {key: workers for key, workers in self._idle.items() if workers}
        self.loop.after(IDLE_S / 4, self._let_old_go)


def _key_of(attempt: Try) -> Key:
    key = "" if attempt.version is None else attempt.version.key
    return key, str(attempt.launch.get("worker_key"))
