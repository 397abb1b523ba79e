"""Customers of a web shop, part 4 of 5: a model of what each customer will spend. shop_events.py has the picture.

The model is a straight line: spending in thirty days over spending per day before. It is learnt on the past, where the
answer is known, must do better there than guessing the mean, and is then asked about the thirty days to come.
"""

from __future__ import annotations

from datetime import timedelta
from statistics import fmean, linear_regression
from typing import Any

from demo_store import transaction

from dagd import Asset, FailTask, SkipTask, dag, task

SHOP = "shop.db"
ENOUGH = 20  # customers

CREATE_LTV = "CREATE TABLE IF NOT EXISTS ltv (customer INTEGER PRIMARY KEY, spent REAL, next_30 REAL, segment TEXT)"
CREATE_MODEL = """
    CREATE TABLE IF NOT EXISTS ltv_model (
        last_day TEXT PRIMARY KEY, slope REAL, intercept REAL, error REAL, error_of_mean REAL)"""


@dag(
    schedule=[Asset("shop.customers")],
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "shop"],
)
def shop_ltv():
    """Learn, judge, predict."""

    @task
    def read_customers() -> list[dict[str, Any]]:
        """What the model sees. Raising SkipTask ends a task as skipped, and by their rule those below it too."""
        with transaction(SHOP) as db:
            known = db.execute("SELECT name FROM sqlite_master WHERE name = 'customers'").fetchall()
            found = db.execute("SELECT * FROM customers") if known else None
            names = [column[0] for column in found.description] if found else []
            customers = [dict(zip(names, row, strict=True)) for row in found or ()]
        if len(customers) < ENOUGH or not customers[0]["days_before"]:
            raise SkipTask(f"{len(customers)} customers are too few to learn from")
        return customers

    @task
    def learn(customers: list[dict[str, Any]]) -> dict[str, float]:
        """A dict, so each of its keys is a value that others can take: `model["slope"]` below."""
        before = [one["spent_before"] / one["days_before"] for one in customers]
        after = [one["spent_last_30"] for one in customers]
        slope, intercept = linear_regression(before, after)
        mean = fmean(after)
        return {
            "slope": slope,
            "intercept": intercept,
            "error": fmean((y - slope * x - intercept) ** 2 for x, y in zip(before, after, strict=True)) ** 0.5,
            "error_of_mean": fmean((y - mean) ** 2 for y in after) ** 0.5,
        }

    @task(retries=0)
    def judge(error: float, error_of_mean: float) -> None:
        """A model that knows nothing must not be used."""
        print(f"error {error:.2f}, of the mean {error_of_mean:.2f}")
        if error > 0.98 * error_of_mean:
            raise FailTask(f"the model's error {error:.2f} is hardly below that of the mean, {error_of_mean:.2f}")

    @task(outlets=[Asset("shop.ltv", owner="team:crm", kind="model")])
    def predict(customers: list[dict[str, Any]], model: dict[str, float]) -> int:
        """What each customer will spend in the next thirty days, and whom to care for."""
        rows = []
        for one in customers:
            spent, days = one["spent_before"] + one["spent_last_30"], one["days_before"] + 30
            is_asleep = one["days_since_last"] > 30  # the line knows nothing of those who went elsewhere
            expected = 0.0 if is_asleep else max(0.0, model["slope"] * spent / days + model["intercept"])
            segment = "asleep" if is_asleep else "valued" if expected > 30 else "casual"
            rows.append((one["customer"], round(spent, 2), round(expected, 2), segment))
        with transaction(SHOP) as db:
            db.execute(CREATE_LTV)
            db.execute(CREATE_MODEL)
            db.execute("DELETE FROM ltv")
            db.executemany("INSERT INTO ltv VALUES (?, ?, ?, ?)", rows)
            db.execute(
                "INSERT OR REPLACE INTO ltv_model VALUES (:last_day, :slope, :intercept, :error, :error_of_mean)",
                {"last_day": customers[0]["last_day"], **model},
            )
        return len(rows)

    customers = read_customers()
    model = learn(customers)
    judge(model["error"], model["error_of_mean"]) >> predict(customers, model)


shop_ltv()
