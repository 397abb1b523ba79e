"""Running one scheduler process from start to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from dagd.agent import address
from dagd.agent.launch import ensure_agent
from dagd.engine.loop import Loop
from dagd.engine.maintenance import Chores
from dagd.engine.service import Scheduler
from dagd.model.release import RELEASE
from dagd.model.settings import Settings
from dagd.observe.talk import Talk
from dagd.store.database import open_database
from dagd.store.migrate import check_schema

LOG = logging.getLogger("dagd.scheduler")


def private_files() -> None:
    """Files that dagd makes are without rights for group and others."""
    os.umask(0o077)


def connector(settings: Settings) -> Callable[[], socket.socket]:
    """How the executor reaches the agent: started when there is none. Raises OSError."""

    def connect() -> socket.socket:
        ensure_agent(settings, settings["agent.slots"])
        return address.connect(settings.home)

    return connect


def run_scheduler(
    settings: Settings, *, ready: Callable[[dict[str, Any]], None] | None = None, talk: Talk | None = None
) -> None:
    """Run a scheduler until SIGTERM or SIGINT. Its tries go on in the agent."""
    database = open_database(settings.database_url, busy_timeout_s=settings["database.busy_timeout_s"])
    check_schema(database)
    connect = connector(settings)
    private_files_after(connect)
    scheduler = Scheduler(settings, database, connect, RELEASE, talk or Talk(None))
    scheduler.start()
    loop = Loop(scheduler)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, lambda *_: loop.stop())
    chores = Chores(settings, database)
    chores.start()
    if ready is not None:
        ready({"slots": settings["agent.slots"], "pid": os.getpid()})
    tune_collector()
    LOG.info("scheduler %s runs on %s", os.getpid(), database.describe())
    try:
        loop.run()
    finally:
        chores.stop()
        database.close()


def tune_collector() -> None:
    """Frames and plans make many containers and few cycles: look for cycles seldom, and never at what start made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def private_files_after(connect: Callable[[], socket.socket]) -> None:
    """The agent takes over the user's umask for tries, so it is started first; then ours becomes private."""
    try:
        connect().close()
    except OSError as error:
        LOG.warning("the agent cannot be reached yet: %s", error)
    private_files()
