"""A small warehouse, part 3 of 3: a daily report, as a Markdown file, and a branch.

It runs when `flights.fact` has changed. It writes var/demo/reports/flights-DAY.md for each day of the warehouse, and
flights-latest.md with a headline. A latest day with many cancelled flights takes another way through the DAG than a
calm one.

    cat var/demo/reports/flights-latest.md
    dagd runs show flights_report/latest       # one headline ran, the other was skipped
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from demo_store import transaction, write_text

from dagd import Asset, dag, task

WAREHOUSE = "warehouse.db"
STORMY = 20  # per cent of a day's flights cancelled

DAYS = """
    SELECT day, count(*), sum(is_cancelled), round(100.0 * sum(is_cancelled) / count(*), 1), round(avg(dep_delay), 1)
    FROM fact_flights WHERE day IN (SELECT day FROM loaded) GROUP BY day ORDER BY day"""
AIRLINES = """
    SELECT name, count(*) AS flights, sum(is_cancelled) AS cancelled, round(avg(dep_delay), 1) AS delay
    FROM fact_flights JOIN dim_airline USING (carrier) WHERE day = ? GROUP BY name ORDER BY flights DESC, name"""
ROUTES = """
    SELECT origin || ' → ' || dest AS route, count(*) AS flights, max(arr_delay) AS worst
    FROM fact_flights JOIN dim_route USING (route_id) WHERE day = ? GROUP BY route ORDER BY worst DESC, route LIMIT 5"""


def table(heads: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Rows as a Markdown table."""
    lines = [heads, ["---"] * len(heads), *(["–" if cell is None else str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dag(
    schedule=[Asset("flights.fact")],
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    tags=["example", "flights"],
)
def flights_report():
    """Write the daily report."""

    @task.short_circuit
    def summarise() -> list[list[Any]]:
        """One row per day: day, flights, cancelled, per cent, mean delay in minutes. With none, nothing below runs."""
        with transaction(WAREHOUSE) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'loaded'").fetchone():
                print("no warehouse yet: flights_ingest and flights_warehouse fill it")
                return []
            return [list(row) for row in db.execute(DAYS)]

    @task.branch
    def look_outside(days: list[list[Any]]) -> str:
        """The id of the task to go on with. The other one is skipped."""
        return "storm_headline" if days[-1][3] >= STORMY else "calm_headline"

    @task
    def storm_headline(days: list[list[Any]]) -> str:
        day, flights, cancelled, percent, _ = days[-1]
        return f"**Storm.** {cancelled} of {flights} flights ({percent} %) of {day} were cancelled."

    @task
    def calm_headline(days: list[list[Any]]) -> str:
        day, flights, cancelled, _, delay = days[-1]
        return f"{day} was a calm day: {flights} flights, {cancelled} cancelled, {delay} minutes late on average."

    # By default one skipped upstream skips this task too; it shall run when one headline was written.
    # `sla`: it must have ended ten minutes after the run was created, else `dagd deadlines list` shows a miss.
    @task(
        trigger_rule="none_failed_min_one_success",
        sla=timedelta(minutes=10),
        outlets=[Asset("flights.report", kind="file")],
    )
    def write_report(days: list[list[Any]], storm: str | None, calm: str | None) -> str:
        """Every day's file anew: any may have been corrected. A skipped task has no value: one headline is None."""
        details = ""
        for day, *_ in days:
            with transaction(WAREHOUSE) as db:
                airlines, routes = db.execute(AIRLINES, (day,)).fetchall(), db.execute(ROUTES, (day,)).fetchall()
            details = "\n\n".join(
                [
                    f"## Airlines on {day}",
                    table(["airline", "flights", "cancelled", "mean delay, min"], airlines),
                    f"## Latest arrivals on {day}",
                    table(["route", "flights", "worst delay, min"], routes),
                    "Source: US Bureau of Transportation Statistics.\n",
                ]
            )
            write_text(f"reports/flights-{day}.md", f"# Flights from New York, {day}\n\n{details}")
        overview = table(["day", "flights", "cancelled", "%", "mean delay, min"], days)
        text = f"# Flights from New York\n\n{storm or calm}\n\n## Day by day\n\n{overview}\n\n{details}"
        path = write_text("reports/flights-latest.md", text)
        print(f"wrote {path}")
        return str(path)

    days = summarise()
    storm, calm = storm_headline(days), calm_headline(days)
    look_outside(days) >> [storm, calm]
    write_report(days, storm, calm)


flights_report()
