"""The warm grade: processes that run one launch after the other, for tasks whose code is ours or that ask for it."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagd.agent import procfs
from dagd.agent.logs import LogPipe, LogWriters
from dagd.agent.loop import Loop
from dagd.agent.plumbing import OneTry, open_pipes
from dagd.agent.results import OUTCOMES
from dagd.agent.stream import Stream
from dagd.agent.tries import Grade, Tries, Try
from dagd.agent.zygotes import Zygotes
from dagd.model.frames import Frame, encode_frame
from dagd.model.states import Reason

IDLE_S = 60.0
# Tries shorter than this run on a few hot workers, one after the other; one that waits longer gets a worker of its own.
QUICK_S = 0.002
PATIENCE_S = 0.005
HOT_WORKERS = 2 * max(2, os.cpu_count() or 2)
# Workers that died before they began a launch, before the launch is given back.
MOST_BIRTHS = 3

Key = tuple[str, str]


class WarmGrade:
    """All warm workers. At most as many as there are slots; those used last are used first."""

    def __init__(self, tries: Tries, loop: Loop, writers: LogWriters, zygotes: Zygotes, slots: int) -> None:
        self.tries, self.loop, self.writers = tries, loop, writers
        self._zygotes, self._slots = zygotes, slots
        self._workers: dict[WarmWorker, None] = {}
        self._idle: dict[Key, list[WarmWorker]] = {}
        self._births: dict[Any, int] = {}
        self._pace: dict[Key, float] = {}  # what a key's tries take when nothing slows them, in seconds
        self._ended_at: dict[Key, float] = {}
        self._busy: dict[Key, int] = {}
        self._backlog: dict[Key, deque[tuple[float, Try]]] = {}
        self._is_watching = False
        self._numbers = itertools.count(1)
        self._dirty: list[WarmWorker] = []
        loop.after(IDLE_S, self._let_old_go)

    def start(self, attempt: Try) -> None:
        """Gives it to an idle worker of its key, or to a new one; a quick one may wait for a hot worker."""
        version = attempt.version
        assert version is not None
        key = (version.key, str(attempt.launch.get("worker_key")))
        if self._pace.get(key, 1.0) < QUICK_S and self._busy.get(key, 0) >= HOT_WORKERS:
            self._backlog.setdefault(key, deque()).append((time.monotonic(), attempt))
            self._watch_backlog()
            return
        self._place(key, attempt)

    def _place(self, key: Key, attempt: Try) -> None:
        version = attempt.version
        assert version is not None
        self._busy[key] = self._busy.get(key, 0) + 1
        idle = self._idle.get(key)
        if idle:
            idle.pop().begin(attempt)
            return
        if len(self._workers) >= self._slots:
            self._evict()
        worker = WarmWorker(self, key, f"worker {next(self._numbers)}", attempt)
        self._workers[worker] = None
        self._zygotes.fork(version, "fork_worker", worker)

    def _watch_backlog(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            self.loop.after(PATIENCE_S, self._relieve_backlog)

    def _relieve_backlog(self) -> None:
        """What waits behind workers that have ended nothing for a while gets a worker of its own."""
        self._is_watching = False
        oldest = time.monotonic() - PATIENCE_S
        for key, waiting in list(self._backlog.items()):
            while waiting and max(waiting[0][0], self._ended_at.get(key, 0.0)) <= oldest:
                self._place(key, waiting.popleft()[1])
            if waiting:
                self._watch_backlog()
            else:
                del self._backlog[key]

    def finished(self, worker: WarmWorker, took_s: float) -> None:
        """A worker has ended a try: what its key's tries take at present."""
        before = self._pace.get(worker.key, took_s)
        # Down at once, up slowly: many workers on few cores make each other slow, which must not look like long tries.
        self._pace[worker.key] = took_s if took_s < before else before + 0.02 * (took_s - before)
        self._ended_at[worker.key] = time.monotonic()

    def withdraw(self, attempt: Try) -> bool:
        """True while it waits, or its worker is not there yet."""
        for waiting in self._backlog.values():
            for entry in waiting:
                if entry[1] is attempt:
                    waiting.remove(entry)
                    return True
        for worker in self._workers:
            if worker.attempt is attempt and not worker.has_begun:
                worker.attempt = None
                return True
        return False

    def rest(self, worker: WarmWorker) -> None:
        """It is free: it takes the launch that waits longest for its key, or idles."""
        waiting = self._backlog.get(worker.key)
        if waiting:
            worker.begin(waiting.popleft()[1])
            return
        self._busy[worker.key] = self._busy.get(worker.key, 1) - 1
        worker.idle_at = time.monotonic()
        self._idle.setdefault(worker.key, []).append(worker)

    def remove(self, worker: WarmWorker) -> None:
        """It is dead or dying."""
        was_known = self._workers.pop(worker, worker) is None
        if worker in self._idle.get(worker.key, ()):
            self._idle[worker.key].remove(worker)
        elif was_known:
            self._busy[worker.key] = self._busy.get(worker.key, 1) - 1

    def mark_dirty(self, worker: WarmWorker) -> None:
        """Something was queued for it."""
        self._dirty.append(worker)

    def flush(self) -> None:
        """Sends what the turn has brought."""
        dirty, self._dirty = self._dirty, []
        for worker in dirty:
            worker.flush()

    def give_back(self, attempt: Try) -> None:
        """Its worker died before it began: another one, and after some that also die, another try."""
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


