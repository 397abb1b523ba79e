"""Periodic chores of a scheduler process, in a thread of APScheduler's: idempotent, never DAG schedules."""

from __future__ import annotations

import logging
import shutil

from apscheduler.schedulers.background import BackgroundScheduler

from dagd.engine.notifier import Notifier
from dagd.model.errors import Unreachable
from dagd.model.settings import Settings
from dagd.observe.metrics import SchedulerMetrics, remove_metrics, write_metrics
from dagd.store import dialects, requests, upkeep
from dagd.store.database import Connection, Database, DBAPIError

LOG = logging.getLogger("dagd.chores")
DAY_US = 86_400_000_000
NOTIFY_S, RETENTION_S, METRICS_S = 5, 3600, 5


class Chores:
    """The outbox and the metrics each few seconds, retention each hour."""

    def __init__(self, settings: Settings, database: Database, metrics: SchedulerMetrics | None = None) -> None:
        self._settings, self._database = settings, database
        self._metrics = metrics or SchedulerMetrics()
        self._notifier = Notifier(settings, database)
        self._scheduler = BackgroundScheduler(
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}, timezone="UTC"
        )

    def start(self) -> None:
        """Begin the chores."""
        self._scheduler.add_job(self._notify, "interval", seconds=NOTIFY_S)
        self._scheduler.add_job(self.flush_metrics, "interval", seconds=METRICS_S)
        self.flush_metrics()
        if self._settings["retention.days"]:
            self._scheduler.add_job(self._forget_old_runs, "interval", seconds=RETENTION_S)
        self._scheduler.start()

    def stop(self) -> None:
        """End them after the one that runs."""
        self._scheduler.shutdown(wait=False)
        remove_metrics(self._settings.run_folder, "scheduler")

    def flush_metrics(self) -> None:
        """Leave the scheduler's numbers for `dagd metrics`."""
        self._metrics.statements = self._database.statements
        try:
            write_metrics(self._settings.run_folder, "scheduler", self._metrics)
        except (OSError, RuntimeError) as error:  # the disk is full, or a table grew while it was written down
            LOG.warning("the metrics are not written: %s", error)

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
