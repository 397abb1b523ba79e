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
from dagd.agent.config import current_umask
from dagd.agent.launch import ensure_agent
from dagd.engine.loop import Loop
from dagd.engine.maintenance import Chores
from dagd.engine.service import Scheduler
from dagd.model.release import RELEASE
from dagd.model.settings import Settings
from dagd.observe.private import keep_private, private_files
from dagd.observe.talk import Talk
from dagd.store.database import open_database
from dagd.store.migrate import check_schema

LOG = logging.getLogger("dagd.scheduler")


def connector(settings: Settings) -> Callable[[], socket.socket]:
    """How the executor reaches the agent: started when there is none, with the umask of now. Raises OSError."""
    umask = current_umask()

    def connect() -> socket.socket:
        ensure_agent(settings, settings["agent.slots"], umask)
        return address.connect(settings.home)

    return connect


def run_scheduler(
    settings: Settings, *, ready: Callable[[dict[str, Any]], None] | None = None, talk: Talk | None = None
) -> None:
    """Run a scheduler until SIGTERM or SIGINT. Its tries go on in the agent."""
    keep_private()
    connect = connector(settings)
    private_files()
    database = open_database(settings.database_url, busy_timeout_s=settings["database.busy_timeout_s"])
    check_schema(database)
    scheduler = Scheduler(settings, database, connect, RELEASE, talk or Talk(None))
    scheduler.start()
    loop = Loop(scheduler)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, lambda *_: loop.stop())
    chores = Chores(settings, database, scheduler.metrics)
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
