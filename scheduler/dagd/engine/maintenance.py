"""Periodic chores of a scheduler process, in a thread of APScheduler's: idempotent, never DAG schedules."""

from __future__ import annotations

import logging
import shutil

from apscheduler.schedulers.background import BackgroundScheduler

from dagd.engine.notifier import Notifier
from dagd.model.errors import Unreachable
from dagd.model.settings import Settings
from dagd.store import dialects, requests, upkeep
from dagd.store.database import Connection, Database, DBAPIError

LOG = logging.getLogger("dagd.chores")
DAY_US = 86_400_000_000
NOTIFY_S, RETENTION_S = 5, 3600


class Chores:
    """The outbox each few seconds, retention each hour."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._notifier = Notifier(settings, database)
        self._scheduler = BackgroundScheduler(
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}, timezone="UTC"
        )

    def start(self) -> None:
        """Begin the chores."""
        self._scheduler.add_job(self._notify, "interval", seconds=NOTIFY_S)
        if self._settings["retention.days"]:
            self._scheduler.add_job(self._forget_old_runs, "interval", seconds=RETENTION_S)
        self._scheduler.start()

    def stop(self) -> None:
        """End them after the one that runs."""
        self._scheduler.shutdown(wait=False)

    def _notify(self) -> None:
        try:
            self._notifier.poll()
        except (DBAPIError, Unreachable) as error:
            LOG.warning("the outbox waits for the database: %s", error)

    def _forget_old_runs(self) -> None:
        try:
            LOG.info("retention deleted %s runs", self.forget_old_runs())
        except (DBAPIError, Unreachable) as error:
            LOG.warning("retention waits for the database: %s", error)

    def forget_old_runs(self) -> int:
        """Delete runs that ended more than `retention.days` ago, with their logs; returns how many."""
        days = self._settings["retention.days"]
        with self._database.read() as connection:
            runs = upkeep.old_runs(connection, dialects.clock(connection) - days * DAY_US)
            folders = upkeep.log_folders(connection, runs)

        def tell(connection: Connection) -> None:
            requests.write_audit(connection, "dagd", "retention", f"runs older than {days} days", str(len(runs)))

        deleted = upkeep.delete_runs(self._database, runs, tell) if runs else 0
        for folder in folders:
            shutil.rmtree(self._settings.log_folder / folder, ignore_errors=True)
        return deleted