class WarmWorker:
    """One process: made for a first launch, idle between launches, gone when it drifts, dies or is not needed."""

    def __init__(self, pool: WarmGrade, key: Key, token: str, first: Try) -> None:
        self._pool, self.key, self.token = pool, key, token
        self.attempt: Try | None = first
        self.has_begun = False
        self.idle_at = 0.0
        self._begun_at = 0.0
        self.is_alone = False
        self._pid = self._start = 0
        self._is_ready = False
        self._channel: Stream
        self._output: LogPipe

    # --- as the zygotes see it

    @contextmanager
    def open(self) -> Iterator[tuple[int, int]]:
        """Its pipes."""
        with open_pipes(self._pool.loop, self._pool.writers, self._take, self._refuse) as pipes:
            self._channel, self._output = pipes.channel, pipes.output
            yield pipes.theirs

    def started(self, pid: int) -> None:
        """The process exists."""
        self._pid, self._start = pid, procfs.start_time(pid)
        self._begin_first()

    def gather(self) -> None:
        """Takes in what the dead process has sent last."""
        self._channel.drain()

    def ended(self, status: int | None) -> None:
        """It and all below it are dead."""
        pool, attempt = self._pool, self.attempt
        self._channel.drain()
        self._channel.close()
        pool.remove(self)
        self.attempt = None
        if attempt is not None and not self.has_begun:
            pool.give_back(attempt)
        elif attempt is not None and self._channel.was_reset and not attempt.has_asked:
            self._return(attempt)
        elif attempt is not None:
            pool.tries.ended(attempt, status)
        self._output.close_when_done()

    def refused(self, reason: str, error: dict[str, Any]) -> None:
        """Its DAG file cannot be imported."""
        self._pool.remove(self)
        if self.attempt is not None:
            OneTry(self._pool.tries, self._pool.loop, self._pool.writers, self.attempt).refused(reason, error)

    def respawn(self, spawn: Grade) -> None:
        """Its DAG file cannot be forked: the launch runs in an interpreter of its own."""
        self._pool.remove(self)
        if self.attempt is not None:
            self.attempt.grade = spawn
            spawn.start(self.attempt)

    # --- as the pool sees it

    def begin(self, attempt: Try) -> None:
        """Queues a launch; it is sent at the end of the turn."""
        self.attempt, self.has_begun = attempt, True
        self._begun_at = time.monotonic()
        attempt.pid, attempt.start = self._pid, self._start
        attempt.channel, attempt.output = self._channel, self._output
        self._output.begin(attempt.token, attempt.launch["log"])
        self._pool.tries.begun(attempt)
        self._channel.send(encode_frame(attempt.launch))
        self._pool.mark_dirty(self)

    def flush(self) -> None:
        """Sends the launch. A process that died while it was idle cannot have begun it."""
        self._channel.flush()
        if (self._channel.is_broken or not self._channel.is_open) and self.attempt is not None:
            self._return(self.attempt)

    def _return(self, attempt: Try) -> None:
        """It was sent to a process that did not read it: another worker gets it."""
        self.attempt, self.has_begun = None, False
        attempt.pid, attempt.channel, attempt.output = 0, None, None
        if attempt.deadline is not None:
            attempt.deadline.cancel()
        self._output.end(lambda: self._pool.give_back(attempt))

    def let_go(self) -> None:
        """Ends an idle worker: its channel's end tells it."""
        self._pool.remove(self)
        self._channel.close()

    def _begin_first(self) -> None:
        if not self._pid or not self._is_ready:
            return
        if self.attempt is None:
            self._pool.rest(self)
        else:
            self._pool.forget_births(self.attempt)
            self.begin(self.attempt)

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            kind, attempt = frame.get("t"), self.attempt
            if kind == "result" and attempt is not None and frame.get("outcome") in OUTCOMES:
                self._take_result(attempt, frame)
            elif kind == "ready" and not self._is_ready:
                self._is_ready = True
                self._begin_first()
            elif attempt is not None:
                self._pool.tries.take(attempt, [frame])

    def _take_result(self, attempt: Try, frame: Frame) -> None:
        drift = frame.pop("drift", None)
        if drift is not None or attempt.ending.kill is not None:
            # It leaves by itself, or has to: the try ends when all below it is dead.
            self._pool.tries.take_result(attempt, frame)
            if attempt.ending.kill is not None:
                self._pool.tries.kill_now(attempt)
            return
        del frame["t"]
        attempt.ending.frame = frame
        self._output.end(lambda: self._finish(attempt))

    def _finish(self, attempt: Try) -> None:
        attempt.output = attempt.channel = None
        self.attempt, self.has_begun = None, False
        self._pool.finished(self, time.monotonic() - self._begun_at)
        self._pool.tries.ended(attempt, 0)
        if self._channel.is_open:
            self._pool.rest(self)

    def _refuse(self, problem: str) -> None:
        if self.attempt is not None:
            self._pool.tries.refuse(self.attempt, problem)
        else:
            self.let_go()
