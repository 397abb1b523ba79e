"""The processor process: one a home, from its lock to its end; `processor.py` is what it does in between."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dagd.engine.processor import Processor
from dagd.model.errors import AlreadyRunning, Unreachable
from dagd.model.settings import Settings
from dagd.observe.metrics import remove_metrics
from dagd.observe.private import keep_private, private_files
from dagd.observe.talk import Talk
from dagd.observe.user import find_user
from dagd.parsing.orphans import end_children, inherit_orphans
from dagd.store.database import DBAPIError, open_database
from dagd.store.migrate import check_schema

LOG = logging.getLogger("dagd.processor")
READY_S = 1.0


def take_lock(run_folder: Path) -> int:
    """One processor a home. Raises AlreadyRunning."""
    run_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(run_folder / "processor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise AlreadyRunning("another processor serves this home", remedy="Stop it first.") from error
    return descriptor


class Stopped(SystemExit):
    """SIGTERM came while files were being parsed: a file that never ends must not hold up the stop."""


def run_processor(
    settings: Settings, *, ready: Callable[[dict[str, Any]], None] | None = None, talk: Talk | None = None
) -> None:
    """Run the processor until SIGTERM or SIGINT."""
    keep_private()
    private_files()
    if settings["agent.run_as"]:
        find_user(settings["agent.run_as"])
    database = open_database(settings.database_url, busy_timeout_s=settings["database.busy_timeout_s"])
    check_schema(database)
    lock = take_lock(settings.run_folder)
    settings.dags_folder.mkdir(parents=True, exist_ok=True)
    inherit_orphans()
    processor = Processor(settings, database, talk or Talk(None))
    stop_read = _watch_signals(processor)
    try:
        processor.load()
        pause = _first_poll(processor, ready)
        while not select.select([stop_read], [], [], pause)[0]:
            pause = _poll(processor)
    except Stopped:
        LOG.info("stopped while parsing")
    finally:
        processor.close()
        end_children()
        remove_metrics(settings.run_folder, "processor")
        database.close()
        os.close(lock)


def _watch_signals(processor: Processor) -> int:
    """A descriptor that is readable when a stop was asked for; a sweep that parses is left at once."""
    stop_read, stop_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def stop(*_: object) -> None:
        os.write(stop_write, b".")
        if processor.is_parsing:
            raise Stopped(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, stop)
    return stop_read


def _first_poll(processor: Processor, ready: Callable[[dict[str, Any]], None] | None) -> float:
    """The first sweep. It is ready when that is done, or when it takes longer: a file that hangs holds up nobody."""
    started = time.monotonic()
    told = threading.Lock()

    def tell() -> None:
        if ready is not None and told.acquire(blocking=False):
            ready(processor.summary(time.monotonic() - started))

    timer = threading.Timer(READY_S, tell)
    timer.daemon = True
    timer.start()
    pause = _poll(processor)
    timer.cancel()
    tell()
    return pause


def _poll(processor: Processor) -> float:
    """One sweep; a database that is away is waited for."""
    try:
        return processor.poll()
    except (DBAPIError, Unreachable) as error:
        LOG.warning("the sweep waits for the database: %s", error)
        return 1.0
