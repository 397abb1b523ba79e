"""Periodic chores of a scheduler process, in a thread of APScheduler's: idempotent, never DAG schedules."""

from __future__ import annotations

import logging

from apscheduler.schedulers.background import BackgroundScheduler

from dagd.engine.notifier import Notifier
from dagd.model.errors import Unreachable
from dagd.model.settings import Settings
from dagd.store.database import Database, DBAPIError

LOG = logging.getLogger("dagd.chores")


class Chores:
    """Retention, log pruning, the outbox."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._notifier = Notifier(settings, database)
        self._scheduler = BackgroundScheduler(
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}, timezone="UTC"
        )

    def start(self) -> None:
        """Begin the chores."""
        self._scheduler.add_job(self._notify, "interval", seconds=5)
        self._scheduler.start()

    def _notify(self) -> None:
        try:
            self._notifier.poll()
        except (DBAPIError, Unreachable) as error:
            LOG.warning("the outbox waits for the database: %s", error)

    def stop(self) -> None:
        """End them after the one that runs."""
        self._scheduler.shutdown(wait=False)
