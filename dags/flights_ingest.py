"""A small warehouse, part 1 of 3: flight records arrive.

    flights_ingest  ──flights.raw──▶  flights_warehouse  ──flights.fact──▶  flights_report
    every minute                      when records arrived                  when the facts changed

The records are real: every flight that left New York's three airports from 4 to 10 February 2013 (data/README.md).
The first run lands four ordinary days, each later run one more, until the file is used up. On the 8th a blizzard came.

    dagd runs list flights_ingest
    dagd trigger flights_ingest -p day=2013-02-08 --wait      # that day is delivered again, as a correction would be
"""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

from demo_store import DATA, transaction

from dagd import Asset, Param, dag, task

WAREHOUSE = "warehouse.db"
DAYS = [f"2013-02-{day:02}" for day in range(4, 11)]
FIRST_DELIVERY = 4  # days

# An asset is a name for data. A task that has it among its `outlets` says "I have changed it" when it succeeds; a DAG
# whose schedule names it runs then. Equal names mean the same asset, whatever file they stand in.
RAW = Asset("flights.raw", owner="team:ingest", kind="table")

# Raw tables hold what came, unchanged and as text; "NA" stands for unknown. `batch` is the run that landed the row.
CREATE_FLIGHTS = """
    CREATE TABLE IF NOT EXISTS raw_flights (
        day TEXT, batch TEXT, sched_dep_time TEXT, dep_time TEXT, dep_delay TEXT, arr_delay TEXT,
        carrier TEXT, flight TEXT, tailnum TEXT, origin TEXT, dest TEXT, distance TEXT)"""
CREATE_AIRLINES = "CREATE TABLE IF NOT EXISTS raw_airlines (carrier TEXT, name TEXT)"


@dag(
    schedule="* * * * *",
    max_active_runs=1,  # one delivery after the other
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    # What a run may be given: checked against the schema before the run exists.
    params={"day": Param(None, type=["null", "string"], enum=[None, *DAYS], description="Land this day again")},
    tags=["example", "flights"],
)
def flights_ingest():
    """Land flight records in the warehouse's raw tables."""

    @task.short_circuit
    def choose_days(params: dict[str, Any]) -> list[str]:
        """The days to land now. An empty list short-circuits the run: what is below is skipped, nothing is announced.

        `params` is filled in by dagd because of its name, like `run_id` below.
        """
        if params["day"]:
            return [params["day"]]
        with transaction(WAREHOUSE) as db:
            db.execute(CREATE_FLIGHTS)
            landed = {day for (day,) in db.execute("SELECT DISTINCT day FROM raw_flights")}
        missing = [day for day in DAYS if day not in landed]
        print(f"{len(landed)} days are there, {len(missing)} to come")
        return missing[: 1 if landed else FIRST_DELIVERY]

    @task
    def land_flights(days: list[str], run_id: str) -> int:
        """Replace these days in raw_flights, all or none: a second try ends with the same rows."""
        rows = []
        with open(DATA / "flights.csv", encoding="utf-8", newline="") as file:
            for year, month, date, *values in csv.reader(file):  # the columns of raw_flights, in its order
                day = f"{year}-{month:0>2}-{date:0>2}"
                if day in days:
                    rows.append([day, run_id, *values])
        with transaction(WAREHOUSE) as db:
            db.execute(CREATE_FLIGHTS)
            db.executemany("DELETE FROM raw_flights WHERE day = ?", [(day,) for day in days])
            db.executemany("INSERT INTO raw_flights VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return len(rows)

    @task
    def land_airlines() -> int:
        """Replace the names of the airlines."""
        with open(DATA / "airlines.csv", encoding="utf-8", newline="") as file:
            rows = [(record["carrier"], record["name"]) for record in csv.DictReader(file)]
        with transaction(WAREHOUSE) as db:
            db.execute(CREATE_AIRLINES)
            db.execute("DELETE FROM raw_airlines")
            db.executemany("INSERT INTO raw_airlines VALUES (?, ?)", rows)
        return len(rows)

    @task(outlets=[RAW])
    def announce(days: list[str], flights: int, airlines: int) -> None:
        """The only task with an outlet: flights_warehouse starts when both tables are complete, not before."""
        print(f"landed {flights} flights of {', '.join(days)}, and the names of {airlines} airlines")

    days = choose_days()
    flights, airlines = land_flights(days), land_airlines()
    days >> airlines  # handing a value on makes a dependency by itself; where nothing is handed on, `>>` does
    announce(days, flights, airlines)


flights_ingest()
