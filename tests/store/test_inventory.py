"""Every public verb of the store is named in a test of this folder, so that a new one without a test fails."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
STORE = HERE.parents[1] / "scheduler" / "dagd" / "store"
# Used by every test of this folder, through tests/factories.py.
FACTORY = HERE.parent / "factories.py"


def verbs() -> Iterator[str]:
    """`module.function` and `Class.method` of every public function."""
    for path in sorted(STORE.glob("*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield f"{path.stem}.{node.name}"
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}"


def named() -> set[str]:
    """What the tests name: `a.b` as written, names that are imported alone, and attributes of whatever it is."""
    found: set[str] = set()
    for path in [*HERE.glob("test_*.py"), HERE / "conftest.py", FACTORY]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(f".{node.attr}")
                if isinstance(node.value, ast.Name):
                    found.add(f"{node.value.id}.{node.attr}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dagd.store."):
                module = (node.module or "").rpartition(".")[2]
                found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def test_every_verb_of_the_store_has_a_test() -> None:
    seen = named()
    aliases = {"database.": "databases."}
    untested = []
    for verb in verbs():
        owner, _, name = verb.partition(".")
        known = verb in seen or any(verb.replace(old, new, 1) in seen for old, new in aliases.items())
        if not known and not (owner[0].isupper() and f".{name}" in seen):
            untested.append(verb)
    assert untested == []


def test_the_inventory_sees_the_verbs() -> None:
    assert {"turns.write_plan", "shards.claim", "Sealer.unseal", "Database.lazy_read"} <= set(verbs())
    assert "turns.write_plan" in named()
    assert "turns.no_such_verb" not in named()
