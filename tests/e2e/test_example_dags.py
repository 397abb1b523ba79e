"""Each example in dags/ runs with `dagd dags test`, alone and after the ones before it, and makes what it promises."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
DAGS = CHECKOUT / "dags"
EXAMPLES = sorted(path.stem for path in DAGS.glob("*.py") if path.stem != "demo_store")
SHOP_CHAIN = ["shop_events", "shop_sessions", "shop_features", "shop_ltv", "shop_mart"]
NETWORK = {
    "asyncio",
    "ftplib",
    "http",
    "imaplib",
    "poplib",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib",
    "xmlrpc",
}

Run = dict[str, Any]


class Example:
    """Runs examples the way a reader does, in a demo folder and a home of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.demo = folder / "demo"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGD_")}
        self.env = {**kept, "DAGD_HOME": str(folder / "home"), "DEMO_FOLDER": str(self.demo)}

    def test(self, name: str, *more: str, exit_code: int = 0) -> Run:
        """`dagd dags test` of one file: its JSON, after a look at the exit code."""
        command = [sys.executable, "-m", "dagd", "dags", "test", f"dags/{name}.py", "-o", "json", *more]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == exit_code, f"{name} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
        run: Run = json.loads(done.stdout)
        return run

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What a query finds in one of the demo's SQLite files."""
        connection = sqlite3.connect(self.demo / database)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def change(self, database: str, statement: str) -> None:
        """One statement, committed."""
        connection = sqlite3.connect(self.demo / database)
        try:
            connection.execute(statement)
            connection.commit()
        finally:
            connection.close()


@pytest.fixture
def example(tmp_path: Path) -> Example:
    return Example(tmp_path)


def states(run: Run) -> dict[str, str]:
    """State by task_id, for tasks that are not mapped."""
    return {one["task_id"]: one["state"] for one in run["tasks"] if one["map_index"] == -1}


def flights_in_the_file() -> Counter[tuple[str, bool]]:
    """(day, was cancelled) -> flights, counted from the shipped file."""
    with open(DAGS / "data" / "flights.csv", encoding="utf-8", newline="") as file:
        return Counter(
            (f"{one['year']}-{one['month']:0>2}-{one['day']:0>2}", one["dep_time"] == "NA")
            for one in csv.DictReader(file)
        )


# --- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_succeeds_alone_on_a_fresh_checkout(example: Example, name: str):
    run = example.test(name)

    assert (run["dag_id"], run["state"]) == (name, "success")
    assert {one["state"] for one in run["tasks"]} <= {"success", "skipped"}


@pytest.mark.parametrize("name", [*EXAMPLES, "demo_store"])
def test_an_example_is_short_and_needs_the_standard_library_and_dagd_alone(name: str):
    text = (DAGS / f"{name}.py").read_text("utf-8")
    imported = {
        module.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }

    assert imported <= (sys.stdlib_module_names - NETWORK) | {"dagd", "dagd_operators", "demo_store"}
    assert len(text.splitlines()) < 150


def test_the_shipped_records_are_those_that_their_readme_describes():
    said = (DAGS / "data" / "README.md").read_text("utf-8")

    for name in ("flights.csv", "airlines.csv"):
        assert f"`{name}` | `{hashlib.sha256((DAGS / 'data' / name).read_bytes()).hexdigest()}`" in said


# --- the warehouse ---------------------------------------------------------------------------------------------------


def test_the_warehouse_and_its_report_hold_the_flights_of_the_file(example: Example):
    counted = flights_in_the_file()
    for _ in range(2):  # four days, then the first stormy one
        for name in ("flights_ingest", "flights_warehouse", "flights_report"):
            run = example.test(name)

    days = [f"2013-02-0{day}" for day in range(4, 9)]
    facts = example.rows(
        "warehouse.db", "SELECT day, count(*), sum(is_cancelled) FROM fact_flights GROUP BY day ORDER BY day"
    )
    assert facts == [(day, counted[day, False] + counted[day, True], counted[day, True]) for day in days]
    assert example.rows("warehouse.db", "SELECT day FROM loaded ORDER BY day") == [(day,) for day in days]
    assert example.rows("warehouse.db", "SELECT count(*) FROM dim_airline") == [(16,)]
    assert example.rows("warehouse.db", "SELECT count(*), sum(offences) FROM check_result") == [(6, 0)]
    assert (states(run)["storm_headline"], states(run)["calm_headline"]) == ("success", "skipped")
    report = (example.demo / "reports" / "flights-latest.md").read_text("utf-8")
    assert f"**Storm.** {counted['2013-02-08', True]} of 930 flights" in report
    assert "JetBlue Airways" in (example.demo / "reports" / "flights-2013-02-04.md").read_text("utf-8")


