"""Shell commands."""

from __future__ import annotations

from dagd.authoring.bash import BashOperator

__all__ = ["BashOperator"]
