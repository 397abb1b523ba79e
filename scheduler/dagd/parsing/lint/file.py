"""Everything about one file: the rules over its text, over its DAGs, and what its author has waved through."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.dag import DAG
from dagd.model.specs import DagSpec
from dagd.parsing.lint.dags import lint_dag
from dagd.parsing.lint.imports import ImportTimer
from dagd.parsing.lint.text import lint_tree
from dagd.parsing.results import Finding, Pools

NOQA = re.compile(r"#\s*noqa(?::\s*(?P<codes>[A-Z]+-L\d+(?:[\s,]+[A-Z]+-L\d+)*))?", re.IGNORECASE)


class FileLint:
    """The lint of one file. `now` is in microseconds; `pools` are the known ones, None when nobody knows them."""

    def __init__(self, text: str, shown: str, *, now: int, pools: Pools | None) -> None:
        self._text, self._shown, self._now, self._pools = text, shown, now, pools
        self._timer = ImportTimer()
        try:
            self._tree: ast.Module | None = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self._tree = None  # the file's error says so

    def source(self) -> str | ast.Module:
        """What is to be executed: the file, with a stop-watch at each import at its top level."""
        if self._tree is None:
            return self._text
        return self._timer.around_imports(ast.parse(self._text))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within the block the stop-watch runs."""
        builtins.__dict__[self._timer.NAME] = self._timer
        try:
            yield
        finally:
            builtins.__dict__.pop(self._timer.NAME, None)

    def findings(self, dags: Sequence[DAG], specs: Sequence[DagSpec]) -> tuple[Finding, ...]:
        """What is to be said, by line; without DAGs (the file is broken) only what its text shows."""
        found = [Finding("DAGD-L001", what, where.file, where.line) for where, what in AMBIENT.warnings]
        if self._tree is not None:
            found += lint_tree(self._tree, self._shown)
            found += self._timer.findings(self._shown)
            for dag, spec in zip(dags, specs, strict=True):
                found += lint_dag(dag, spec, self._tree, now=self._now, pools=self._pools)
        waved = self._waved()
        kept = [one for one in dict.fromkeys(found) if not (one.file == self._shown and _is_waved(one, waved))]
        return tuple(sorted(kept, key=lambda one: (one.file != self._shown, one.file, one.line or 0, one.code)))

    def _waved(self) -> dict[int, set[str]]:
        """line -> codes that a comment there waves through; "" stands for all. A comment anywhere in a call that goes
        over several lines counts for the line where the call begins."""
        found: dict[int, set[str]] = {}
        for number, line in enumerate(self._text.splitlines(), 1):
            match = NOQA.search(line) if "noqa" in line.lower() else None
            if match is not None:
                codes = match["codes"]
                found[number] = {code.upper() for code in re.split(r"[\s,]+", codes)} if codes else {""}
        if not found or self._tree is None:
            return found
        for node in ast.walk(self._tree):
            if isinstance(node, (ast.Call, ast.Import, ast.ImportFrom)):
                for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                    if number in found:
                        found[node.lineno] = found.get(node.lineno, set()) | found[number]
        return found


def _is_waved(one: Finding, waved: dict[int, set[str]]) -> bool:
    codes = waved.get(one.line or 0, set())
    return "" in codes or one.code in codes
