"""What branches have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagd.authoring.operator import BaseOperator
from dagd.authoring.python import BranchMixIn


class BaseBranchOperator(BranchMixIn, BaseOperator):
    """Subclasses define `choose_branch(context)`: the id or ids to go on with, None or [] for none."""

    default_isolation = "warm"

    def choose_branch(self, context: Any) -> str | Iterable[str] | None:
        """The ids of tasks or groups to go on with."""
        raise TypeError(f"{type(self).__name__} defines no choose_branch(context)")

    def execute(self, context: Any) -> Any:
        """Choose."""
        return self.do_branch(context, self.choose_branch(context))


def as_list(names: str | Iterable[str]) -> list[str]:
    """One id, or several, as a list."""
    return [names] if isinstance(names, str) else list(names)
