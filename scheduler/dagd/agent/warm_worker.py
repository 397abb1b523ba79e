"""One warm worker as the agent sees it: which tries it has, which of them it may have begun, and what it said."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dagd.agent import procfs
from dagd.agent.launch_frames import batch_frame
from dagd.agent.logs import LogPipe
from dagd.agent.plumbing import OneTry, open_pipes
from dagd.agent.said import is_result
from dagd.agent.stream import Stream
from dagd.agent.tries import Grade, Try
from dagd.model.frames import Frame, encode_frame

if TYPE_CHECKING:
    from dagd.agent.warm import WarmGrade

Key = tuple[str, str]
RECALL = encode_frame({"t": "recall"})


class WarmWorker:
    """One process: made for a first launch, idle between batches, gone when it drifts, dies or is not needed.

    It runs its batch in order and answers each try before it begins the next. So of the tries without an answer only
    the first, `attempt`, can have begun; those of `rest` follow it, until the worker is told otherwise.
    """

    def __init__(self, pool: WarmGrade, key: Key, token: str, first: Try) -> None:
        self._pool, self.key, self.token = pool, key, token
        self.attempt: Try | None = first
        self.rest: deque[Try] = deque()
        self.has_begun = self.is_slow = False
        self.idle_at = 0.0
        self.is_alone = False
        self._begun_at = 0.0
        self._is_new = False  # whether `attempt` has yet to be told as begun
        self._may_have_read = self._is_unsent = False
        self._batches = 0
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
        pool = self._pool
        self._channel.drain()
        self._channel.close()
        pool.remove(self)
        attempt, self.attempt = self.attempt, None
        self._put_rest_back()
        if attempt is not None and not self.has_begun:
            pool.give_back(attempt)
        elif attempt is not None and self._channel.was_reset and not self._may_have_read and not attempt.has_asked:
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

    def begin(self, batch: list[Try]) -> None:
        """Queues launches; they are sent at the end of the turn."""
        self.attempt, self.has_begun = batch[0], True
        self.rest.extend(batch[1:])
        self._may_have_read = False
        self._batches += 1
        self._begun_at = time.monotonic()
        self._become_current(batch[0])
        self._channel.send(batch_frame(self._batches, batch))
        self._is_unsent = True
        self._pool.mark_dirty(self)
        self._pool.watch()

    def flush(self) -> None:
        """Sends the launches. A process that died while it was idle cannot have begun any."""
        if not self._is_unsent:
            return
        self._is_unsent = False
        self._channel.flush()
        if (self._channel.is_broken or not self._channel.is_open) and self.attempt is not None:
            self._put_rest_back()
            self._return(self.attempt)

    def is_with_one_since(self, oldest: float) -> bool:
        """Whether it began its present try before `oldest` (monotonic)."""
        return self.has_begun and not self.is_slow and self._begun_at <= oldest

    def recall(self) -> None:
        """Takes back what it has not begun. Whatever is behind the first try without an answer *after* the recall was
        sent will not begin: the worker looks for a recall before each."""
        self.flush()
        if not self.rest:
            return
        batch, self._may_have_read = self._batches, True
        self._channel.send(RECALL)
        self._channel.flush()
        self._channel.drain()
        if self._batches == batch:
            self._put_rest_back()

    def let_go(self) -> None:
        """Ends an idle worker: its channel's end tells it."""
        self._pool.remove(self)
        self._channel.close()

    def _put_rest_back(self) -> None:
        if self.rest:
            self._pool.put_back(list(self.rest))
            self.rest.clear()
        if self.attempt is not None:
            self.attempt.has_company = False

    def _return(self, attempt: Try) -> None:
        """It was sent to a process that did not read it: another worker gets it."""
        self._let_go_of(attempt)
        self._output.end(lambda: self._pool.give_back(attempt))

    def _let_go_of(self, attempt: Try) -> None:
        self.attempt, self.has_begun = None, False
        attempt.pid, attempt.channel, attempt.output = 0, None, None
        if attempt.deadline is not None:
            attempt.deadline.cancel()

    def _begin_first(self) -> None:
        if not self._pid or not self._is_ready:
            return
        if self.attempt is None:
            self._pool.rest(self)
        else:
            self._pool.forget_births(self.attempt)
            self.begin([self.attempt])

    def _become_current(self, attempt: Try) -> None:
        """From here on it counts as begun."""
        self._is_new = False
        attempt.pid, attempt.start = self._pid, self._start
        attempt.channel, attempt.output = self._channel, self._output
        attempt.has_company = bool(self.rest)
        self._output.begin(attempt.token, attempt.launch["log"], attempt.secrets)
        self._pool.tries.begun(attempt)

    # --- what it says

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            kind, attempt = frame.get("t"), self.attempt
            if kind == "result" and attempt is not None and is_result(frame):
                self._take_result(attempt, frame)
            elif kind == "ready" and not self._is_ready:
                self._is_ready = True
                self._begin_first()
            elif kind == "recalled":
                self._take_recalled(frame)
            elif attempt is not None:
                if self._is_new:
                    self._become_current(attempt)
                self._pool.tries.take(attempt, [frame])
        if self._is_new and self.attempt is not None:
            self._become_current(self.attempt)

    def _take_recalled(self, frame: Frame) -> None:
        """It will not begin this one either. About an earlier batch the word is late: its tries may be here again."""
        attempt = self.attempt
        if attempt is None or frame.get("batch") != self._batches or attempt.ending.kill is not None:
            return
        self._let_go_of(attempt)
        self._pool.put_back([attempt])
        self._pool.rest(self)

    def _take_result(self, attempt: Try, frame: Frame) -> None:
        self._may_have_read = True
        drift, printed = frame.pop("drift", None), frame.pop("printed", False)
        begun_at, ended_at = _instants(frame.pop("at", None))
        if attempt.grace is None:
            attempt.ending.kill = None  # it is to be stopped, and was over before anything was done about it
        if drift is not None or attempt.ending.kill is not None:
            # It leaves by itself, or has to: the try ends when all below it is dead.
            if self._is_new:
                self._become_current(attempt)
            self._put_rest_back()
            self._pool.tries.take_result(attempt, frame)
            if attempt.ending.kill is not None:
                self._pool.tries.kill_now(attempt)
            return
        del frame["t"]
        attempt.ending.frame = frame
        attempt.started_at, attempt.ended_at = begun_at, ended_at
        self._pool.finished(self, (ended_at - begun_at) / 1e6)
        if self._is_new:
            attempt.pid = self._pid
            self._output.begin(attempt.token, attempt.launch["log"], attempt.secrets)
        if printed:
            self._put_rest_back()
        if self.rest:
            self._finish(attempt)  # nothing was printed, else the batch had ended
        else:
            self._output.end(lambda: self._finish(attempt))

    def _finish(self, attempt: Try) -> None:
        attempt.output = attempt.channel = None
        self._begun_at = time.monotonic()
        self._pool.tries.ended(attempt, 0)
        if self.rest:
            self.attempt, self._is_new = self.rest.popleft(), True
            return
        self.attempt, self.has_begun = None, False
        if self._channel.is_open:
            self._pool.rest(self)

    def _refuse(self, problem: str) -> None:
        if self.attempt is not None:
            self._pool.tries.refuse(self.attempt, problem)
        else:
            self.let_go()


def _instants(said: Any) -> tuple[int, int]:
    """When a body began and ended, as its process says, but never later than now."""
    now = time.time_ns() // 1000
    if not isinstance(said, list) or len(said) != 2 or not all(isinstance(one, int) for one in said):
        return now, now
    return min(said[0], said[1], now), min(said[1], now)
