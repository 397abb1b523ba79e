"""Limits of one try: what runs into them fails alone, with a reason that a person can read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.test_agent_rig import *  # noqa: F403
from tests.integration.test_agent_rig import Rig

SOURCE = """
import os, resource

def limits(channel, launch):
    names = ("AS", "NOFILE", "NPROC", "CPU")
    return [resource.getrlimit(getattr(resource, "RLIMIT_" + name))[0] for name in names]

def grows(channel, launch):
    return len(bytearray(1 << 30))

def opens(channel, launch):
    return len([os.open("/dev/null", os.O_RDONLY) for _ in range(100)])

def burns(channel, launch):
    while True:
        pass
"""


@pytest.mark.parametrize("grade", ["fork", "warm", "spawn"])
def test_each_grade_has_the_limits_and_what_exceeds_them_fails_alone(make_rig: Callable[..., Rig], grade: str) -> None:
    rig = make_rig(task_memory_mb=800, task_files=60, task_processes=5000, task_cpu_s=1)
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    found = scheduler.run("a", call="limits", grade=grade)["frame"]["value"]
    assert (found[:3], found[3] == 1) == ([800 << 20, 60, 5000], grade != "warm")
    assert scheduler.run("b", call="grows", grade=grade)["error"]["type"] == "MemoryError"
    assert scheduler.run("c", call="opens", grade=grade)["error"]["type"] == "OSError"
    if grade != "warm":
        burned = scheduler.run("d", call="burns", grade=grade)
        assert (burned["outcome"], burned["reason"]) == ("fail", "signal")
        assert "SIGXCPU" in burned["error"]["message"]
    assert scheduler.run("e", call="limits", grade=grade)["outcome"] == "succeed"


def test_without_settings_a_try_has_the_limits_of_the_agent(rig: Rig) -> None:
    scheduler = rig.scheduler()
    scheduler.version(SOURCE)
    assert scheduler.run("a", call="limits")["frame"]["value"][0] == -1
