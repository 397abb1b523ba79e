"""Tasks that do nothing: joins, starts, asset markers."""

from __future__ import annotations

from dagd.authoring.empty import EmptyOperator

__all__ = ["EmptyOperator"]
