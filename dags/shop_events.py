"""Customers of a web shop, part 1 of 5: raw events.

    shop_events ──shop.events──▶ shop_sessions ──shop.sessions──▶ shop_features ──shop.customers──▶ shop_ltv
                                       │                                                               │
                                       └──────────shop.sessions──▶  shop_mart  ◀──shop.ltv─────────────┘

Five DAGs, each started by the asset before it; only this one has a clock. The shop is invented, and always the same:
every day is made from a seed. The first run makes two months of history, each later run one more day, for an hour.

    dagd runs list          # after a minute there is one run of each
    dagd why shop_mart      # it waits for two assets
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from demo_store import transaction

from dagd import Asset, dag, task

SHOP = "shop.db"
OPENED = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY, LAST = 60, 90  # days
CUSTOMERS = 300

EVENTS = Asset("shop.events", owner="team:shop", kind="table")
CREATE = "CREATE TABLE IF NOT EXISTS events (day TEXT, at TEXT, customer INTEGER, kind TEXT, amount REAL)"

Event = tuple[str, str, int, str, float | None]


def events_of(number: int) -> list[Event]:
    """All events of the shop's day `number`, always the same ones for one number."""
    midnight = OPENED + timedelta(days=number)
    day = midnight.date().isoformat()
    chance = random.Random(f"day {number}")
    events: list[Event] = []
    for customer in range(CUSTOMERS):
        traits = random.Random(f"customer {customer}")
        often, basket = traits.gammavariate(1.5, 0.06), traits.lognormvariate(3, 0.5)  # visits per day, money per order
        stays = traits.expovariate(1 / 120)  # days until this customer goes elsewhere
        if number < stays and chance.random() < often:
            at = midnight + timedelta(minutes=chance.randrange(7 * 60, 16 * 60))
            for _ in range(chance.randint(1, 6)):
                events.append((day, at.isoformat(), customer, "view", None))
                at += timedelta(seconds=chance.choice([20, 90, 600, 3600]))
            if chance.random() < 0.5:
                amount = round(basket * chance.lognormvariate(0, 0.3), 2)
                events.append((day, at.isoformat(), customer, "order", amount))
    return events


@dag(
    schedule=timedelta(minutes=2),
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "shop"],
)
def shop_events():
    """Make the next day's events."""

    @task.short_circuit
    def choose_days() -> list[int]:
        """The numbers of the days to make: two months at first, then one, then none."""
        with transaction(SHOP) as db:
            db.execute(CREATE)
            (made,) = db.execute("SELECT count(DISTINCT day) FROM events").fetchone()
        return list(range(made, min(max(made + 1, HISTORY), LAST)))

    @task(outlets=[EVENTS])
    def write_events(numbers: list[int]) -> int:
        """Replace these days, all or none."""
        events = [event for number in numbers for event in events_of(number)]
        with transaction(SHOP) as db:
            db.executemany("DELETE FROM events WHERE day = ?", {(event[0],) for event in events})
            db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", events)
        print(f"{len(events)} events on {len(numbers)} days")
        return len(events)

    write_events(choose_days())


shop_events()
