"""The rules of this code base that a linter does not know, over the syntax tree of each file.

`offences(path, text)` names every breach in one file. A rule is a function from a `Source` to (line, what is wrong); it
is registered under its own name, and `test_house_rules.py` holds at least one bad and one good example of each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

FILE_LINES = 400
FUNCTION_LINES = 40
LONG_FUNCTION_LINES = 60
OWN = {"dagd", "dagd_operators"}
# These load our modules by name on purpose: the lazy command group, and the lazy exports of packages.
LAZY_LOADERS = {"scheduler/dagd/cli/main.py", "scheduler/dagd/__init__.py", "scheduler/dagd/testing/__init__.py"}
TIMELESS = {"model", "authoring", "decide", "timetables", "store"}
PRINTERS = {"cli", "runtime"}
SLEEPERS = {"chaos", "benchmark"}

CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")),
    *(f"time.{name}" for name in ("localtime", "gmtime", "ctime", "process_time", "clock_gettime", "clock_gettime_ns")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
    *(f"pendulum.{name}" for name in ("now", "today", "yesterday", "tomorrow")),
}
IMPURE_MODULES = {"asyncio", "os", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
VAGUE_NAME = re.compile(r"(^|_)(manager|helper|util)s?$|^handle_", re.IGNORECASE)
SQL_WRITES_STATE = re.compile(
    r"\bUPDATE\b(?:(?!\bWHERE\b).)*\bSET\b(?:(?!\bWHERE\b).)*\bstate\s*=|\bINSERT\s+INTO\s+[\w.\"]+\s*\([^)]*\bstate\b",
    re.IGNORECASE | re.DOTALL,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = Iterator[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Offence:
    """One breach of one rule."""

    rule: str
    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}  [{self.rule}]"


class Source:
    """One file: its path in the project, its text, its tree, and what its names stand for."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.parts = PurePosixPath(path).parts
        self.lines = text.splitlines()
        self.tree = ast.parse(text, path)

    @property
    def package(self) -> str:
        """The floor's package, such as "store"; the tier for a test; "" for what lies in no package."""
        depth = 1 if self.parts[0] == "tests" else 2
        return self.parts[depth] if len(self.parts) > depth + 1 else ""

    @property
    def is_ours(self) -> bool:
        """Whether this is shipped code, not a test."""
        return self.parts[0] in {"scheduler", "operators"}

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node."""
        return list(ast.walk(self.tree))

    @cached_property
    def functions(self) -> list[Function]:
        """Every function and method."""
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each imported name stands for: `from time import monotonic as m` gives m -> time.monotonic."""
        known: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                known.update({a.asname: a.name for a in node.names if a.asname})
            elif isinstance(node, ast.ImportFrom) and not node.level:
                known.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
        return known

    def dotted(self, node: ast.AST) -> str:
        """The full name that an expression stands for, such as "datetime.datetime.now"; "" when it is no name."""
        if isinstance(node, ast.Name):
            return self.meanings.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (owner := self.dotted(node.value)):
            return f"{owner}.{node.attr}"
        return ""

    def calls(self, root: ast.AST | None = None) -> Iterator[tuple[ast.Call, str]]:
        """Every call with the full name of what is called."""
        for node in self.nodes if root is None else ast.walk(root):
            if isinstance(node, ast.Call):
                yield node, self.dotted(node.func)


RULES: dict[str, Callable[[Source], Found]] = {}


def rule(check: Callable[[Source], Found]) -> Callable[[Source], Found]:
    """Register a rule under its name."""
    RULES[check.__name__] = check
    return check


def offences(path: str, text: str) -> list[Offence]:
    """Every breach of every rule in one file."""
    source = Source(path, text)
    return [Offence(name, path, line, what) for name, check in RULES.items() for line, what in check(source)]


# --- size and shape --------------------------------------------------------------------------------------------------


@rule
def file_is_short(source: Source) -> Found:
    if source.is_ours and len(source.lines) > FILE_LINES:
        yield FILE_LINES, f"{len(source.lines)} lines, more than {FILE_LINES}: split it by duty"


@rule
def function_is_short(source: Source) -> Found:
    for function in source.functions if source.is_ours else ():
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        head = "\n".join(source.lines[function.lineno - 1 : function.body[0].lineno])
        reason = re.search(r"#? ?long: \S", f"{head}\n{ast.get_docstring(function) or ''}")
        limit = LONG_FUNCTION_LINES if reason else FUNCTION_LINES
        if length > limit:
            yield function.lineno, f"{function.name} has {length} lines, more than {limit} (60 with `# long: reason`)"


@rule
def name_says_a_role(source: Source) -> Found:
    if not source.is_ours:
        return
    if VAGUE_NAME.search(PurePosixPath(source.path).stem):
        yield 1, "a file is named by its role"
    for node in source.nodes:
        if isinstance(node, (ast.ClassDef, *Function.__args__)):
            words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name)
            if VAGUE_NAME.search(words):
                yield node.lineno, f"{node.name} does not say its role"


# --- imports and hidden state ----------------------------------------------------------------------------------------


@rule
def own_imports_stand_at_the_top(source: Source) -> Found:
    for function in source.functions if source.is_ours else ():
        for node in ast.walk(function):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if not node.level else ["dagd"]
            if any(name.partition(".")[0] in OWN for name in names):
                yield (
                    node.lineno,
                    "one of our own modules is imported inside a function: the cycle that it hides is the fault",
                )


@rule
def own_modules_are_not_loaded_by_name(source: Source) -> Found:
    if not source.is_ours or source.path in LAZY_LOADERS:
        return
    for call, name in source.calls():
        if name in {"importlib.import_module", "__import__"} and call.args:
            start = next((n for n in ast.walk(call.args[0]) if isinstance(n, ast.Constant)), None)
            if start and str(start.value).partition(".")[0] in OWN:
                yield call.lineno, "only the command line loads our modules by name"


