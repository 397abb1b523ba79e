"""For the tests of DAGs: `DagBag`, `run_task`, `FrozenClock`, `XComs`; fixtures of the same names come with pytest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "DagBag": "dagd.testing.bag",
    "FrozenClock": "dagd.engine.local_clock",
    "TaskResult": "dagd.testing.tasks",
    "XComs": "dagd.engine.local_mocks",
    "run_task": "dagd.testing.tasks",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Loaded when first used: pytest imports this package in every project that has dagd installed."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dagd.testing' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


if TYPE_CHECKING:
    from dagd.engine.local_clock import FrozenClock as FrozenClock
    from dagd.engine.local_mocks import XComs as XComs
    from dagd.testing.bag import DagBag as DagBag
    from dagd.testing.tasks import TaskResult as TaskResult
    from dagd.testing.tasks import run_task as run_task
