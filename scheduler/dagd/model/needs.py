"""What a DAG says that it needs of the deployment: `needs={"variables": [...], "connections": [...], "dags": [...]}`.

A DAG that says nothing may ask for everything, as ever. One that says something may ask for that alone: a kind that it
leaves out is empty. A name may end in `*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagd.model.errors import Refused

Needs = Mapping[str, list[str]]
KINDS = ("variables", "connections", "dags")
# Which kind a request of a task is of, and which of its arguments has the name.
_ASKS = {
    "variable": ("variables", "key"), "set_variable": ("variables", "key"), "delete_variable": ("variables", "key"),
    "connection": ("connections", "id"),
}  # fmt: skip


def check_need(needs: Needs | None, dag_id: str, request: str, args: Mapping[str, Any]) -> None:
    """Raises Refused for a request that is none of the DAG's needs; its own runs and values are always its own."""
    if needs is None:
        return
    kind, argument = _ASKS.get(request, ("dags", "dag_id"))
    name = args.get(argument)
    if name is None or (kind == "dags" and name == dag_id):
        return
    if not any(_fits(str(name), pattern) for pattern in needs.get(kind, ())):
        what = f"the DAG {dag_id!r} does not say that it needs the {kind.removesuffix('s')} {str(name)!r:.80}"
        raise Refused(what, remedy=f"Add it to needs={{{kind!r}: [...]}} of the DAG.")


def _fits(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
