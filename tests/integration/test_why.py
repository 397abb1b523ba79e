"""`dagd why` over real rows, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagd.model.plans import Enqueue, RunMove
from tests.integration.cli_kit import World, ended, make_world, put


@pytest.fixture
def world(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(database_url, tmp_path, monkeypatch)


def test_a_dag_a_run_and_a_task_are_explained(world: World) -> None:
    dag = world.json("why", "sales")
    assert dag["subject"] == "sales"
    assert {"code", "message", "blocking"} == set(dag["reasons"][0])
    run = world.json("why", "sales/m-2")
    assert run["state"] == "failed"
    assert run["reasons"][0]["message"] == "load failed after 2 tries: KeyError: 'amount' at sales.py:31"
    task = world.json("why", "sales/m-2/report")
    assert task["state"] == "upstream_failed"
    assert [one["code"] for one in task["reasons"]] == ["WHY-UPSTREAM", "WHY-FAILED"]
    assert "upstream load ✗ failed after 2 tries" in task["reasons"][0]["message"]
    assert world.json("why", "sales/m-2/one/1")["state"] == "success"


def test_a_full_pool_names_the_pool_and_who_uses_it(world: World) -> None:
    with world.write() as connection:
        put(connection, run_moves=[RunMove(4, "start", world.now)])
        put(connection, Enqueue((3, 2, -1), 1, "3.2", world.now, "etl", 1), *ended((4, 1, -1), 1, "succeed", world.now))
    before = world.json("why", "sales/m-4/load")
    assert before["reasons"][0]["code"] == "WHY-POOL-MISSING"
    world.run("pools", "set", "etl", "1")
    answer = world.json("why", "sales/m-4/load")
    assert answer["state"] == "scheduled"
    told = "pool etl is full: 1 of 1 slots used by sales/m-3/load"
    assert answer["reasons"][0] == {"code": "WHY-POOL", "message": told, "blocking": True}
    rows = {row["task_id"]: row for row in world.json("runs", "show", "sales/m-4")["tasks"]}
    assert rows["load"]["reason"] == told
    assert "waits for load" in rows["report"]["reason"]
    ended_rows = {row["task_id"]: row for row in world.json("runs", "show", "sales/m-2")["tasks"]}
    assert "upstream load ✗ failed after 2 tries" in ended_rows["report"]["reason"]


def test_an_asset_consumer_says_what_it_waits_for(world: World) -> None:
    answer = world.json("why", "marts")
    assert ("WHY-ASSET-WAITS", True) in [(one["code"], one["blocking"]) for one in answer["reasons"]]
    assert "raw.orders" in answer["reasons"][0]["message"]


def test_a_missing_scheduler_and_unknown_names_are_said(world: World) -> None:
    with world.write() as connection:
        world.silence(connection)
    assert "WHY-NO-SCHEDULER" in [one["code"] for one in world.json("why", "sales/m-3/load")["reasons"]]
    for place in ("slaes", "sales/nope", "sales/m-2/laod", "sales/m-2/load/7", "sales/m-2/one/9"):
        assert world.run("why", place).exit_code == 3, place
