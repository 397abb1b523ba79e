"""Agent and warm workers in every order: each body runs once, whatever is recalled, cancelled or killed meanwhile."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dagd.agent import procfs, warm, warm_worker
from dagd.agent.journal import Contents, Journal
from dagd.agent.loop import Loop
from dagd.agent.results import Kill
from dagd.agent.stream import Stream
from dagd.agent.tries import Tries
from dagd.agent.versions import Content, Version
from dagd.agent.warm import WarmGrade
from dagd.agent.warm_worker import WarmWorker
from dagd.model.frames import Frame, FrameBuffer, encode_frame

SEEDS = int(os.environ.get("DAGD_TEST_SEEDS", "40"))


class Body:
    """A worker process that moves when it is told to, and reads its socket as the real one does."""

    def __init__(self, peer: socket.socket, what: WarmWorker, ran: Counter[str]) -> None:
        peer.setblocking(False)
        self.peer, self.what, self.ran = peer, what, ran
        self.inbox: deque[Frame] = deque()
        self.batch: list[Frame] = []
        self.number = 0
        self.buffer = FrameBuffer()
        self.is_dead = False
        self.say({"t": "ready"})

    def say(self, frame: Frame) -> None:
        self.peer.sendall(encode_frame(frame))

    def listen(self) -> None:
        try:
            chunk = self.peer.recv(1 << 16)
        except BlockingIOError:
            return
        self.is_dead = self.is_dead or not chunk
        self.inbox += self.buffer.feed(chunk)

    def step(self) -> None:
        """Begin a batch, or end the present try and begin the next."""
        if not self.batch:
            self.listen()
            if self.inbox:
                frame = self.inbox.popleft()
                if frame["t"] == "launch":
                    self.batch, self.number = frame["tries"], frame["batch"]
                    self.ran[self.batch[0]["token"]] += 1
            return
        self.batch.pop(0)
        self.say({"t": "result", "outcome": "succeed", "at": [1, 1 + random.randrange(100)]})
        if not self.batch:
            return
        if not self.inbox:
            self.listen()
        if self.inbox and self.inbox[0]["t"] == "recall":
            self.inbox.popleft()
            self.say({"t": "recalled", "batch": self.number})
            self.batch = []
            return
        self.ran[self.batch[0]["token"]] += 1


class Link:
    """Takes results as a scheduler would."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()

    def deliver(self, token: str, _encoded: bytes) -> None:
        self.ended[token] += 1

    def tell_started(self, *_what: Any) -> None:
        return

    def send(self, _frame: Frame) -> None:
        return


class World:
    """The agent's warm grade over bodies that are moved one at a time."""

    def __init__(self, seed: int, folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dice = random.Random(seed)
        self.now = 1000.0
        for module in (warm, warm_worker):
            monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(procfs, "start_time", lambda _pid: 1)
        monkeypatch.setattr("dagd.agent.kill.terminate_group", self.terminate)
        self.loop, self.link, self.ran = Loop(), Link(), Counter[str]()
        self.journal = Journal(folder / "agent.journal", "i", Contents())
        self.tries = Tries(self.loop, self.journal, 8)
        self.grade = WarmGrade(self.tries, self.loop, cast(Any, None), cast(Any, self), 8)
        self.tries.choose, self.tries.is_quick = lambda _attempt: self.grade, self.grade.is_quick
        self.bodies: list[Body] = []
        self.version = Version(1, "d", Content("v", "v", {}))
        self.launched = 0
        self.cancelled: set[str] = set()

    def fork(self, _version: Version, _kind: str, what: WarmWorker) -> None:
        """As the zygotes do."""
        mine, other = socket.socketpair()
        what._channel = Stream(self.loop, mine, what._take, what._refuse, limit=1 << 20)
        what._output = cast(Any, Output())
        self.bodies.append(Body(other, what, self.ran))
        what.started(10_000 + len(self.bodies))

    def terminate(self, pid: int) -> None:
        self.die(self.bodies[pid - 10_001])

    def die(self, body: Body) -> None:
        """The process is killed: what it had sent is still read."""
        if not body.is_dead:
            body.is_dead = True
            body.peer.close()
            self.bury = body.what

    def launch(self) -> None:
        for _ in range(self.dice.randrange(1, 12)):
            self.launched += 1
            token = f"t{self.launched}"
            launch = {"token": token, "grade": "warm", "worker_key": "k", "log": f"1/{token}", "payload": {}}
            self.tries.accept(cast(Any, self.link), launch, self.version)

    def cancel(self) -> None:
        if self.tries.live:
            token = self.dice.choice(list(self.tries.live))
            self.cancelled.add(str(token))
            self.tries.cancel(token, Kill("cancel", "cancelled"), 1.0)

    def work(self) -> None:
        alive = [body for body in self.bodies if not body.is_dead]
        if alive:
            self.dice.choice(alive).step()

    def kill(self) -> None:
        alive = [body for body in self.bodies if not body.is_dead]
        if alive:
            self.die(self.dice.choice(alive))

    def pass_time(self) -> None:
        self.now += self.dice.choice([0.001, 0.01])
        self.grade._relieve()

    def turn(self) -> None:
        for key, _events in self.loop._selector.select(0):
            if self.loop._acts.get(key.fd) is key.data:
                key.data()
        self.tries.admit()
        self.tries.dispatch()
        self.grade.flush()
        for body in self.bodies:
            if body.is_dead and body.what in self.grade._workers:
                body.what.ended(9)

    def drain(self) -> None:
        """Nothing new; everybody goes on until all is over."""
        for _ in range(4000):
            if not self.tries.live:
                return
            self.work()
            self.turn()
            self.now += 0.001
            self.grade._relieve()
        raise AssertionError(f"never ended: {sorted(map(str, self.tries.live))}, hot {self.grade._hot}")

    def close(self) -> None:
        """Gives back what the operating system lent."""
        for body in self.bodies:
            body.peer.close()
            body.what._channel.close()
        self.loop._selector.close()
        signal.set_wakeup_fd(-1)
        for fd in (self.loop._wakeup_read, self.loop._wakeup_write, self.journal._fd):
            os.close(fd)


class Output:
    """A pipe into which nothing is written."""

    def begin(self, _token: str, _log: str, _secrets: Any = ()) -> None:
        return

    def end(self, done: Any) -> None:
        done()

    def close_when_done(self) -> None:
        return

    def follow(self) -> None:
        return


@pytest.fixture
def world(seed: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(seed, tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("is_calm", [True, False], ids=["calm", "with kills and cancels"])
def test_each_body_runs_once_and_each_try_ends_once(world: World, is_calm: bool) -> None:
    acts = [world.launch, world.work, world.work, world.work, world.turn, world.turn, world.pass_time]
    for _ in range(300):
        world.dice.choice(acts if is_calm or world.dice.random() < 0.97 else [world.kill, world.cancel])()
    world.drain()
    assert sum(world.link.ended.values()) == world.launched
    assert set(world.link.ended.values()) <= {1}
    assert set(world.ran.values()) <= {1}, [token for token, count in world.ran.items() if count > 1]
    if is_calm:
        assert sum(world.ran.values()) == world.launched
        assert sum(world.grade._hot.values()) == 0
