"""The page's sentences on time, each with slots worked out by hand, through `dagd schedules preview`."""

from __future__ import annotations

import json
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from dagd.cli.main import cli
from dagd.cli.output import Output


def preview(words: str, spec: str) -> Result:
    return CliRunner().invoke(cli, ["schedules", "preview", spec, *words.split(), "-o", "json"], prog_name="dagd")


def due(words: str, spec: str, wanted: str) -> list[str]:
    """As many slots as are wanted, in the short form of the tables: `Z` and a time of zero left out."""
    done = preview(f"{words} -n {len(wanted.split())}", spec)
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert all(row["logical_date"] == row["due_at"] == row["data_interval_end"] for row in rows)
    assert all(rows[at]["due_at"] == rows[at + 1]["data_interval_start"] for at in range(len(rows) - 1))
    return [row["due_at"].removesuffix("Z").removesuffix("T00:00:00").removesuffix(":00") for row in rows]


SPRING, AUTUMN = "--tz Europe/Berlin --after 2026-03-28T12:00Z", "--tz Europe/Berlin --after 2026-10-24T12:00Z"
CLOCKS = [
    # Berlin, 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC. 25 October: 03:00 becomes 02:00 at 01:00 UTC.
    ("0 6 * * *", SPRING, "2026-03-29T04:00 2026-03-30T04:00"),
    ("30 2 * * *", SPRING, "2026-03-29T01:00 2026-03-30T00:30"),
    ("30 2 * * *", f"{SPRING} --dst both", "2026-03-29T01:00 2026-03-30T00:30"),
    ("30 2 * * *", f"{SPRING} --dst skip", "2026-03-30T00:30 2026-03-31T00:30"),
    ("0,30 2-3 29 3 *", SPRING, "2026-03-29T01:00 2026-03-29T01:30 2027-03-29"),
    ("0-59 2 29 3 *", SPRING, "2026-03-29T01:00 2027-03-29"),
    ("* 2 * * *", SPRING, "2026-03-30 2026-03-30T00:01"),
    ("30 */2 29 3 *", f"{SPRING} --dst both", "2026-03-28T23:30 2026-03-29T02:30 2026-03-29T04:30"),
    ("30 * 29 3 *", SPRING, "2026-03-28T23:30 2026-03-29T00:30 2026-03-29T01:30"),
    ("30 2 * * *", AUTUMN, "2026-10-25T00:30 2026-10-26T01:30"),
    ("30 2 * * *", f"{AUTUMN} --dst skip", "2026-10-25T00:30 2026-10-26T01:30"),
    ("30 2 * * *", f"{AUTUMN} --dst both", "2026-10-25T00:30 2026-10-25T01:30 2026-10-26T01:30"),
    ("30 1-3 25 10 *", AUTUMN, "2026-10-24T23:30 2026-10-25T00:30 2026-10-25T02:30"),
    ("*/30 2 * * *", AUTUMN, "2026-10-25 2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30 2026-10-26T01:00"),
    ("*/30 2 * * *", f"{AUTUMN} --dst skip", "2026-10-25 2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30"),
    # Asked within the second pass, the first has been.
    ("30 2 * * *", "--tz Europe/Berlin --after 2026-10-25T01:10Z", "2026-10-26T01:30"),
    ("30 2 * * *", "--tz Europe/Berlin --after 2026-10-25T01:10Z --dst both", "2026-10-25T01:30"),
    # Half an hour in Lord Howe, two in Troll, midnight in Beirut and Havana, no 30 December 2011 in Apia.
    ("15 2 * * *", "--tz Australia/Lord_Howe --after 2026-10-03T12:00Z", "2026-10-03T15:30 2026-10-04T15:15"),
    ("45 1 5 4 *", "--tz Australia/Lord_Howe --after 2026-04-04T12:00Z", "2026-04-04T14:45"),
    (
        "45 1 5 4 *",
        "--tz Australia/Lord_Howe --dst both --after 2026-04-04T12:00Z",
        "2026-04-04T14:45 2026-04-04T15:15",
    ),
    ("30 1,2 * * *", "--tz Antarctica/Troll --after 2026-03-29T00:00Z", "2026-03-29T01:00 2026-03-29T23:30"),
    ("0 0 * * *", "--tz Asia/Beirut --after 2026-03-28T12:00Z", "2026-03-28T22:00 2026-03-29T21:00"),
    ("0 0 * * *", "--tz Asia/Beirut --dst skip --after 2026-03-28T12:00Z", "2026-03-29T21:00"),
    ("0 0 * * *", "--tz America/Havana --after 2026-03-07T12:00Z", "2026-03-08T05:00 2026-03-09T04:00"),
    ("0 0 * * *", "--tz America/Havana --after 2026-10-31T12:00Z", "2026-11-01T04:00 2026-11-02T05:00"),
    ("0 0 * * *", "--tz America/Havana --dst both --after 2026-10-31T12:00Z", "2026-11-01T04:00 2026-11-01T05:00"),
    ("0 12 * * *", "--tz Pacific/Apia --after 2011-12-29T10:00Z", "2011-12-29T22:00 2011-12-30T22:00"),
    ("30 1 * * *", "--tz Europe/Dublin --after 2026-10-24T12:00Z", "2026-10-25T00:30 2026-10-26T01:30"),
    ("30 2 * * *", "--tz Africa/Casablanca --after 2026-03-21T12:00Z", "2026-03-22T02:00 2026-03-23T01:30"),
    # Seconds are fields too: each named second in the gap lands on the one instant.
    ("0,30 30 2 * * *", f"{SPRING} --seconds", "2026-03-29T01:00 2026-03-30T00:30 2026-03-30T00:30:30"),
    ("*/20 0 12 * * *", "--seconds --after 2026-01-01", "2026-01-01T12:00 2026-01-01T12:00:20 2026-01-01T12:00:40"),
]


