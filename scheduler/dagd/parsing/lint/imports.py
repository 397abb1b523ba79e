"""How long each import at the top level of a file takes, measured where the parser runs."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from typing import ClassVar

from dagd.parsing.results import Finding

HEAVY_S = 0.25


class ImportTimer:
    """A stop-watch that the executed file calls before and after each import: a wrapper around `__import__` would stand
    in every traceback. It counts CPU time, which a busy machine does not stretch."""

    NAME: ClassVar[str] = "__dagd_stop_watch__"

    def __init__(self) -> None:
        self._began = 0.0
        self._took: dict[tuple[int, str], float] = {}

    def __call__(self, line: int, names: str) -> None:
        now = time.process_time()
        if names:
            self._took[line, names] = now - self._began
        self._began = time.process_time()

    def around_imports(self, tree: ast.Module) -> ast.Module:
        """The tree with the calls in it; lines stay what they are."""
        for node in ast.walk(tree):
            for field in ("body", "orelse", "finalbody") if not isinstance(node, _FUNCTIONS) else ():
                block = getattr(node, field, None)
                if isinstance(block, list):
                    block[:] = [part for one in block for part in self._timed(one)]
        return tree

    def _timed(self, node: ast.stmt) -> Iterator[ast.stmt]:
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "module", None) == "__future__":
            yield node
            return
        names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
        yield self._call(node, "")
        yield node
        yield self._call(node, ", ".join(names))

    def _call(self, node: ast.stmt, names: str) -> ast.stmt:
        arguments: list[ast.expr] = [ast.Constant(node.lineno), ast.Constant(names)]
        call = ast.Expr(ast.Call(ast.Name(self.NAME, ast.Load()), arguments, []))
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def findings(self, shown: str) -> Iterator[Finding]:
        """The imports that were heavy."""
        for (line, names), took in self._took.items():
            if took >= HEAVY_S:
                what = f"importing {names} takes {took:.2f} s of CPU time, at each parse and in each process of a task"
                yield Finding("DAGD-L004", what, shown, line, "Import it inside the tasks that need it.")


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
