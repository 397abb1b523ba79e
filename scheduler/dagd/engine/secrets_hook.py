"""The secrets hook: a command or an installed package that is asked for what neither environment nor database has.

It is asked by the scheduler and the processor, never by a task: a task's process knows neither the hook nor its
settings. Answers are kept in memory for a while, absent ones too.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from dagd.engine.environment import connection_fields
from dagd.model.errors import InvalidSettings, Refused, did_you_mean
from dagd.model.settings import Settings
from dagd.parsing.sandbox import clean_environment

ENTRY_POINTS = "dagd.secrets"
NOT_FOUND = 3  # the exit code of a command that has no such secret, as `dagd variables get` has it
MOST_KEPT = 10_000

Ask = Callable[[str, str], Any]


class SecretsHook:
    """Answers by `ask(kind, name)`, where kind is variable or connection; None means that there is none."""

    def __init__(self, name: str, ask: Ask, cache_s: float) -> None:
        self.name, self._ask, self._cache_s = name, ask, cache_s
        self._known: dict[tuple[str, str], tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def variable(self, key: str) -> str | None:
        """A variable. Raises Refused when the hook fails: its words are not repeated, they may hold the secret."""
        found = self._look_up("variable", key)
        return found if found is None or isinstance(found, str) else str(found)

    def connection(self, conn_id: str) -> dict[str, Any] | None:
        """A connection's fields. Raises Refused."""
        found = self._look_up("connection", conn_id)
        what = f"the connection {conn_id!r} from the secrets hook {self.name!r}"
        return None if found is None else connection_fields(found, what)

    def _look_up(self, kind: str, name: str) -> Any:
        with self._lock:
            until, value = self._known.get((kind, name), (0.0, None))
        if time.monotonic() < until:
            return value
        try:
            value = self._ask(kind, name)
        except Exception as error:  # a hook is code of the deployment's own and may raise anything
            why = str(error) if isinstance(error, HookFailed) else type(error).__name__
            raise Refused(
                f"the secrets hook {self.name!r} failed for the {kind} {name!r}: {why}",
                remedy="Ask it by hand; what it says itself is on the scheduler's standard error.",
            ) from None
        with self._lock:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[kind, name] = (time.monotonic() + self._cache_s, value)
        return value


class HookFailed(Exception):
    """A hook gave no answer; the words are ours and hold nothing of its own."""


def open_hook(settings: Settings) -> SecretsHook | None:
    """The hook of the settings, or None. Raises InvalidSettings."""
    command, named = settings["secrets.command"], settings["secrets.entry_point"]
    timeout, cache = settings["secrets.timeout_s"], settings["secrets.cache_s"]
    if command and named:
        raise InvalidSettings("secrets.command and secrets.entry_point are both set", remedy="Remove one of them.")
    if command:
        return SecretsHook(command[0], _by_command(command, timeout), cache)
    return SecretsHook(named, _by_entry_point(named, timeout), cache) if named else None


def _by_command(command: list[str], timeout_s: float) -> Ask:
    """`command... variable|connection NAME`: exit 0 and the value on standard output, or exit 3."""

    def ask(kind: str, name: str) -> str | None:
        try:
            done = subprocess.run(
                [*command, kind, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=timeout_s,
                check=False, env=clean_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise HookFailed(f"no answer within {timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            raise HookFailed(getattr(error, "strerror", None) or "it cannot be started") from None
        if done.returncode == NOT_FOUND:
            return None
        if done.returncode:
            raise HookFailed(f"exit code {done.returncode}")
        try:
            return done.stdout.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise HookFailed("what it printed is no UTF-8") from None

    return ask


def _by_entry_point(name: str, timeout_s: float) -> Ask:
    """An object, or a class of one, with `get_variable(key)` and `get_connection(conn_id)`."""
    known = entry_points(group=ENTRY_POINTS)
    if name not in known.names:
        remedy = did_you_mean(name, known.names) or f"Its entry point belongs in the group {ENTRY_POINTS!r}."
        raise InvalidSettings(f"no installed package has a secrets hook {name!r}", remedy=remedy)
    loaded = known[name].load()
    return ask_object(loaded() if isinstance(loaded, type) else loaded, timeout_s)


def ask_object(backend: Any, timeout_s: float) -> Ask:
    """Ask a Python object, in a thread: one that hangs holds nobody up for longer than its time, nor a stop."""
    methods: Mapping[str, Any] = {"variable": backend.get_variable, "connection": backend.get_connection}

    def ask(kind: str, name: str) -> Any:
        answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def call() -> None:
            try:
                answers.put((methods[kind](name), None))
            except Exception as error:
                answers.put((None, error))

        threading.Thread(target=call, name="secrets hook", daemon=True).start()
        try:
            value, error = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise HookFailed(f"no answer within {timeout_s:g} s") from None
        if error is not None:
            raise error
        return value

    return ask
