"""Customers of a web shop, part 2 of 5: events become sessions. shop_events.py has the picture.

A session is what one customer does without a pause of half an hour.
"""

from __future__ import annotations

from datetime import timedelta

from demo_store import transaction

from dagd import Asset, dag, task

SHOP = "shop.db"

CREATE_EVENTS = "CREATE TABLE IF NOT EXISTS events (day TEXT, at TEXT, customer INTEGER, kind TEXT, amount REAL)"
CREATE_SESSIONS = """
    CREATE TABLE IF NOT EXISTS sessions (
        customer INTEGER, number INTEGER, day TEXT, started_at TEXT, ended_at TEXT, views INTEGER, revenue REAL,
        PRIMARY KEY (customer, number))"""
FILL_SESSIONS = """
    INSERT INTO sessions
    WITH marked AS (
        SELECT *, coalesce(second - lag(second) OVER (PARTITION BY customer ORDER BY at) > 1800, 1) AS is_first
        FROM (SELECT *, CAST(strftime('%s', at) AS INTEGER) AS second FROM events)),
    numbered AS (SELECT *, sum(is_first) OVER (PARTITION BY customer ORDER BY at) AS number FROM marked)
    SELECT customer, number, date(min(at)), min(at), max(at), sum(kind = 'view'), coalesce(sum(amount), 0)
    FROM numbered GROUP BY customer, number"""


@dag(
    schedule=[Asset("shop.events")],
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "shop"],
)
def shop_sessions():
    """Cut the events into sessions."""

    @task(outlets=[Asset("shop.sessions", owner="team:shop", kind="table")])
    def cut_sessions() -> int:
        """All sessions anew, in one transaction. They depend on the events alone: a second try is harmless."""
        with transaction(SHOP) as db:
            db.execute(CREATE_EVENTS)  # a shop without events has no sessions, and that is no error
            db.execute(CREATE_SESSIONS)
            db.execute("DELETE FROM sessions")
            return db.execute(FILL_SESSIONS).rowcount

    @task
    def check_revenue(sessions: int) -> None:
        """No order is lost or counted twice. A failed check fails the run."""
        with transaction(SHOP) as db:
            (before,) = db.execute("SELECT coalesce(sum(amount), 0) FROM events").fetchone()
            (after,) = db.execute("SELECT coalesce(sum(revenue), 0) FROM sessions").fetchone()
        if abs(before - after) > 0.005:
            raise ValueError(f"the events have a revenue of {before:.2f}, the sessions of {after:.2f}")
        print(f"{sessions} sessions, revenue {after:.2f}")

    check_revenue(cut_sessions())


shop_sessions()
