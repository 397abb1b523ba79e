"""Lists and shows over a filled database, on both databases: keys are a contract with programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dagd.model.plans import Expansion, RunMove, Settle, Supersede
from tests.factories import run, spec, task
from tests.integration.cli_kit import World, ended, make_world, put, store

RUN_KEYS = {
    "dag_id", "run_id", "kind", "state", "logical_date", "data_interval_start", "data_interval_end", "created_at",
    "started_at", "ended_at", "duration_s", "conf", "version", "request_key", "backfill_id", "partition", "events",
}  # fmt: skip
TASK_KEYS = {
    "task_id", "map_index", "state", "try", "max_tries", "isolation", "pool", "queued_at", "started_at", "ended_at",
    "duration_s", "waited_s", "reason", "error", "agent", "pid", "exit_code", "signal",
}  # fmt: skip
DAG_KEYS = {
    "dag_id", "paused", "schedule", "timezone", "next_due", "last_run", "active_runs", "file", "version", "tags",
    "owner", "error",
}  # fmt: skip


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(database_url, tmp_path, monkeypatch)


KEYS: list[tuple[tuple[str, ...], set[str]]] = [
    (("dags", "list"), DAG_KEYS),
    (("dags", "errors"), {"file", "line", "code", "error", "traceback", "since", "last_good_version"}),
    (("dags", "next", "sales"), {"due_at", "logical_date", "data_interval_start", "data_interval_end", "local"}),
    (("dags", "versions", "sales"), {"version", "current", "created_at", "hash"}),
    (("runs", "list"), RUN_KEYS),
    (("runs", "list", "sales"), RUN_KEYS),
    (("runs", "show", "sales/m-2"), RUN_KEYS | {"tasks"}),
    (("tasks", "list", "sales/m-2"), TASK_KEYS),
    (("tasks", "list", "sales"), {"task_id", "operator", "retries", "pool"}),
    (("tasks", "show", "sales/m-1/extract"), TASK_KEYS | {"xcom", "rendered"}),
    (("tasks", "tries", "sales/m-2/load"), TASK_KEYS | {"token", "leg", "charged"}),
    (("pools", "list"), {"name", "slots", "used", "queued", "description"}),
    (("deadlines", "list"), {"dag_id", "run_id", "task_id", "kind", "due_at", "state", "fired_at", "met_at"}),
    (("assets", "list"), {"key", "producers", "consumers", "events"}),
    (("assets", "events", "raw.orders"), {"event_id", "asset", "source", "kind", "partition", "data_version", "ts"}),
    (("health",), {"ok", "components", "lag_s", "queued", "running"}),
    (("db", "stats"), {"tables", "size_bytes"}),
    (("why", "sales/m-2/report"), {"subject", "state", "reasons", "next"}),
    (("status",), {"ok", "components", "dags", "runs"}),
]


@pytest.mark.parametrize("words,keys", KEYS, ids=lambda part: " ".join(part) if isinstance(part, tuple) else "keys")
def test_the_json_of_a_command_has_its_keys(world: World, words: tuple[str, ...], keys: set[str]) -> None:
    found = world.json(*words)
    row = found[0] if isinstance(found, list) else found
    assert keys <= set(row), keys - set(row)


def test_dags_list_shows_last_run_schedule_and_error(world: World) -> None:
    marts, sales = world.json("dags", "list")
    assert (sales["dag_id"], sales["schedule"], sales["timezone"]) == ("sales", "0 6 * * *", "Europe/Berlin")
    assert sales["last_run"]["run_id"].startswith("scheduled__")
    assert sales["last_run"]["state"] == "success"
    assert (sales["active_runs"], sales["version"], sales["error"]) == (2, 1, None)
    assert sales["tags"] == ["finance", "daily"]
    assert sales["owner"] == "ann"
    assert (marts["schedule"], marts["last_run"]["state"]) == ("raw.orders", "queued")


def tasks_of(world: World, run: str) -> dict[tuple[str, int | None], dict[str, Any]]:
    return {(one["task_id"], one["map_index"]): one for one in world.json("runs", "show", run)["tasks"]}


def test_a_failed_run_shows_each_task_with_its_tries_reason_and_error(world: World) -> None:
    tasks = tasks_of(world, "sales/m-2")
    assert set(tasks) == {("extract", -1), ("load", -1), ("one", 0), ("one", 1), ("one", 2), ("report", -1)}
    load = tasks[("load", -1)]
    assert (load["state"], load["try"], load["max_tries"]) == ("failed", 2, 2)
    assert (load["reason"], load["error"], load["error_at"]) == ("exception", "KeyError: 'amount'", "sales.py:31")
    assert (load["duration_s"], load["waited_s"], load["pid"]) == (2.0, 1.0, 77)
    report = tasks[("report", -1)]
    assert (report["state"], report["try"], report["started_at"]) == ("upstream_failed", 0, None)


def test_a_running_run_lists_tasks_that_never_started(world: World) -> None:
    tasks = tasks_of(world, "sales/m-3")
    assert {key: one["state"] for key, one in tasks.items()} == {
        ("extract", -1): "running", ("load", -1): "none", ("one", -1): "none", ("report", -1): "none",
    }  # fmt: skip
    assert (tasks[("load", -1)]["try"], tasks[("load", -1)]["max_tries"]) == (0, 2)
    assert {one["state"] for one in world.json("runs", "show", "sales/m-4")["tasks"]} == {"none"}


@pytest.mark.parametrize(
    "text,found",
    [
        ("sales/latest", "scheduled__2026-11-25T05:00:00Z"), ("sales/latest-failed", "m-2"), ("sales/m-1", "m-1"),
        ("sales/sched", "scheduled__2026-11-25T05:00:00Z"),
    ],
)  # fmt: skip
def test_a_run_is_found_by_name_beginning_or_word(world: World, text: str, found: str) -> None:
    assert world.json("runs", "show", text)["run_id"] == found


def test_runs_list_filters_and_limits(world: World) -> None:
    assert [one["run_id"] for one in world.json("runs", "list", "sales", "--state", "failed")] == ["m-2"]
    assert [one["run_id"] for one in world.json("runs", "list", "--key", "k2")] == ["m-2"]
    assert len(world.json("runs", "list")) == 6
    assert len(world.json("runs", "list", "--limit", "2")) == 2
    assert world.json("runs", "list", "--limit", "0") == []
    assert [one["run_id"] for one in world.json("runs", "list", "--kind", "asset")] == ["asset__6"]


def test_a_run_started_by_an_asset_knows_its_events(world: World) -> None:
    (event,) = world.json("runs", "show", "marts/latest")["events"]
    assert event == {"event_id": 900, "asset": "raw.orders", "source": "sales/m-1/extract", "partition": None}
    (row,) = world.json("assets", "events", "raw.orders")
    assert (row["source"], row["kind"], row["metadata"]) == ("sales/m-1/extract", "materialised", {"rows": 3})
    assert row["consumed_by"] == ["marts/asset__6"]
    (asset,) = world.json("assets", "list")
    assert (asset["producers"], asset["consumers"], asset["listeners"]) == (
        ["sales/extract"],
        ["marts/build"],
        ["marts"],
    )


def test_conf_is_the_value_as_given(world: World) -> None:
    assert world.json("runs", "show", "sales/m-2")["conf"] == {"day": "x"}


def test_tries_carry_token_leg_and_charge(world: World) -> None:
    first, second = world.json("tasks", "tries", "sales/m-2/load")
    assert (first["try"], first["charged"], first["leg"], first["token"]) == (1, "retries", 1, "2.2.-1.1")
    assert second["state"] == "failed"
    assert second["error"] == "KeyError: 'amount'"


def test_tasks_show_has_the_xcom(world: World) -> None:
    shown = world.json("tasks", "show", "sales/m-1/extract")
    assert (shown["xcom"], shown["rendered"]) == ({"return_value": [1, 2, 3]}, {})
    assert world.json("tasks", "show", "sales/m-1/one/2")["map_index"] == 2


def test_pools_count_used_slots_and_tell_of_a_pool_that_is_missing(world: World) -> None:
    pool = next(one for one in world.json("pools", "list") if one["name"] == "default_pool")
    assert (pool["slots"], pool["used"]) == (128, 1)


def test_health_is_1_with_json_when_a_part_is_missing(world: World) -> None:
    done = world.run("health", "-o", "json")
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["ok"], shown["running"]) == (1, False, 1)
    parts = {one["name"]: one for one in shown["components"]}
    assert parts["scheduler"]["ok"]
    assert parts["scheduler"]["heartbeat_age_s"] < 10
    assert not parts["processor"]["ok"]
    assert not parts["agent"]["ok"]


def test_errors_exits_1_and_prints_its_json_all_the_same(world: World) -> None:
    done = world.run("dags", "errors", "-o", "json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["file"], row["line"], row["last_good_version"]) == (1, "broken.py", 14, 5)


def test_deadlines_and_their_acknowledgement(world: World) -> None:
    (row,) = world.json("deadlines", "list")
    assert (row["dag_id"], row["run_id"], row["task_id"], row["state"]) == ("sales", "m-2", "load", "missed")
    assert row["fired_at"]
    assert row["met_at"] is None
    assert world.run("deadlines", "ack", "sales/m-2").exit_code == 0
    assert world.json("sla", "list", "--unseen") == []


def test_db_stats_counts_rows(world: World) -> None:
    shown = world.json("db", "stats")
    rows = {one["name"]: one["rows"] for one in shown["tables"]}
    assert (rows["dag"], rows["dag_run"]) == (2, 6)
    assert shown["size_bytes"] > 0


def test_metrics_are_prometheus_text(world: World) -> None:
    lines = world.run("metrics").stdout.splitlines()
    assert 'dagd_runs{state="failed"} 1' in lines
    assert "dagd_import_errors 1" in lines


def test_a_task_that_may_start_is_scheduled_and_one_held_by_the_run_before_is_none(world: World) -> None:
    chain = spec("chain", task("first", depends_on_past=True), task("free"))
    with world.write() as connection:
        dag, version = store(connection, chain, world.now)
        made = [run(dag, version, number, due_at=world.now + number) for number in (20, 21)]
        put(connection, new_runs=made, run_moves=[RunMove(20, "start", world.now), RunMove(21, "start", world.now)])
    assert {one["task_id"]: one["state"] for one in world.json("runs", "show", "chain/m-20")["tasks"]} == {
        "first": "scheduled", "free": "scheduled",
    }  # fmt: skip
    assert {one["task_id"]: one["state"] for one in world.json("runs", "show", "chain/m-21")["tasks"]} == {
        "first": "none", "free": "scheduled",
    }  # fmt: skip


def test_a_cleared_and_a_marked_instance_keep_their_tries(world: World) -> None:
    with world.write() as connection:
        moves = [RunMove(number, "reopen", world.now) for number in (1, 2)]
        put(
            connection, Settle((2, 2, -1), "succeed", "marked", world.now), run_moves=moves,
            supersedes=[Supersede((1, 4, -2), 1), Supersede((2, 2, -2), 2), Supersede((2, 4, -2), 2)],
        )  # fmt: skip
    cleared = tasks_of(world, "sales/m-1")[("report", -1)]
    assert (cleared["state"], cleared["try"], cleared["max_tries"]) == ("scheduled", 1, 2)
    marked = tasks_of(world, "sales/m-2")
    assert (marked[("load", -1)]["state"], marked[("load", -1)]["try"]) == ("success", 2)
    assert (marked[("load", -1)]["reason"], marked[("load", -1)]["error"]) == ("marked", None)
    assert marked[("report", -1)]["state"] == "scheduled"
    assert [one["superseded"] for one in world.json("tasks", "tries", "sales/m-2/load")] == [True, True]


def test_indices_without_a_try_are_one_entry_a_state(world: World) -> None:
    with world.write() as connection:
        put(connection, expansions=[Expansion(3, 3, 5)])
        put(connection, *ended((3, 3, 1), 1, "succeed", world.now))
        put(connection, Settle((3, 3, -1), "skip", "upstream", world.now))
    rows = [one for one in world.json("runs", "show", "sales/m-3")["tasks"] if one["task_id"] == "one"]
    found = [(one["map_index"], one["state"], one.get("count")) for one in rows]
    assert found == [(1, "success", None), (None, "skipped", 4)]
    expanded = world.json("tasks", "list", "sales/m-3/one", "--expand")
    assert [one["map_index"] for one in expanded] == [0, 1, 2, 3, 4]
    assert world.json("tasks", "show", "sales/m-3/one/4")["state"] == "skipped"
