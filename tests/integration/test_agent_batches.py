"""Quick warm tries go to a hot worker several at a time; each keeps its own log, end and budget all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagd.agent import warm
from dagd.model.states import Reason
from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Frame, Rig, Scheduler

SOURCE = """
import os, time

def note(launch):
    with open(launch["witness"], "a") as file:
        file.write(launch["name"] + "\\n")

def quick(channel, launch):
    note(launch)
    return os.getpid()

def prints(channel, launch):
    note(launch)
    print("I am", launch["name"])

def waits(channel, launch):
    note(launch)
    while not os.path.exists(launch["witness"] + ".go"):
        time.sleep(0.005)

def exits(channel, launch):
    note(launch)
    os._exit(0)

def environment(channel, launch):
    note(launch)
    os.environ["LEFT"] = "behind"

def asks(channel, launch):
    note(launch)
    return channel.request("variable", {"key": "region"})
"""


class Batch:
    """Launches that come in one frame, after their kind is known to be quick."""

    def __init__(self, rig: Rig, tmp_path: Path) -> None:
        self.scheduler: Scheduler = rig.scheduler()
        self.scheduler.version(SOURCE)
        self.witness = tmp_path / "witness"
        self.witness.touch()
        for number in range(4):
            self.launch(**{f"before{number}": "quick"})
            self.scheduler.result(f"before{number}")
        self.witness.write_text("")

    def launch(self, **calls: str) -> None:
        """Name and function of each, in order."""
        self.scheduler.say(
            "launch",
            shared=[{"witness": str(self.witness)}],
            tries=[
                {
                    "token": name, "grade": "warm", "version": 1, "worker_key": "k", "grace_us": 10_000_000,
                    "log": f"1/{name}.log", "shared": 0, "payload": {"call": call, "name": name},
                }
                for name, call in calls.items()
            ],
        )  # fmt: skip

    def results(self, *names: str) -> dict[str, Frame]:
        """The result of each, as soon as all are there."""
        return {name: self.scheduler.result(name) for name in names}

    @property
    def bodies(self) -> list[str]:
        """Which bodies ran, in order."""
        return self.witness.read_text().split()

    def let_go(self) -> None:
        """Ends those that wait."""
        self.witness.with_name("witness.go").touch()


@pytest.fixture
def batch(rig: Rig, tmp_path: Path) -> Batch:
    return Batch(rig, tmp_path)


def quick(count: int, prefix: str = "q") -> dict[str, str]:
    return {f"{prefix}{number}": "quick" for number in range(count)}


def test_each_body_runs_once_and_few_processes_serve_all(batch: Batch) -> None:
    batch.launch(**quick(200))
    results = batch.results(*quick(200))
    assert sorted(batch.bodies) == sorted(quick(200))
    assert {result["outcome"] for result in results.values()} == {"succeed"}
    assert len({result["frame"]["value"] for result in results.values()}) <= 4 * warm.HOT_WORKERS
    assert all(result["started_at"] <= result["ended_at"] for result in results.values())


def test_each_try_of_a_batch_has_its_own_log(batch: Batch, rig: Rig) -> None:
    calls = {f"t{number}": "prints" if number % 3 == 0 else "quick" for number in range(60)}
    batch.launch(**calls)
    batch.results(*calls)
    for name, call in calls.items():
        assert rig.log(name) == (f"I am {name}\n" if call == "prints" else "")


def test_a_long_try_holds_up_nobody_behind_it(batch: Batch) -> None:
    calls = {**quick(30), "long": "waits", **quick(60, "r")}
    batch.launch(**calls)
    batch.results(*quick(30), *quick(60, "r"))
    assert batch.scheduler.results("long") == 0
    batch.let_go()
    assert batch.scheduler.result("long")["outcome"] == "succeed"
    assert sorted(batch.bodies) == sorted(calls)


def test_s14_a_process_that_leaves_costs_only_the_try_it_was_with(batch: Batch) -> None:
    calls = {**quick(20), "gone": "exits", **quick(20, "r")}
    batch.launch(**calls)
    results = batch.results(*calls)
    assert results.pop("gone")["reason"] == Reason.NO_RESULT
    assert {result["outcome"] for result in results.values()} == {"succeed"}
    assert sorted(batch.bodies) == sorted(calls)


def test_what_follows_a_drift_runs_elsewhere(batch: Batch) -> None:
    calls = {**quick(20), "drifts": "environment", **quick(20, "r")}
    batch.launch(**calls)
    results = batch.results(*calls)
    assert {result["outcome"] for result in results.values()} == {"succeed"}
    assert sorted(batch.bodies) == sorted(calls)


def test_a_cancelled_try_behind_another_never_begins(batch: Batch) -> None:
    calls = {**{f"w{number}": "waits" for number in range(warm.HOT_WORKERS)}, **quick(3)}
    batch.launch(**calls)
    batch.scheduler.say("cancel", tokens=["q1"], grace_us=1_000_000, reason="cancelled")
    result = batch.scheduler.result("q1")
    assert result["outcome"] in {"cancel", "succeed"}  # it may have been over before
    batch.let_go()
    batch.results(*(name for name in calls if name != "q1"))
    assert ("q1" in batch.bodies) == (result["outcome"] == "succeed")


def test_a_request_in_the_middle_of_a_batch_is_answered_to_its_try(batch: Batch) -> None:
    calls = {**quick(10), "a": "asks", "b": "asks", **quick(10, "r")}
    batch.launch(**calls)
    for name in "ab":
        asked = batch.scheduler.frame("request", token=name)
        batch.scheduler.say("reply", token=name, id=asked["id"], ok=True, value=f"eu-{name}")
    results = batch.results(*calls)
    assert [results[name]["frame"]["value"] for name in "ab"] == ["eu-a", "eu-b"]
    assert sorted(batch.bodies) == sorted(calls)
