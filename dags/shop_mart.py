"""Customers of a web shop, part 5 of 5: one row per day, for reports. shop_events.py has the picture.

It runs when *both* assets have changed since its last run: `[a, b]` means all of them, `a | b` would mean any of them.
"""

from __future__ import annotations

from datetime import timedelta

from demo_store import transaction, write_text

from dagd import Asset, dag, task

SHOP = "shop.db"

CREATE = [
    """CREATE TABLE IF NOT EXISTS sessions (
        customer INTEGER, number INTEGER, day TEXT, started_at TEXT, ended_at TEXT, views INTEGER, revenue REAL,
        PRIMARY KEY (customer, number))""",
    "CREATE TABLE IF NOT EXISTS ltv (customer INTEGER PRIMARY KEY, spent REAL, next_30 REAL, segment TEXT)",
    """CREATE TABLE IF NOT EXISTS daily_mart (
        day TEXT PRIMARY KEY, visitors INTEGER, sessions INTEGER, orders INTEGER, revenue REAL, valued INTEGER)""",
]
# `valued`: how many of the day's visitors the model calls valued.
FILL = """
    INSERT INTO daily_mart
    SELECT day, count(DISTINCT customer), count(*), sum(revenue > 0), round(sum(revenue), 2),
        count(DISTINCT CASE WHEN segment = 'valued' THEN customer END)
    FROM sessions LEFT JOIN ltv USING (customer) GROUP BY day"""
WEEK = "SELECT day, visitors, orders, revenue FROM daily_mart ORDER BY day DESC LIMIT 7"
SEGMENTS = "SELECT segment, count(*), sum(next_30) FROM ltv GROUP BY segment ORDER BY sum(next_30) DESC"


@dag(
    schedule=[Asset("shop.sessions"), Asset("shop.ltv")],
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "shop"],
)
def shop_mart():
    """Fill the daily mart, and say in one file how the shop is doing."""

    @task(outlets=[Asset("shop.daily", owner="team:bi", kind="table")])
    def fill_mart() -> int:
        with transaction(SHOP) as db:
            for statement in CREATE:
                db.execute(statement)
            db.execute("DELETE FROM daily_mart")
            return db.execute(FILL).rowcount

    @task
    def write_summary(days: int) -> str:
        with transaction(SHOP) as db:
            week = db.execute(WEEK).fetchall()
            segments = db.execute(SEGMENTS).fetchall()
        lines = [f"The shop, {days} days open", "", "day          visitors  orders  revenue"]
        lines += [f"{day}   {visitors:8}  {orders:6}  {revenue:7.2f}" for day, visitors, orders, revenue in week]
        lines += ["", "customers            in 30 days"]
        lines += [f"{segment:10}  {count:7}  {expected:10.2f}" for segment, count, expected in segments]
        path = write_text("reports/shop.txt", "\n".join(lines) + "\n")
        print(path.read_text(encoding="utf-8"))
        return str(path)

    write_summary(fill_mart())


shop_mart()
