"""The pytest plugin: fixtures `dagbag`, `run_task`, `frozen_clock`. Found by its entry point.

It imports nothing but pytest until a test asks for a fixture, and does nothing in a project that uses none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dagd.testing

if TYPE_CHECKING:
    from dagd.testing import DagBag, FrozenClock, TaskResult

FOLDER = "dagd_dags_folder"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The folder of `dagbag`."""
    parser.addini(FOLDER, "Folder of the DAG files for the fixture dagbag (default: dagd's own setting)")


@pytest.fixture(scope="session")
def dagbag(request: pytest.FixtureRequest) -> DagBag:
    """The parsed DAG folder; errors are data. Another folder: `@pytest.mark.parametrize("dagbag", [path],
    indirect=True)`."""
    config = request.config
    given = getattr(request, "param", None) or config.getini(FOLDER)
    base = config.inipath.parent if config.inipath is not None and not hasattr(request, "param") else config.rootpath
    return dagd.testing.DagBag(base / Path(given) if given else None)


@pytest.fixture
def frozen_clock() -> FrozenClock:
    """A clock that stands still at 2026-01-01 00:00 UTC until `set`, `tick`, or a run that waits moves it."""
    return dagd.testing.FrozenClock()


@pytest.fixture
def run_task(request: pytest.FixtureRequest) -> Callable[..., TaskResult]:
    """`dagd.testing.run_task`, on the test's `frozen_clock` if it has one. A dag_id is looked up in `dagbag`."""
    clock = request.getfixturevalue("frozen_clock") if "frozen_clock" in request.fixturenames else None

    def find(dag_id: str) -> Any:
        return request.getfixturevalue("dagbag").get_dag(dag_id)

    return partial(dagd.testing.run_task, clock=clock, find=find)
