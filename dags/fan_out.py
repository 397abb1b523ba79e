"""A fan-out: one task becomes as many instances as the list has items, known only when the run is under way.

    list_airlines ──▶ summarise [0] … [15] ──▶ rank

It runs once, as soon as dagd sees this file. To see it again: `dagd trigger fan_out --wait`

    dagd tasks list fan_out/latest/summarise --expand
    dagd logs fan_out/latest/summarise/3       # the instance with map index 3
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

from demo_store import DATA

from dagd import dag, task


@dag(schedule="@once", tags=["example"])
def fan_out():
    """Summarise each airline's flights in an instance of its own."""

    @task
    def list_airlines() -> list[str]:
        with open(DATA / "airlines.csv", encoding="utf-8", newline="") as file:
            return [record["carrier"] for record in csv.DictReader(file)]

    # At most four at a time in one run: the others wait without holding anything.
    @task(max_active_tis_per_dagrun=4)
    def summarise(carrier: str, limit: int) -> dict[str, Any]:
        with open(DATA / "flights.csv", encoding="utf-8", newline="") as file:
            delays = [record["dep_delay"] for record in csv.DictReader(file) if record["carrier"] == carrier]
        late = sum(delay != "NA" and int(delay) > limit for delay in delays)
        print(f"{carrier}: {len(delays)} flights, {late} more than {limit} minutes late")
        return {"carrier": carrier, "flights": len(delays), "late": late}

    @task
    def rank(summaries: Sequence[dict[str, Any]]) -> list[str]:
        """`summaries` holds the results in the order of the list; each is read when it is needed."""
        print(f"{len(summaries)} airlines")
        flown = [one for one in summaries if one["flights"]]
        flown.sort(key=lambda one: one["late"] / one["flights"])
        for place, one in enumerate(flown, start=1):
            print(f"{place:2}. {one['carrier']}  {one['late'] / one['flights']:6.1%} late")
        return [one["carrier"] for one in flown]

    # partial: what all instances share. expand: what differs; a list, or what a task will return.
    rank(summarise.partial(limit=15).expand(carrier=list_airlines()))


fan_out()
