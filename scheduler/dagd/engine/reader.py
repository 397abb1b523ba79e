"""Requests of running tasks: answered from connections of their own, never by the loop.

A variable or connection is looked for in this process's environment, then in the database, then by the secrets hook.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from dagd.engine.environment import connection_from, variable_from
from dagd.engine.secrets_hook import SecretsHook
from dagd.model.errors import DagdError, Refused
from dagd.model.needs import check_need
from dagd.model.specs import DagSpec
from dagd.observe.logs import ids
from dagd.runtime.masking import secrets_of
from dagd.store import requests
from dagd.store.database import Database
from dagd.store.secrets import Sealer

Frame = dict[str, Any]
LOG = logging.getLogger("dagd.reader")
LOOKUPS = frozenset({"variable", "connection"})
WRITES = frozenset({"trigger", "set_variable", "delete_variable"})
# What a request may carry, by name. A task may send anything: what is not as here is refused before it is looked at.
TEXTS = frozenset({"key", "id", "dag_id", "run_id", "task_id", "state", "value", "description"})
LARGEST = 2**63


class Reader(threading.Thread):
    """One thread that answers task requests. `where` maps a token to its (run, task_no, map_index) or None, `whose` to
    its DAG."""

    def __init__(
        self, database: Database, sealer: Sealer, answer: Callable[[Frame], None],
        where: Callable[[str], tuple[int, int, int] | None], whose: Callable[[str], DagSpec | None],
        hook: SecretsHook | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name="reader", daemon=True)
        self._database, self._sealer, self._answer, self._where = database, sealer, answer, where
        self._whose, self._hook = whose, hook
        self._inbox: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    def ask(self, frame: Frame) -> None:
        """Queue a request frame."""
        self._inbox.put(frame)

    def stop(self) -> None:
        """End the thread after what is queued."""
        self._inbox.put(None)

    def run(self) -> None:
        """Answer requests until told to stop. While the database is away the task waits."""
        while (frame := self._inbox.get()) is not None:
            try:
                value = self._value(frame)
            except (DagdError, requests.DatabaseProblem, LookupError, TypeError, ValueError) as error:
                if requests.is_away(error):
                    LOG.warning("a task's request waits for the database: %s", error)
                    self._inbox.put(frame)
                    threading.Event().wait(0.5)
                    continue
                self._reply(frame, ok=False, error=_refusal(frame, error))
                continue
            if value is None and self._hook is not None and frame["kind"] in LOOKUPS:
                # It may take its time; what others ask the database for does not wait for it.
                threading.Thread(target=self._ask_hook, args=(self._hook, frame), daemon=True).start()
            else:
                self._reply_value(frame, value)

    def _ask_hook(self, hook: SecretsHook, frame: Frame) -> None:
        """In a thread of its own."""
        kind, args = frame["kind"], frame["args"]
        try:
            value = hook.variable(args["key"]) if kind == "variable" else hook.connection(args["id"])
        except DagdError as error:
            LOG.warning("%s", error)
            self._reply(frame, ok=False, error=_refusal(frame, error))
        else:
            self._reply_value(frame, value)

    def _reply_value(self, frame: Frame, value: Any) -> None:
        secrets = secrets_of(frame["kind"], frame["args"], value)
        self._reply(frame, ok=True, value=value, **({"mask": secrets} if secrets else {}))

    def _reply(self, frame: Frame, **fields: Any) -> None:
        self._answer({"token": frame["token"], "id": frame["id"], **fields})

    def _value(self, frame: Frame) -> Any:
        kind, args = frame["kind"], frame["args"]
        place, spec = self._where(frame["token"]), self._whose(frame["token"])
        if place is None or spec is None:
            raise DagdError("this try is no longer the current one")
        check_arguments(args)
        check_need(spec.needs, spec.dag_id, kind, args)
        if kind in WRITES:
            return requests.write_for_task(self._database, kind, args, place)
        if kind in LOOKUPS:
            found = variable_from(str(args["key"])) if kind == "variable" else connection_from(str(args["id"]))
            if found is not None:
                return found
        return requests.read_for_task(self._database, self._sealer, kind, args, place)


def check_arguments(args: dict[str, Any]) -> None:
    """Raises Refused for an argument that no task of ours sends."""
    for name, value in args.items():
        if name in TEXTS:
            is_right = isinstance(value, str)
        elif name == "conf":
            is_right = isinstance(value, dict)
        else:
            is_right = isinstance(value, int) and -LARGEST <= value < LARGEST
        if value is not None and not is_right:
            raise Refused(f"a request's {name!r:.80} cannot be {str(value)!r:.80}")


def _refusal(frame: Frame, error: Exception) -> dict[str, Any]:
    """Why a request has no answer. What cannot even be asked (a NUL in a key) must not end the thread."""
    if isinstance(error, DagdError):
        return {"code": error.code, "what": error.what, "remedy": error.remedy}
    LOG.warning("a task's request is refused", exc_info=error, extra=ids(token=frame["token"], kind=frame["kind"]))
    what = f"the {frame['kind']} cannot be looked up: {getattr(error, 'orig', None) or error}"
    return {"code": Refused.code, "what": what, "remedy": None}
