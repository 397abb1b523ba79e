"""Forking a process of one thread without the repairs that only threads make necessary.

`threading` and `logging` mend their locks in every forked child, and `random` seeds itself anew there. Written into
copies of memory pages, that was half of what a fork costs here. In a process of one thread no lock can be held by
another, and the seed can be drawn before the fork instead of after it. So these three get their hooks registered in a
way that `fork_quietly` can pass over. Whatever else forks, such as a task's own code below threads, has them as ever.

Import this before any of the three. What was imported already keeps its hooks, and a fork merely costs more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

Hook = Callable[[], object]


class QuietHooks:
    """What stands in for os.register_at_fork while the three are imported."""

    def __init__(self) -> None:
        self._register: Callable[..., None] = os.register_at_fork
        self._is_quiet = False

    def import_module(self, name: str) -> Any:
        """The module, with hooks that can be passed over."""
        os.register_at_fork = self._take  # type: ignore[assignment]
        try:
            return import_module(name)
        finally:
            os.register_at_fork = self._register

    def _take(self, **hooks: Hook) -> None:
        self._register(**{moment: self._unless_quiet(hook) for moment, hook in hooks.items()})

    def _unless_quiet(self, hook: Hook) -> Hook:
        return lambda: None if self._is_quiet else hook()

    def fork(self) -> int:
        """os.fork without them, as parent or as child."""
        self._is_quiet = True
        try:
            return os.fork()
        finally:
            self._is_quiet = False


_HOOKS = QuietHooks()
for _name in ("threading", "logging"):
    _HOOKS.import_module(_name)
_RANDOM = _HOOKS.import_module("random")


def fork_quietly() -> int:
    """os.fork, for a process that has but one thread. The child's random numbers are its own."""
    _RANDOM.seed()
    return _HOOKS.fork()
