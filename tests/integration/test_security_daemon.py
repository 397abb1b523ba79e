"""Attacks on a daemon from inside a task and from inside a DAG file, by the same user. What holds is in SECURITY.md."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.e2e.home import Home
from tests.integration.security_kit import attacked, plain_home


class Found(NamedTuple):
    """What the attacks gave."""

    home: Home
    task: dict[str, Any]
    parsed: dict[str, Any]


@pytest.fixture(scope="module")
def found() -> Iterator[Found]:
    """One daemon, attacked once; each test reads one answer."""
    with plain_home() as home:
        yield Found(home, *attacked(home))


REFUSED = {"PermissionError"}


@pytest.fixture(params=["task", "parsed"])
def answers(request: pytest.FixtureRequest, found: Found) -> dict[str, Any]:
    """The answers from inside a task, and from inside a DAG file at its parse."""
    given: dict[str, Any] = getattr(found, request.param)
    assert "error" not in given, given
    return given


def test_the_attacks_see_the_processes_that_they_attack(answers: dict[str, Any]) -> None:
    assert {"dagd-agent", "dagd-keeper", "dagd-root", "dagd-log"} <= set(answers["count_of_others"])
    assert len(answers["count_of_others"]) >= 6  # those, the scheduler, the processor


def test_no_setting_of_the_daemon_is_in_the_environment_of_user_code(found: Found) -> None:
    assert found.task["own_environment"] == ["DAGD_TRY"]
    assert found.parsed["own_environment"] == []


def test_no_key_or_password_can_be_read_from_any_environment_or_command_line(answers: dict[str, Any]) -> None:
    assert answers["environ_of_all"] == []


@pytest.mark.parametrize("attack", ["files_of_others", "memory_of_others"])
def test_no_descriptor_and_no_memory_of_the_daemon_can_be_read(answers: dict[str, Any], attack: str) -> None:
    assert set(answers[attack]) == REFUSED


@pytest.mark.parametrize("attack", ["trace_others", "take_descriptors"])
def test_the_daemon_can_be_neither_traced_nor_robbed_of_its_sockets(answers: dict[str, Any], attack: str) -> None:
    assert set(answers[attack]) == {"Operation not permitted"}


def test_nobody_leaves_a_core_file(answers: dict[str, Any]) -> None:
    assert answers["core_files"] == [0, 0]


@pytest.mark.parametrize("attack", ["command_the_agent", "command_it_from_a_stray"])
def test_user_code_cannot_speak_to_the_agent_as_a_scheduler(answers: dict[str, Any], attack: str) -> None:
    assert answers[attack] == "closed"


def test_files_of_dagd_are_private_and_those_of_tasks_have_the_umask_of_the_user(found: Found) -> None:
    own = [path for path in found.home.path.rglob("*") if not path.is_symlink()]
    assert len(own) > 8
    assert [str(path) for path in (found.home.path, *own) if path.stat().st_mode & 0o077] == []
    assert stat.S_IMODE((found.home.folder / "task.txt").stat().st_mode) == 0o644
