"""Rules over a file's syntax tree: what its import does each time that the file is parsed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dagd.parsing.results import Finding

CLOCKS = {"now", "utcnow", "today"}


def lint_tree(tree: ast.Module, shown: str) -> Iterator[Finding]:
    """Clocks and variables that are read while the file is imported."""
    for node in at_top(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = ast.unparse(node.func)
        if node.func.attr in CLOCKS:
            what = f"{name}() at the top level differs at each parse"
            yield Finding("DAGD-L002", what, shown, node.lineno, "Use a fixed date; inside a task, logical_date.")
        elif name.endswith("Variable.get"):
            what = f"{name}() at the top level is asked at each parse, and again by the processes of its tasks"
            yield Finding("DAGD-L003", what, shown, node.lineno, "Ask inside the task, or write {{ var.value.KEY }}.")


def at_top(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that an import executes: bodies of functions are left out."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop(0)
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                pending.append(child)


def functions_by_line(tree: ast.Module) -> dict[int, ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function by the line that its code object names: that of its first decorator, else of its `def`."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


def choices_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[frozenset[str]] | None:
    """What a branch function may choose, when each of its returns is written out; the last one is for running off the
    end. None when a return is computed."""
    found: list[frozenset[str]] = []
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return):
            chosen = _written(node.value)
            if chosen is None:
                return None
            found += chosen
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            return None
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            pending += ast.iter_child_nodes(node)
    return [*dict.fromkeys(found), frozenset()] if found else None


def _written(value: ast.expr | None) -> list[frozenset[str]] | None:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return [frozenset()]
    if isinstance(value, ast.Constant):
        return [frozenset({value.value})] if isinstance(value.value, str) else None
    if isinstance(value, ast.IfExp):
        body, other = _written(value.body), _written(value.orelse)
        return None if body is None or other is None else body + other
    if isinstance(value, (ast.List, ast.Tuple)):
        names = [one.value for one in value.elts if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        return [frozenset(names)] if len(names) == len(value.elts) else None
    return None
