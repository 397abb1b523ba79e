"""The page's sentences on a DAG's time, each with slots worked out by hand, through `dagd dags next FILE`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dagd.cli.main import cli

HEAD = """
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo
import pendulum
from dateutil.relativedelta import relativedelta
from dagd import DAG, Asset, Cron, CronDataInterval, Events, MultipleCron
from dagd_operators.empty import EmptyOperator

BERLIN = ZoneInfo("Europe/Berlin")
Y26 = dict(start_date=datetime(2026, 1, 1, tzinfo=UTC))
"""
NEW_YEAR, SPRING, AUTUMN = "2026-01-01T00:00Z", "2026-03-28T12:00Z", "2026-10-24T12:00Z"

# The DAG's arguments, the instant asked, and of each slot: due[/logical date]<start of the interval.
SLOTS: list[tuple[str, str, str]] = [
    # The logical date is when the slot falls due, the interval from the slot before. CronDataInterval is Airflow 2's.
    ("schedule='@daily'", NEW_YEAR, "01-02<01-01 01-03<01-02"),
    ("schedule=CronDataInterval('@daily')", NEW_YEAR, "01-02/01-01<01-01 01-03/01-02<01-02"),
    ("schedule=CronDataInterval('0 6 * * mon')", NEW_YEAR, "01-05T06/12-29T06<12-29T06"),
    # A slot exists when start_date <= logical date <= end_date; the start counts when it is on the grid.
    ("schedule='@daily', **Y26", "2025-12-01", "01-01<12-31 01-02<01-01"),
    ("schedule='@daily', start_date=datetime(2026, 1, 1, 0, 1, tzinfo=UTC)", "2025-12-01", "01-02<01-01"),
    ("schedule='@daily', end_date=datetime(2026, 1, 3, tzinfo=UTC)", NEW_YEAR, "01-02<01-01 01-03<01-02 -"),
    ("schedule='@daily', end_date=datetime(2026, 1, 2, 23, 59, tzinfo=UTC)", NEW_YEAR, "01-02<01-01 -"),
    ("schedule=CronDataInterval('@daily'), **Y26", "2025-12-01", "01-02/01-01<01-01"),
    (
        "schedule=CronDataInterval('@daily'), end_date=datetime(2026, 1, 2, tzinfo=UTC)",
        NEW_YEAR,
        "01-02/01-01<01-01 01-03/01-02<01-02 -",
    ),
    ("schedule='@daily', end_date=datetime(2025, 1, 1, tzinfo=UTC)", NEW_YEAR, "-"),
    # The zone: timezone=, else that of start_date if it is named, else UTC; naive dates are in it.
    ("schedule='@daily', timezone='Asia/Tokyo'", NEW_YEAR, "01-01T15<12-31T15"),
    ("schedule='@daily', start_date=datetime(2026, 1, 2, tzinfo=BERLIN)", NEW_YEAR, "01-01T23<12-31T23"),
    ("schedule='@daily', start_date=pendulum.datetime(2026, 1, 2, tz='Asia/Tokyo')", "2025-12-01", "01-01T15<12-31T15"),
    (
        "schedule='@daily', start_date=datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=9)))",
        NEW_YEAR,
        "01-02<01-01",
    ),
    ("schedule='@daily', start_date=datetime(2026, 1, 2), timezone='Asia/Tokyo'", "2025-12-01", "01-01T15<12-31T15"),
    ("schedule='@daily', start_date=datetime(2026, 1, 5, tzinfo=BERLIN), timezone='UTC'", NEW_YEAR, "01-05<01-04"),
    ("schedule=Cron('@daily', timezone='Asia/Tokyo'), timezone='Europe/Berlin'", NEW_YEAR, "01-01T15<12-31T15"),
    ("schedule=Cron('0 0 * * *', timezone=BERLIN)", NEW_YEAR, "01-01T23<12-31T23"),
    # timedelta: one grid from the start_date, else 1970-01-01 00:00 in the DAG's zone, whatever catchup says; elapsed.
    ("schedule=timedelta(hours=7), **Y26", "2026-01-01T01:00Z", "01-01T07<01-01 01-01T14<01-01T07"),
    ("schedule=timedelta(hours=7), **Y26, catchup=True", "2026-01-01T01:00Z", "01-01T07<01-01 01-01T14<01-01T07"),
    ("schedule=timedelta(hours=7), **Y26", "2025-12-01", "01-01<12-31T17"),
    ("schedule=timedelta(days=7)", NEW_YEAR, "01-08<01-01"),
    ("schedule=timedelta(hours=6), timezone='Asia/Kolkata'", NEW_YEAR, "01-01T00:30<12-31T18:30"),
    ("schedule=timedelta(days=1), start_date=datetime(2026, 3, 27, 12, tzinfo=BERLIN)", SPRING, "03-29T11<03-28T11"),
    ("schedule=timedelta(seconds=1)", NEW_YEAR, "01-01T00:00:01<01-01 01-01T00:00:02<01-01T00:00:01"),
    # Months and years are steps of the calendar from the anchor.
    ("schedule=relativedelta(months=1), start_date=datetime(2025, 10, 31, tzinfo=UTC)", "2026-01-31T00:00Z",
     "02-28<01-31 03-31<02-28 04-30<03-31"),
    (
        "schedule=relativedelta(months=1), start_date=datetime(2026, 1, 31, tzinfo=UTC)",
        NEW_YEAR,
        "01-31<12-31 02-28<01-31",
    ),
    ("schedule=relativedelta(years=1), start_date=datetime(2024, 2, 29, tzinfo=UTC)", NEW_YEAR, "02-28<2025-02-28"),
    ("schedule=relativedelta(hours=12), **Y26", NEW_YEAR, "01-01T12<01-01"),
    ("schedule=relativedelta(months=1, days=1), **Y26", NEW_YEAR, "02-02<01-01 03-03<02-02"),
    ("schedule=pendulum.duration(months=1), start_date=datetime(2026, 1, 31, tzinfo=UTC)", "2026-02-01", "02-28<01-31"),
    ("schedule=pendulum.duration(hours=7), **Y26", NEW_YEAR, "01-01T07<01-01"),
    ("schedule=pendulum.duration(weeks=1, days=1)", NEW_YEAR, "01-03<12-26"),
    ("schedule=relativedelta(months=1), start_date=datetime(2026, 2, 28, 12, tzinfo=BERLIN)", "2026-03-01",
     "03-28T11<02-28T11 04-28T10<03-28T11"),
    # Events: the first has an empty interval. Several crons on one instant are one slot.
    ("schedule=Events([datetime(2026, 1, 9, tzinfo=UTC), datetime(2026, 1, 5, tzinfo=BERLIN)])", NEW_YEAR,
     "01-04T23<01-04T23 01-09<01-04T23 -"),
    ("schedule=Events([datetime(2026, 1, 5, tzinfo=UTC)] * 2), **Y26", "2020-01-01", "01-05<01-05 -"),
    ("schedule=Events([datetime(2026, 1, d, tzinfo=UTC) for d in (2, 3, 4)]), start_date=datetime(2026, 1, 3)",
     "2025-01-01", "01-03<01-02 01-04<01-03 -"),
    (
        "schedule=MultipleCron('0 6 * * *', '0 */12 * * *', '0 0 * * *')",
        NEW_YEAR,
        "01-01T06<01-01 01-01T12<01-01T06 01-02<01-01T12",
    ),
    (
        "schedule=MultipleCron('0 6 * * *', '@daily', timezone='Asia/Tokyo')",
        NEW_YEAR,
        "01-01T15<12-31T21 01-01T21<01-01T15",
    ),
    # dst: the DAG's, or the schedule's own.
    ("schedule='30 2 * * *', timezone='Europe/Berlin'", SPRING, "03-29T01<03-28T01:30 03-30T00:30<03-29T01"),
    ("schedule='30 2 * * *', timezone='Europe/Berlin', dst='skip'", SPRING, "03-30T00:30<03-28T01:30"),
    ("schedule=Cron('30 2 * * *', dst='skip'), timezone='Europe/Berlin'", SPRING, "03-30T00:30<03-28T01:30"),
    ("schedule=Cron('30 2 * * *', dst='once'), timezone='Europe/Berlin', dst='skip'", SPRING, "03-29T01<03-28T01:30"),
    ("schedule=CronDataInterval('30 2 * * *', dst='both'), timezone='Europe/Berlin'", AUTUMN,
     "10-25T00:30/10-24T00:30<10-24T00:30 10-25T01:30/10-25T00:30<10-25T00:30 10-26T01:30/10-25T01:30<10-25T01:30"),
    ("schedule=CronDataInterval('30 2 * * *', 'Europe/Berlin', 'skip')", SPRING, "03-30T00:30/03-28T01:30<03-28T01:30"),
    ("schedule=MultipleCron('30 2 * * *', '0 12 * * *', dst='both'), timezone='Europe/Berlin'", AUTUMN,
     "10-25T00:30<10-24T10 10-25T01:30<10-25T00:30 10-25T11<10-25T01:30"),
    (
        "schedule=MultipleCron('0 2 * * *', '30 2 * * *'), timezone='Europe/Berlin'",
        SPRING,
        "03-29T01<03-28T01:30 03-30<03-29T01",
    ),
    ("schedule=Cron('*/30 0 0 * * *', seconds=True)", NEW_YEAR, "01-01T00:00:30<01-01 01-02<01-01T00:00:30"),
    ("schedule=relativedelta(months=1), start_date=datetime(2026, 1, 29, 2, 30, tzinfo=BERLIN), dst='skip'",
     "2026-03-01", "04-29T00:30<02-28T01:30"),
    # @once at its start_date; assets and time together; nothing for assets alone, None, and after the end.
    ("schedule='@once', start_date=datetime(2099, 1, 5, tzinfo=UTC)", NEW_YEAR, "2099-01-05<2099-01-05 -"),
    ("schedule='@once', start_date=datetime(2099, 1, 5), end_date=datetime(2098, 1, 1)", NEW_YEAR, "-"),
    ("schedule=Asset('raw') | Cron('@daily')", NEW_YEAR, "01-02<01-01"),
    ("schedule=(Asset('raw') & Asset('b')) | Cron('@daily')", NEW_YEAR, "01-02<01-01"),
    ("schedule=Asset('raw')", NEW_YEAR, "-"),
    ("schedule=[Asset('raw'), Asset('b')]", NEW_YEAR, "-"),
    ("schedule=None, **Y26", NEW_YEAR, "-"),
    # Pause and catch-up change nothing here.
    ("schedule='@daily', is_paused_upon_creation=True, catchup=True", NEW_YEAR, "01-02<01-01"),
    # Far away.
    ("schedule='@yearly'", "1899-06-01", "1900-01-01<1899-01-01"),
    ("schedule='@yearly', start_date=datetime(2200, 1, 1, tzinfo=UTC)", NEW_YEAR, "2200-01-01<2199-01-01"),
    ("schedule='@daily', start_date=datetime(1, 1, 1, tzinfo=UTC)", NEW_YEAR, "01-02<01-01"),
    ("schedule='@daily', end_date=datetime(9999, 12, 31, tzinfo=UTC)", NEW_YEAR, "01-02<01-01"),
    ("schedule=timedelta(days=400000), **Y26", "2026-01-01T00:00Z", "3121-03-02<01-01"),
]  # fmt: skip


def next_of(file: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["dags", "next", str(file), *words, "-o", "json"], prog_name="dagd")


def short(instant: str) -> str:
    """Without the year 2026 (or the one before), zeros at the end, and Z."""
    text = instant.removesuffix("Z").removesuffix(":00").removesuffix(":00").removesuffix("T00")
    return text[5:] if instant[:4] in ("2026", "2025") and not text.startswith("2025-02") else text


def shown(row: dict[str, Any]) -> str:
    due, logical, start, end = (
        short(row[name]) for name in ("due_at", "logical_date", "data_interval_start", "data_interval_end")
    )
    assert end == due
    return f"{due}<{start}" if due == logical else f"{due}/{logical}<{start}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """The slots of every case: one file, asked once for each instant."""
    file = tmp_path_factory.mktemp("calendar") / "cases.py"
    body = [
        f"with DAG('d{number}', {arguments}):\n    EmptyOperator(task_id='a')\n"
        for number, (arguments, _, _) in enumerate(SLOTS)
    ]
    file.write_text(HEAD + "\n".join(body))
    slots: dict[int, list[dict[str, Any]]] = {number: [] for number in range(len(SLOTS))}
    for asked in sorted({asked for _, asked, _ in SLOTS}):
        done = next_of(file, "--after", asked, "-n", "4")
        assert done.exit_code == 0, done.stderr
        for row in json.loads(done.stdout):
            number = int(row["dag_id"][1:])
            if SLOTS[number][1] == asked:
                slots[number].append(row)
    return slots


@pytest.mark.parametrize("number", range(len(SLOTS)), ids=[arguments for arguments, _, _ in SLOTS])
def test_the_slots_of_a_dag(found: dict[int, list[dict[str, Any]]], number: int) -> None:
    wanted = SLOTS[number][2].split()
    rows = [shown(row) for row in found[number]]
    if wanted[-1] == "-":
        assert rows == wanted[:-1]
    else:
        assert rows[: len(wanted)] == wanted


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("schedule='0 0 30 2 *'", "can never fire"), ("schedule='0 0 31 6 *'", "31 does not exist in month 6"),
        ("schedule=MultipleCron('@daily', '0 0 30 2 *')", "can never fire"), ("schedule='* * * * * *'", "seconds=True"),
        ("schedule='@dayly'", "Did you mean '@daily'"), ("schedule=timedelta(0)", "at least one second"),
        ("schedule=timedelta(seconds=-5)", "at least one second"), ("schedule=timedelta(milliseconds=1)", "one second"),
        ("schedule=relativedelta(months=-1)", "forward"), ("schedule=relativedelta(day=31)", "no length of time"),
        ("schedule=Events([])", "no instant"), ("schedule=Events([datetime(2026, 1, 1)])", "no aware datetime"),
        ("schedule='@daily', timezone='Mars/One'", "unknown time zone"), ("schedule='@daily', dst='twice'", "dst"),
        ("schedule=Cron('@daily', dst='twice')", "dst policy"), ("schedule=5", "is no schedule"),
        ("schedule=Cron('@once')", "schedule='@once'"), ("schedule=MultipleCron()", "no cron"),
        ("schedule=Cron('@daily', timezone='Nowhere')", "unknown time zone"),
        ("schedule='@daily', start_date='x'", "x"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_an_error_at_parse_with_its_line(tmp_path: Path, arguments: str, said: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(f"{HEAD}\nwith DAG('d', {arguments}):\n    EmptyOperator(task_id='a')\n")
    done = next_of(file)
    assert done.exit_code == 1
    assert said in done.stderr
    assert "bad.py:12" in done.stderr
    assert "Traceback" not in done.stderr