@pytest.mark.parametrize("spec, words, wanted", CLOCKS)
def test_a_local_time_is_due_as_its_policy_says(spec: str, words: str, wanted: str) -> None:
    assert due(words, spec, wanted) == wanted.split()


FIELDS = [  # after 2026-01-01, a Thursday
    ("0 0 * * 7", "2026-01-04 2026-01-11"),
    ("0 0 * * 0", "2026-01-04 2026-01-11"),
    ("0 0 * * 5-7", "2026-01-02 2026-01-03 2026-01-04 2026-01-09"),
    ("0 0 * * fri-mon", "2026-01-02 2026-01-03 2026-01-04 2026-01-05 2026-01-09"),
    ("0 0 * * 6-1", "2026-01-03 2026-01-04 2026-01-05 2026-01-10"),
    ("0 0 * * MON,Wed", "2026-01-05 2026-01-07 2026-01-12"),
    ("0 0 * * mon-fri/2", "2026-01-02 2026-01-05 2026-01-07 2026-01-09"),
    ("0 0 * * 7#2", "2026-01-11 2026-02-08"),
    ("0 0 * * mon#1,fri#3", "2026-01-05 2026-01-16 2026-02-02 2026-02-20"),
    ("0 0 * * mon#1,wed", "2026-01-05 2026-01-07 2026-01-14"),
    ("0 0 * * 2,5L", "2026-01-06 2026-01-13 2026-01-20 2026-01-27 2026-01-30 2026-02-03"),
    ("0 0 13 * fri#2", "2026-01-09 2026-01-13 2026-02-13 2026-03-13 2026-04-10"),
    ("0 0 * * 4#5", "2026-01-29 2026-04-30"),
    ("0 0 * * L5", "2026-01-30 2026-02-27"),
    ("0 0 * * 5L", "2026-01-30 2026-02-27"),
    ("0 0 * * friL", "2026-01-30 2026-02-27"),
    ("0 0 * * 7L", "2026-01-25 2026-02-22"),
    ("0 0 L * *", "2026-01-31 2026-02-28 2026-03-31"),
    ("0 0 1,L 2 *", "2026-02-01 2026-02-28 2027-02-01"),
    ("0 0 29 2 *", "2028-02-29 2032-02-29"),
    ("0 0 29 2 1", "2026-02-02 2026-02-09"),
    ("0 0 31 * *", "2026-01-31 2026-03-31 2026-05-31"),
    ("0 0 30 2,4 *", "2026-04-30 2027-04-30"),
    ("0 0 15 * mon", "2026-01-05 2026-01-12 2026-01-15 2026-01-19"),
    ("0 0 ? * mon", "2026-01-05 2026-01-12"),
    ("0 0 1 nov-feb *", "2026-02-01 2026-11-01 2026-12-01 2027-01-01"),
    ("0 0 1 JAN,jul *", "2026-07-01 2027-01-01"),
    ("0 0 1 */4 *", "2026-05-01 2026-09-01 2027-01-01"),
    ("0 22-1 * * *", "2026-01-01T01:00 2026-01-01T22:00 2026-01-01T23:00 2026-01-02"),
    ("10-40/15 8 * * *", "2026-01-01T08:10 2026-01-01T08:25 2026-01-01T08:40 2026-01-02T08:10"),
    ("50-10/10 8 * * *", "2026-01-01T08:00 2026-01-01T08:10 2026-01-01T08:50"),
    ("20/20 8 * * *", "2026-01-01T08:20 2026-01-01T08:40 2026-01-02T08:20"),
    ("*/7 23 * * *", "2026-01-01T23:00 2026-01-01T23:07"),
    ("0 */5 * * *", "2026-01-01T05:00 2026-01-01T10:00 2026-01-01T15:00 2026-01-01T20:00 2026-01-02"),
    ("05,5,5 08 * * *", "2026-01-01T08:05 2026-01-02T08:05"),
    ("  0   6 * *   *  ", "2026-01-01T06:00"),
    ("@hourly", "2026-01-01T01:00 2026-01-01T02:00"),
    ("@daily", "2026-01-02"),
    ("@midnight", "2026-01-02"),
    ("@weekly", "2026-01-04 2026-01-11"),
    ("@monthly", "2026-02-01 2026-03-01"),
    ("@quarterly", "2026-04-01 2026-07-01 2026-10-01 2027-01-01"),
    ("@yearly", "2027-01-01"),
    ("@annually", "2027-01-01"),
]


