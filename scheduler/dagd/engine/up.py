"""`dagd up`: everything on this machine. Starts the parts, restarts what dies, stops all within two seconds."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from dagd.agent.launch import ensure_agent, is_listening, stop_agent
from dagd.model.release import RELEASE
from dagd.model.settings import Settings
from dagd.observe.private import keep_private
from dagd.observe.systemd import Notify
from dagd.observe.user import find_user

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
STEADY_S = 10.0
STOP_S = 1.5


@dataclass
class Part:
    """A child process of `up`."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    restart_at: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


def environment(settings: Settings) -> dict[str, str]:
    """What the parts are told: every setting that is not a default, under its environment name."""
    told = dict(os.environ)
    for name, value in settings.values.items():
        if settings.origins.get(name) != "default" or name in {"core.home", "core.dags_folder", "database.url"}:
            section, _, key = name.partition(".")
            told[f"DAGD_{section.upper()}__{key.upper()}"] = (
                shlex.join(value) if isinstance(value, list) else str(value)
            )
    for short in ("DAGD_HOME", "DAGD_DAGS_FOLDER", "DAGD_DATABASE_URL"):
        told.pop(short, None)
    return told


def begin_migration(settings: Settings) -> subprocess.Popen[str]:
    """Bring the database up to date in a process of its own, so that this one stays small."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dagd.engine.migration"], env=environment(settings), text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def end_migration(migration: subprocess.Popen[str]) -> str:
    """What the migration says of the database. Ends this process when it failed: its words are on the terminal."""
    said, _ = migration.communicate()
    if migration.returncode:
        raise SystemExit(migration.returncode)
    return said.strip()


def start_part(part: Part, settings: Settings) -> int:
    """Start a part; returns the descriptor on which it will say that it is ready."""
    reading, writing = os.pipe()
    command = [
        sys.executable,
        "-P",
        "-m",
        "dagd.engine.part",
        part.name,
        "--ready-fd",
        str(writing),
        "--parent",
        str(os.getpid()),
        "--home",
        str(settings.home),
    ]
    part.process = subprocess.Popen(command, env=environment(settings), pass_fds=[writing], stdin=subprocess.DEVNULL)
    part.started_at = time.monotonic()
    os.close(writing)
    return reading


def say(text: str) -> None:
    """A line for the person at the terminal."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        pass


class Up:
    """The supervisor of one `dagd up`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.parts = [Part("scheduler"), Part("processor")]
        self.wake_read, self.wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.stopping = False
        self.notify = Notify()

    def ask_stop(self, *_: object) -> None:
        """Signal handler: stop everything."""
        self.stopping = True
        os.write(self.wake_write, b".")

    def run(self) -> None:
        """Start, watch, stop."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.ask_stop)
        signal.signal(signal.SIGCHLD, lambda *_: os.write(self.wake_write, b"."))
        migration = begin_migration(self.settings)
        was_there = is_listening(self.settings.home)
        ensure_agent(self.settings, self.settings["agent.slots"])
        try:
            database = end_migration(migration)
        except SystemExit:
            if not was_there:  # else it has tries of an earlier `up`, which a database that is away must not end
                stop_agent(self.settings.home)
            raise
        place = str(self.settings.project or self.settings.home).replace(os.path.expanduser("~"), "~", 1)
        say(f"dagd {RELEASE}  project {place}  db {database}")
        waiting = {start_part(part, self.settings): part for part in self.parts}
        self._greet(self._wait_ready(waiting))
        self._watch()
        self._stop_all()

    def _wait_ready(self, waiting: dict[int, Part]) -> bool:
        """Wait until every part said that it is ready; False when one died or a stop was asked for first."""
        with selectors.DefaultSelector() as selector:
            for descriptor in (self.wake_read, *waiting):
                selector.register(descriptor, selectors.EVENT_READ)
            all_ready = True
            while waiting and not self.stopping:
                for key, _ in selector.select():
                    if key.fd == self.wake_read:
                        self._drain()
                        continue
                    line = os.read(key.fd, 65536)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    part = waiting.pop(key.fd)
                    part.facts = json.loads(line) if line else {}
                    all_ready = all_ready and bool(line)
        return all_ready and not self.stopping

    def _greet(self, all_ready: bool) -> None:
        if not all_ready:
            return
        mark = "✓" if "utf" in (sys.stdout.encoding or "").lower() else "+"
        say(f"{mark} scheduler  {mark} {self.settings['agent.slots']} workers  {mark} processor")
        facts = self.parts[1].facts
        folder = os.path.relpath(self.settings.dags_folder)
        self.notify.say("READY=1", f"STATUS={facts.get('dags')} DAGs in {facts.get('files')} files")
        say(
            f"{folder}/  {facts.get('files')} files, {facts.get('dags')} DAGs, {facts.get('errors')} errors"
            f" (parsed in {facts.get('ms')} ms)      Ctrl-C stops · dagd status · dagd logs"
        )

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.wake_read, selectors.EVENT_READ)
            while not self.stopping:
                selector.select(self._timeout())
                self._drain()
                for part in self.parts:
                    self._look_after(part)
                if all(part.process is not None for part in self.parts):
                    self.notify.say("WATCHDOG=1")

    def _timeout(self) -> float | None:
        due = [max(0.0, part.restart_at - time.monotonic()) for part in self.parts if part.process is None]
        return min([*due, *([] if self.notify.every_s is None else [self.notify.every_s])], default=None)

    def _drain(self) -> None:
        try:
            os.read(self.wake_read, 4096)
        except BlockingIOError:
            return

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.process is not None and part.process.poll() is not None and not self.stopping:
            status = part.process.returncode
            steady = now - part.started_at > STEADY_S
            part.pause_s = FIRST_PAUSE_S if steady or not part.pause_s else min(LONGEST_PAUSE_S, part.pause_s * 2)
            part.process, part.restart_at = None, now + part.pause_s
            log = self.settings.log_folder / f"{part.name}.log"
            when = time.strftime("%H:%M:%S")
            say(f"{when} ! {part.name} ended ({status}), starts again in {part.pause_s:g} s   {log}")
        if part.process is None and now >= part.restart_at and not self.stopping:
            os.close(start_part(part, self.settings))

    def _stop_all(self) -> None:
        """Ask every part and the agent to end; what has not after the time is killed."""
        self.notify.say("STOPPING=1")
        say("stopping")
        deadline = time.monotonic() + STOP_S
        running = [part.process for part in self.parts if part.process is not None]
        for process in running:
            process.terminate()
        stop_agent(self.settings.home, patience_s=STOP_S)
        for process in running:
            try:
                process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _reap_children()


def _reap_children() -> None:
    """The keeper is our child too: leave no zombie to an init that does not reap."""
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue
    except ChildProcessError:
        return


def run_up(settings: Settings) -> None:
    """Run everything until told to stop."""
    keep_private()
    if settings["agent.run_as"]:
        find_user(settings["agent.run_as"])
    Up(settings).run()
