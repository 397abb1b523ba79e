"""A small warehouse, part 2 of 3: staging, dimensions, facts, and checks that hold back what is wrong.

It has no clock. It runs when flights_ingest says that `flights.raw` has changed, and tells flights_report the same of
`flights.fact`, but only after every check has passed. A check that finds something fails the run; the days that it was
about do not count as loaded, and the next run takes them up again.

    dagd why flights_warehouse                 # what it waits for
    dagd runs list flights_warehouse -o json   # `events` names the events that a run was started by
"""

from __future__ import annotations

from datetime import timedelta

from demo_store import transaction

from dagd import DAG, Asset, FailTask, TaskGroup, task

WAREHOUSE = "warehouse.db"
RAW = Asset("flights.raw")
FACT = Asset("flights.fact", owner="team:warehouse", kind="table")

TABLES = [
    # What is in raw_flights, with types; unknown is NULL.
    """CREATE TABLE IF NOT EXISTS stg_flights (
        day TEXT, batch TEXT, departs_at TEXT, carrier TEXT, flight INTEGER, tailnum TEXT, origin TEXT, dest TEXT,
        miles INTEGER, dep_delay INTEGER, arr_delay INTEGER, is_cancelled INTEGER)""",
    "CREATE TABLE IF NOT EXISTS dim_airline (carrier TEXT PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dim_date (day TEXT PRIMARY KEY, weekday INTEGER NOT NULL, is_weekend INTEGER NOT NULL)",
    """CREATE TABLE IF NOT EXISTS dim_route (
        route_id INTEGER PRIMARY KEY, origin TEXT, dest TEXT, miles INTEGER, UNIQUE (origin, dest))""",
    """CREATE TABLE IF NOT EXISTS fact_flights (
        day TEXT, carrier TEXT, flight INTEGER, route_id INTEGER, departs_at TEXT, tailnum TEXT,
        dep_delay INTEGER, arr_delay INTEGER, is_cancelled INTEGER)""",
    # The delivery that each day's facts were made of: a day with another one has changed.
    "CREATE TABLE IF NOT EXISTS loaded (day TEXT PRIMARY KEY, batch TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS check_result (name TEXT PRIMARY KEY, offences INTEGER NOT NULL, run_id TEXT NOT NULL)",
]

# Each counts offences; 0 is good.
CHECKS = {
    "no_flight_is_lost": """SELECT abs((SELECT count(*) FROM fact_flights)
        - (SELECT count(*) FROM stg_flights WHERE day IN (SELECT day FROM fact_flights)))""",
    "no_flight_is_twice_there": """SELECT count(*) FROM
        (SELECT 1 FROM fact_flights GROUP BY day, carrier, flight, route_id, departs_at HAVING count(*) > 1)""",
    "airlines_are_known": "SELECT count(*) FROM fact_flights WHERE carrier NOT IN (SELECT carrier FROM dim_airline)",
    "routes_are_known": "SELECT count(*) FROM fact_flights WHERE route_id IS NULL",
    "delays_are_believable": "SELECT count(*) FROM fact_flights WHERE dep_delay NOT BETWEEN -60 AND 1500",
    "cancelled_flights_have_no_delay": "SELECT count(*) FROM fact_flights WHERE is_cancelled AND dep_delay IS NOT NULL",
}


def run_sql(*statements: str, days: list[str] | None = None) -> None:
    """Several statements in one transaction; with `days`, each of them once for every day."""
    with transaction(WAREHOUSE) as db:
        for statement in statements:
            for values in [()] if days is None else [(day,) for day in days]:
                db.execute(statement, values)


