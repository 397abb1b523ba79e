"""`on_*_callback`: user code told of an outcome, as a launch of its own."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from dagd.authoring.ambient import AMBIENT, Asker
from dagd.authoring.empty import EmptyOperator
from dagd.model.errors import NotFound
from dagd.runtime.context import Context
from dagd.runtime.loading import LoadedDag


class TaskFailed(Exception):
    """What a failure callback finds as `context["exception"]`: the words of the task's own exception."""


def call_all(functions: Iterable[Callable[..., Any]] | None, context: Context) -> list[str]:
    """Call each with the context; the errors of those that raise, which are told in the log and stop no other."""
    errors: list[str] = []
    for function in functions or ():
        try:
            function(context)
        except Exception as error:
            errors.append(f"{getattr(function, '__name__', function)}: {type(error).__name__}: {error}")
            print("a callback failed:", file=sys.stderr)
            traceback.print_exc()
    return errors


def run_callback(loaded: LoadedDag, launch: dict[str, Any], channel: Asker) -> dict[str, Any]:
    """Call the functions that a task or DAG has for an event. Fails when one of them raises. Raises NotFound."""
    told = launch["callback"]
    event = str(told["event"]).removeprefix("on_").removesuffix("_callback")
    task_id = launch.get("task_id")
    owner: Any = loaded.dag.get_task(task_id) if task_id else loaded.dag
    task = owner if task_id else EmptyOperator(task_id="dag", dag=None)
    context = Context(loaded, task, launch, channel)
    context["exception"] = _as_exception(told.get("error"))
    context["reason"] = told.get("reason") or _message(told.get("error"))
    AMBIENT.context = context
    errors = call_all(_functions(owner, event, told), context)
    if not errors:
        return {
            "outcome": "succeed",
            "xcom": [],
            "map_length": None,
            "branch": None,
            "short_circuit": None,
            "assets": [],
        }
    detail = {"type": "CallbackFailed", "message": "; ".join(errors), "file": None, "line": None, "traceback": ""}
    return {"outcome": "fail", "error": detail, "no_retry": False, "retry": {"action": "default", "delay_us": None}}


def _functions(owner: Any, event: str, told: dict[str, Any]) -> list[Callable[..., Any]]:
    if event in {"deadline", "sla", "sla_miss"}:
        # The place of a deadline is that among the compiled ones: `sla` is the first of them.
        found = [*([None] if owner.sla else []), *(one.callback for one in owner.deadline or ())]
        position = told.get("index")
        return [one for one in (found if position is None else found[position : position + 1]) if one is not None]
    if not hasattr(owner, f"on_{event}_callback"):
        raise NotFound(f"there is no callback for the event {event!r}")
    return list(getattr(owner, f"on_{event}_callback") or ())


def _message(error: Any) -> str | None:
    if isinstance(error, dict):
        return f"{error.get('type')}: {error.get('message')}"
    return None if error is None else str(error)


def _as_exception(error: Any) -> Exception | None:
    text = _message(error)
    return None if text is None else TaskFailed(text)