@pytest.mark.parametrize("spec, wanted", FIELDS)
def test_each_field_means_what_cron_means(spec: str, wanted: str) -> None:
    assert due("--after 2026-01-01T00:00Z", spec, wanted) == wanted.split()


DURATIONS = [
    ("P1M", "--start 2026-01-31 --after 2026-01-01", "2026-01-31 2026-02-28 2026-03-31 2026-04-30"),
    ("P1Y", "--start 2024-02-29 --after 2024-01-01", "2024-02-29 2025-02-28 2026-02-28 2027-02-28 2028-02-29"),
    ("P2M", "--start 2025-12-31 --after 2026-01-01", "2026-02-28 2026-04-30 2026-06-30 2026-08-31"),
    ("P1Y6M", "--start 2024-08-31 --after 2024-09-01", "2026-02-28 2027-08-31"),
    ("PT90M", "--start 2026-01-01T00:00Z --after 2026-01-01T00:00Z", "2026-01-01T01:30 2026-01-01T03:00"),
    ("PT90S", "--start 2026-01-01T00:00Z --after 2026-01-01T00:00Z", "2026-01-01T00:01:30 2026-01-01T00:03"),
    ("P1DT12H", "--start 2026-01-01 --after 2026-01-01", "2026-01-02T12:00 2026-01-04"),
    # Without a start: from 1970-01-01 00:00 in the zone. 2026-01-01 is 20454 days later, a Thursday as well.
    ("PT36H", "--after 2026-01-01", "2026-01-02T12:00 2026-01-04"),
    ("P1W", "--after 2026-01-01", "2026-01-08 2026-01-15"),
    ("PT6H", "--tz Asia/Kolkata --after 2026-01-01T00:00Z", "2026-01-01T00:30 2026-01-01T06:30"),
    ("P1M", "--tz Asia/Tokyo --after 2026-01-01T00:00Z", "2026-01-31T15:00 2026-02-28T15:00"),
    # The start does not cut the grid off the time before: the first slot is the start, later ones keep to it.
    ("PT7H", "--start 2026-01-01T05:00Z --after 2025-01-01", "2026-01-01T05:00 2026-01-01T12:00"),
    # A day of a duration is 24 hours; months keep the local time.
    ("P1D", "--tz Europe/Berlin --start 2026-03-28T12:00 --after 2026-03-28", "2026-03-28T11:00 2026-03-29T11:00"),
    ("P1M", "--tz Europe/Berlin --start 2026-02-28T12:00 --after 2026-03-01", "2026-03-28T11:00 2026-04-28T10:00"),
    (
        "P1M",
        "--tz Europe/Berlin --start 2026-01-29T02:30 --after 2026-02-01",
        "2026-02-28T01:30 2026-03-29T01:00 2026-04-29T00:30",
    ),
    ("P1M", "--tz Europe/Berlin --dst skip --start 2026-01-29T02:30 --after 2026-03-01", "2026-04-29T00:30"),
    ("PT1H", "--tz Europe/Berlin --after 2026-10-25T00:00Z", "2026-10-25T01:00 2026-10-25T02:00"),
    ("PT1S", "--after 2038-01-19T03:14:06Z", "2038-01-19T03:14:07 2038-01-19T03:14:08"),
    ("@daily", "--after 1901-12-13T20:45:51Z", "1901-12-14 1901-12-15"),
    ("0 0 1 1 *", "--after 9000-06-01", "9001-01-01"),
    ("0 * * * *", "--start 2026-01-01T10:30Z --after 2025-01-01", "2026-01-01T11:00 2026-01-01T12:00"),
    ("0 6 * * *", "--tz utc --after 2026-01-01", "2026-01-01T06:00"),
    ("0 6 * * *", "--after 2026-01-01T06:00Z", "2026-01-02T06:00"),
    ("0 6 * * *", "--after 2026-01-01T05:59:59.999999Z", "2026-01-01T06:00"),
]