with DAG(
    "flights_warehouse",
    schedule=[RAW],
    max_active_runs=1,  # events that come during a run wait, and one next run takes them all
    default_args={"retries": 2, "retry_delay": timedelta(seconds=5)},
    dagrun_timeout=timedelta(minutes=10),
    tags=["example", "flights"],
) as dag:

    @task.short_circuit
    def find_changed_days() -> list[str]:
        """Days that were delivered, or delivered anew, since their facts were made. With none, nothing below runs."""
        run_sql(*TABLES)
        with transaction(WAREHOUSE) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'raw_flights'").fetchone():
                print("nothing has arrived yet: flights_ingest lands it")
                return []
            changed = db.execute("SELECT DISTINCT day FROM raw_flights WHERE (day, batch) NOT IN loaded ORDER BY day")
            return [day for (day,) in changed]

    @task
    def stage_flights(days: list[str]) -> None:
        run_sql(
            "DELETE FROM loaded WHERE day = ?",  # not loaded again before the checks have passed
            "DELETE FROM stg_flights WHERE day = ?",
            """INSERT INTO stg_flights
                SELECT day, batch, printf('%02d:%02d', sched_dep_time / 100, sched_dep_time % 100), carrier,
                CAST(flight AS INTEGER), nullif(tailnum, 'NA'), origin, dest, CAST(distance AS INTEGER),
                CAST(nullif(dep_delay, 'NA') AS INTEGER), CAST(nullif(arr_delay, 'NA') AS INTEGER), dep_time = 'NA'
                FROM raw_flights WHERE day = ?""",
            days=days,
        )

    @task
    def dim_airline() -> None:
        run_sql("INSERT OR REPLACE INTO dim_airline SELECT carrier, name FROM raw_airlines")

    @task
    def dim_date() -> None:
        run_sql(
            """INSERT OR REPLACE INTO dim_date SELECT DISTINCT day, CAST(strftime('%w', day) AS INTEGER),
                strftime('%w', day) IN ('0', '6') FROM stg_flights"""
        )

    @task
    def dim_route() -> None:
        """A route that is known keeps its number."""
        run_sql("INSERT OR IGNORE INTO dim_route (origin, dest, miles) SELECT origin, dest, miles FROM stg_flights")

    @task
    def fact_flights(days: list[str]) -> None:
        run_sql(
            "DELETE FROM fact_flights WHERE day = ?",
            """INSERT INTO fact_flights
                SELECT day, carrier, flight, route_id, departs_at, tailnum, dep_delay, arr_delay, is_cancelled
                FROM stg_flights LEFT JOIN dim_route USING (origin, dest) WHERE day = ?""",
            days=days,
        )

    @task(retries=0)
    def check(name: str, query: str, run_id: str) -> int:
        """Note the count, then fail if it is not 0. FailTask is final: looking again would find the same."""
        with transaction(WAREHOUSE) as db:
            (offences,) = db.execute(query).fetchone()
            db.execute("INSERT OR REPLACE INTO check_result VALUES (?, ?, ?)", (name, offences, run_id))
        if offences:
            raise FailTask(f"{name}: {offences} offences in {WAREHOUSE}")
        return offences

    @task(trigger_rule="all_done")
    def show_checks() -> None:
        """Runs whatever became of the checks, and prints them all. The default, all_success, would not."""
        with transaction(WAREHOUSE) as db:
            for name, offences in db.execute("SELECT name, offences FROM check_result ORDER BY name"):
                print(f"{'ok' if not offences else 'BAD':4}{name}: {offences}")

    @task(outlets=[FACT])
    def publish(days: list[str]) -> None:
        """Mark the days as loaded; with the task's success the event for `flights.fact` goes out."""
        run_sql("INSERT OR REPLACE INTO loaded SELECT DISTINCT day, batch FROM stg_flights WHERE day = ?", days=days)

    days = find_changed_days()
    staged, facts = stage_flights(days), fact_flights(days)
    with TaskGroup("dimensions") as dimensions:  # a group is a prefix for its tasks, and one end of a `>>`
        dim_airline(), dim_date(), dim_route()
    with TaskGroup("checks") as checks:
        for name, query in CHECKS.items():
            check.override(task_id=name)(name, query)
    staged >> dimensions >> facts >> checks >> [show_checks(), publish(days)]
