"""Requests of running tasks: answered from connections of their own, never by the loop."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from dagd.model.errors import DagdError, Refused
from dagd.observe.logs import ids
from dagd.runtime.masking import secrets_of_connection, secrets_of_variable
from dagd.store import requests
from dagd.store.database import Database
from dagd.store.secrets import Sealer

Frame = dict[str, Any]
LOG = logging.getLogger("dagd.reader")
WRITES = frozenset({"trigger", "set_variable", "delete_variable"})
# What a request may carry, by name. A task may send anything: what is not as here is refused before it is looked at.
TEXTS = frozenset({"key", "id", "dag_id", "run_id", "task_id", "state", "value", "description"})
LARGEST = 2**63


class Reader(threading.Thread):
    """One thread that answers task requests. `where` maps a token to its (run, task_no, map_index) or None."""

    def __init__(
        self, database: Database, sealer: Sealer, answer: Callable[[Frame], None],
        where: Callable[[str], tuple[int, int, int] | None],
    ) -> None:  # fmt: skip
        super().__init__(name="reader", daemon=True)
        self._database, self._sealer, self._answer, self._where = database, sealer, answer, where
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
            reply: Frame = {"token": frame["token"], "id": frame["id"], "ok": True}
            try:
                value, secrets = self._value(frame)
                reply["value"] = value
                if secrets:
                    reply["mask"] = secrets
            except (DagdError, requests.DatabaseProblem, LookupError, TypeError, ValueError) as error:
                if requests.is_away(error):
                    LOG.warning("a task's request waits for the database: %s", error)
                    self._inbox.put(frame)
                    threading.Event().wait(0.5)
                    continue
                reply.update(ok=False, error=_refusal(frame, error))
            self._answer(reply)

    def _value(self, frame: Frame) -> tuple[Any, list[str]]:
        place = self._where(frame["token"])
        if place is None:
            raise DagdError("this try is no longer the current one")
        check_arguments(frame["args"])
        if frame["kind"] in WRITES:
            return requests.write_for_task(self._database, frame["kind"], frame["args"], place), []
        value, masks = requests.read_for_task(self._database, self._sealer, frame["kind"], frame["args"], place)
        if frame["kind"] == "variable" and isinstance(value, str):
            masks = secrets_of_variable(str(frame["args"]["key"]), value)
        elif frame["kind"] == "connection" and isinstance(value, dict):
            masks = [*masks, *secrets_of_connection(value)]
        return value, [secret for secret in masks if secret]


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