def test_a_warehouse_that_is_up_to_date_is_left_alone(example: Example):
    example.test("flights_ingest")
    example.test("flights_warehouse")
    query = "SELECT * FROM fact_flights ORDER BY day, carrier, flight, route_id"
    facts = example.rows("warehouse.db", query)

    again = example.test("flights_warehouse")

    assert (states(again)["find_changed_days"], states(again)["publish"]) == ("success", "skipped")
    assert example.rows("warehouse.db", query) == facts


def test_a_bad_record_fails_the_run_and_is_not_published_until_it_is_corrected(example: Example):
    example.test("flights_ingest")
    example.change("warehouse.db", "UPDATE raw_flights SET carrier = '??' WHERE rowid = 1")

    run = example.test("flights_warehouse", exit_code=1)

    assert run["state"] == "failed"
    ended = states(run)
    assert (ended["checks.airlines_are_known"], ended["checks.routes_are_known"]) == ("failed", "success")
    assert (ended["publish"], ended["show_checks"]) == ("upstream_failed", "success")
    assert example.rows("warehouse.db", "SELECT * FROM loaded") == []

    example.test("flights_ingest", "-c", '{"day": "2013-02-04"}')
    assert states(example.test("flights_warehouse"))["publish"] == "success"
    assert example.rows("warehouse.db", "SELECT count(*) FROM loaded") == [(4,)]


def test_flights_arrive_until_the_file_is_used_up(example: Example):
    for _ in range(4):
        example.test("flights_ingest")
    assert example.rows("warehouse.db", "SELECT count(*) FROM raw_flights") == [(flights_in_the_file().total(),)]

    assert states(example.test("flights_ingest"))["announce"] == "skipped"


# --- the shop --------------------------------------------------------------------------------------------------------


def test_the_shop_chain_ends_in_a_mart_and_a_model_that_agree_with_the_events(example: Example):
    for name in SHOP_CHAIN:
        assert "skipped" not in states(example.test(name)).values()

    revenue = "SELECT count(*), round(sum({}), 2) FROM {}"
    orders, spent = example.rows("shop.db", revenue.format("amount", "events WHERE kind = 'order'"))[0]
    assert orders > 100
    assert example.rows("shop.db", revenue.format("revenue", "sessions WHERE revenue > 0")) == [(orders, spent)]
    assert example.rows("shop.db", "SELECT sum(orders), round(sum(revenue), 2) FROM daily_mart") == [(orders, spent)]
    assert example.rows("shop.db", "SELECT count(*) FROM ltv") == example.rows(
        "shop.db", "SELECT count(*) FROM customers"
    )
    assert {segment for (segment,) in example.rows("shop.db", "SELECT segment FROM ltv")} == {
        "valued",
        "casual",
        "asleep",
    }
    [(error, error_of_mean)] = example.rows("shop.db", "SELECT error, error_of_mean FROM ltv_model")
    assert 0 < error < error_of_mean
    assert "60 days open" in (example.demo / "reports" / "shop.txt").read_text("utf-8")


def test_the_shop_is_the_same_every_time(example: Example, tmp_path: Path):
    other = Example(tmp_path / "other")
    for one in (example, other):
        for name in ("shop_events", "shop_sessions"):
            one.test(name)
    query = "SELECT * FROM sessions ORDER BY customer, number"

    assert example.rows("shop.db", query) == other.rows("shop.db", query)


# --- the small ones --------------------------------------------------------------------------------------------------


def test_the_fan_out_makes_one_instance_per_airline(example: Example):
    run = example.test("fan_out")

    mapped = [one for one in run["tasks"] if one["task_id"] == "summarise"]
    assert sorted(one["map_index"] for one in mapped) == list(range(16))


def test_the_flaky_command_succeeds_at_its_second_try(example: Example):
    run = example.test("shell_commands")

    assert {one["task_id"]: one["try"] for one in run["tasks"]} == {"busiest": 1, "flaky": 2, "tell": 1}


def test_the_delivered_file_is_read_and_removed(example: Example):
    run = example.test("wait_for_file")

    assert set(states(run).values()) == {"success"}
    assert list((example.demo / "inbox").iterdir()) == []