@rule
def nothing_is_global(source: Source) -> Found:
    for node in source.nodes if source.is_ours else ():
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}: hand it down instead"


# --- time ------------------------------------------------------------------------------------------------------------


@rule
def instants_are_aware(source: Source) -> Found:
    for call, name in source.calls() if source.is_ours else ():
        if not name.startswith(("datetime.", "pendulum.")) or "# naive: " in source.lines[call.lineno - 1]:
            continue
        if _is_naive(name, call):
            yield call.lineno, f"{name}() without a zone (where a local time is meant, say so: `# naive: reason`)"


def _is_naive(name: str, call: ast.Call) -> bool:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    zone: ast.expr | None
    match name:
        case "datetime.datetime.utcnow" | "datetime.datetime.utcfromtimestamp" | "pendulum.naive":
            return True
        case "datetime.datetime.today" | "datetime.date.today" | "datetime.date.fromtimestamp":
            return True
        case "datetime.datetime":
            zone = keywords.get("tzinfo") or (call.args[7] if len(call.args) > 7 else None)
        case "datetime.datetime.now":
            zone = keywords.get("tz") or (call.args[0] if call.args else None)
        case "datetime.datetime.fromtimestamp":
            zone = keywords.get("tz") or (call.args[1] if len(call.args) > 1 else None)
        case _:
            return False
    starred = any(isinstance(arg, ast.Starred) for arg in call.args) or None in keywords
    absent = zone is None or (isinstance(zone, ast.Constant) and zone.value is None)
    return absent and not starred


@rule
def timeless_code_reads_no_clock(source: Source) -> Found:
    for node in source.nodes if source.is_ours and source.package in TIMELESS else ():
        if isinstance(node, (ast.Attribute, ast.Name)) and (name := source.dotted(node)) in CLOCKS:
            yield node.lineno, f"{name} in {source.package}: `now` comes in as an argument"


@rule
def decisions_are_pure(source: Source) -> Found:
    for node in source.nodes if source.is_ours and source.package == "decide" else ():
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in IMPURE_MODULES:
                yield node.lineno, f"decide imports {name}: ids, chance and instants come in as arguments"
        if isinstance(node, ast.Attribute) and re.fullmatch(r"random\.(?!Random$)\w+", source.dotted(node)):
            yield node.lineno, "decide throws unseeded dice: a random.Random(seed) comes in"


@rule
def tests_wait_on_facts(source: Source) -> Found:
    if source.parts[0] != "tests" or source.package in SLEEPERS or "dags" in source.parts:
        return
    for call, name in source.calls():
        if name in {"time.sleep", "asyncio.sleep"}:
            yield call.lineno, f"{name} in a test: wait on the fact"


# --- what is said, and what is swallowed -----------------------------------------------------------------------------


@rule
def only_the_command_line_prints(source: Source) -> Found:
    for call, name in source.calls() if source.is_ours and source.package not in PRINTERS else ():
        if name == "print":
            yield call.lineno, "print outside cli and runtime"


@rule
def no_error_is_swallowed(source: Source) -> Found:
    broad = {"Exception", "BaseException"}
    for node in source.nodes if source.is_ours else ():
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            silent = all(isinstance(step, (ast.Pass, ast.Continue)) or _is_text(step) for step in node.body)
            if silent and any(kind is None or source.dotted(kind) in broad for kind in kinds):
                yield node.lineno, "every error is caught and none is told"
        elif isinstance(node, ast.Call) and source.dotted(node.func) == "contextlib.suppress":
            if any(source.dotted(arg) in broad for arg in node.args):
                yield node.lineno, "every error is suppressed and none is told"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# --- state -----------------------------------------------------------------------------------------------------------


@rule
def only_transitions_write_state(source: Source) -> Found:
    if not source.is_ours or source.package != "store" or source.parts[-1] == "transitions.py":
        return
    texts = {id(step.value) for step in source.nodes if _is_text(step) and isinstance(step, ast.Expr)}
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            if SQL_WRITES_STATE.search(node.value):
                yield node.lineno, "SQL that writes a state outside transitions.py"
    for scope in _scopes(source):
        if any(name.rpartition(".")[2] in {"insert", "update", "values"} for _, name in _all_calls(source, scope)):
            for line in _state_writes(source, scope):
                yield line, "a state is written outside transitions.py"


def _scopes(source: Source) -> list[ast.AST]:
    """The functions that stand in no other function, and the statements outside of any."""
    outer = {id(inner) for f in source.functions for inner in ast.walk(f) if inner is not f}
    functions: list[ast.AST] = [f for f in source.functions if id(f) not in outer]
    return functions + [step for step in source.tree.body if not isinstance(step, (*Function.__args__, ast.ClassDef))]


def _all_calls(source: Source, scope: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """As `calls`, with methods of unnamed objects under their own name: `f(x).values()` gives "values"."""
    for call, name in source.calls(scope):
        yield call, name or (call.func.attr if isinstance(call.func, ast.Attribute) else "")


def _state_writes(source: Source, scope: ast.AST) -> Iterator[int]:
    for call, name in _all_calls(source, scope):
        if name.rpartition(".")[2] in {"values", "dict"} and any(k.arg == "state" for k in call.keywords):
            yield call.lineno
    for node in ast.walk(scope):
        for key in node.keys if isinstance(node, ast.Dict) else ():
            is_text = isinstance(key, ast.Constant) and key.value == "state"
            if key is not None and (is_text or source.dotted(key).endswith(".c.state")):
                yield key.lineno
