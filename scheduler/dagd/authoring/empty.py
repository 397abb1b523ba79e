"""EmptyOperator: a join, a start, an asset marker."""

from __future__ import annotations

from typing import Any, ClassVar

from dagd.authoring.operator import BaseOperator


class EmptyOperator(BaseOperator):
    """Does nothing. The scheduler settles it itself, without a process."""

    is_empty: ClassVar[bool] = True
    ui_color = "#e8f7e4"

    def execute(self, context: Any) -> None:
        """Nothing."""