@pytest.mark.parametrize("spec, words, wanted", DURATIONS)
def test_durations_count_from_their_anchor(spec: str, words: str, wanted: str) -> None:
    assert due(words, spec, wanted) == wanted.split()


def test_the_first_slots_interval_starts_where_the_slot_before_would_have_been() -> None:
    for spec, start, before in [
        ("P1M", "2026-01-31", "2025-12-31"), ("PT7H", "2026-01-01T07:00", "2026-01-01"),
        ("0 0 1 * *", "2026-03-01", "2026-02-01"),
    ]:  # fmt: skip
        row = json.loads(preview(f"--start {start} --after 2020-01-01 -n 1", spec).stdout)[0]
        assert row["due_at"].startswith(start)
        assert row["data_interval_start"].startswith(before)


def test_the_local_time_has_the_zones_offset() -> None:
    row = json.loads(preview("--tz Asia/Kolkata --after 2026-01-01T00:00Z -n 1", "30 9 * * *").stdout)[0]
    assert row["local"] == "2026-01-01T09:30:00+05:30"


@pytest.mark.parametrize(
    "spec, words",
    [
        *((text, "") for text in (
            "P0D", "PT0S", "P", "PT", "P1", "P1H", "1D", "-P1D", "P-1D", "P1M-1D", "PT0.5S", "P0Y0M", "p1d", "P1.5D",
            "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2-2 *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
            "* * * 13 *", "* * * 0 *", "* * * * 8", "*/0 * * * *", "* * * *", "* * * * * *", "* * * * * 2026 *", "",
            " ", "@fortnightly", "@", "hello", "0 0 * * mon#6", "0 0 * * mon#0", "0 0 * foo *", "0 0 15W * *",
            "1-2-3 * * * *", "1,,2 * * * *", "1- * * * *", "a * * * *", "0 0 * * \N{SUPERSCRIPT TWO}", "5 4 * * *\n",
        ) if text != "5 4 * * *\n"),
        ("@daily", "--tz Europe/Berln"), ("@daily", "--tz ../x"), ("@daily", "--dst never"), ("@daily", "--after soon"),
        ("@daily", "--start 2026-13-01"), ("P1M", "--start then"),
        ("P1M", "--start 0001-01-01"), ("P1M", "--start 9999-12-31"),
        ("@daily", "--after 0001-01-01T00:00+14:00"), ("* * * * *", "--seconds --tz Mars/One"),
        ("61 * * * * *", "--seconds"), ("* * * *", "--seconds"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_a_usage_error_with_a_reason(spec: str, words: str) -> None:
    done = preview(words, spec)
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.strip()) > 20
    assert "Traceback" not in done.stderr


def test_an_instant_at_the_ends_of_the_calendar_is_shown_in_any_zone() -> None:
    out = Output(zone=ZoneInfo("America/New_York"))
    assert out.instant("0001-01-01T00:00:00Z") == "0001-01-01 00:00:00+00:00"
    assert Output(zone=ZoneInfo("Asia/Tokyo")).instant("9999-12-31T23:00:00Z") == "9999-12-31 23:00:00+00:00"
    assert out.instant("2026-01-01T00:00:00Z") == "2025-12-31 19:00:00-05:00"
