"""Customers of a web shop, part 3 of 5: what is known of each customer. shop_events.py has the picture."""

from __future__ import annotations

from datetime import timedelta

from demo_store import transaction

from dagd import Asset, dag, task

SHOP = "shop.db"

CREATE_SESSIONS = """
    CREATE TABLE IF NOT EXISTS sessions (
        customer INTEGER, number INTEGER, day TEXT, started_at TEXT, ended_at TEXT, views INTEGER, revenue REAL,
        PRIMARY KEY (customer, number))"""
# Spending is kept in two parts: shop_ltv learns from the earlier weeks what the last thirty days would bring.
CREATE_CUSTOMERS = """
    CREATE TABLE IF NOT EXISTS customers (
        customer INTEGER PRIMARY KEY, sessions INTEGER, orders INTEGER, days_since_last INTEGER,
        spent_before REAL, spent_last_30 REAL, days_before INTEGER, last_day TEXT)"""
FILL_CUSTOMERS = """
    INSERT INTO customers
    WITH span AS (
        SELECT min(day) AS first_day, max(day) AS last_day, date(max(day), '-29 days') AS recent FROM sessions)
    SELECT customer, count(*), sum(revenue > 0), julianday(last_day) - julianday(max(day)),
        sum(CASE WHEN day < recent THEN revenue ELSE 0 END), sum(CASE WHEN day >= recent THEN revenue ELSE 0 END),
        julianday(recent) - julianday(first_day), last_day
    FROM sessions, span GROUP BY customer"""


@dag(
    schedule=[Asset("shop.sessions")],
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "shop"],
)
def shop_features():
    """Describe each customer in one row."""

    @task(outlets=[Asset("shop.customers", owner="team:crm", kind="table")])
    def describe_customers() -> int:
        with transaction(SHOP) as db:
            db.execute(CREATE_SESSIONS)
            db.execute(CREATE_CUSTOMERS)
            db.execute("DELETE FROM customers")
            return db.execute(FILL_CUSTOMERS).rowcount

    describe_customers()


shop_features()
