"""What `dagd dags check` says beyond errors: things that work, and surprise later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from dagd.authoring.dag import DAG
from dagd.authoring.mapped import MappedOperator

_CLOCKS = {"now", "utcnow", "today"}


def lint_text(text: str, shown: str) -> Iterator[str]:
    """Clocks read while the file is imported: each parse then makes another DAG."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in _at_top(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CLOCKS:
            name = ast.unparse(node.func)
            yield f"{shown}:{node.lineno}: {name}() at the top level differs at each parse; use a fixed date"


def _at_top(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that an import executes: bodies of functions are left out."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                pending.append(child)


def lint_dag(dag: DAG, shown: str) -> Iterator[str]:
    """What is doubtful about one DAG."""
    for name in ("start_date", "end_date"):
        instant = getattr(dag, name)
        if instant is not None and instant.tzinfo is None:
            yield f"{shown}:{dag.where.line}: {name}={instant} has no time zone; it is read in the DAG's"
    if not dag.tasks:
        yield f"{shown}:{dag.where.line}: the DAG {dag.dag_id!r} has no tasks"
    for task in dag.tasks:
        for field in _shell_fields(task):
            if "|" in field and "raw" in field.replace(" ", "").split("|", 1)[1][:40]:
                yield f"{shown}:{task.where.line}: `| raw` in the command of {task.task_id!r}: the value is not quoted"


def _shell_fields(task: Any) -> Iterator[str]:
    cls = task.operator_class if isinstance(task, MappedOperator) else type(task)
    for name in getattr(cls, "shell_fields", ()):
        value = task.shared.get(name) if isinstance(task, MappedOperator) else getattr(task, name, None)
        if isinstance(value, str):
            yield value
