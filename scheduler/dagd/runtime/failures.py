"""How a try's exception becomes its result frame: where it was, what a retry policy says, secrets masked."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any

from dagd.authoring.ambient import AMBIENT, is_ours
from dagd.authoring.instants import plain_duration
from dagd.authoring.outcomes import CommandFailed, FailTask, SensorTimeout, SkipTask
from dagd.authoring.policies import RetryAction
from dagd.model.errors import DagdError
from dagd.model.states import Reason
from dagd.model.times import delta_micros
from dagd.runtime.masking import Masker

if TYPE_CHECKING:
    from dagd.runtime.context import Context

_LONGEST = 64 * 1024


def describe_error(error: BaseException, masker: Masker | None = None, folder: str | None = None) -> dict[str, Any]:
    """{type, message, file, line, traceback}: the place is the innermost one in the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not is_ours(frame.filename)]
    place = next((f for f in reversed(frames) if folder and f.filename.startswith(folder)), None)
    place = place or (theirs[-1] if theirs else frames[-1] if frames else None)
    file, line = (place.filename, place.lineno) if place else (None, None)
    if isinstance(error, SyntaxError) and error.filename and not is_ours(error.filename):
        file, line = error.filename, error.lineno
    first = next((i for i, frame in enumerate(frames) if not is_ours(frame.filename)), 0)
    shown = traceback.TracebackException.from_exception(error)
    if isinstance(error, DagdError) and theirs:
        last = max(i for i, frame in enumerate(frames) if not is_ours(frame.filename))
        del shown.stack[last + 1 :]  # where in dagd the sentence was composed helps nobody
    del shown.stack[:first]
    text = "".join(shown.format())
    mask = masker.mask if masker else str
    return {
        "type": type(error).__name__,
        "message": _cut(mask(str(error))),
        "file": AMBIENT.show_path(file) if file else None,
        "line": line,
        "traceback": _cut(mask(text)),
    }


def _cut(text: str) -> str:
    """The head and the tail of a long text."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}\n... {len(text) - _LONGEST:,} characters left out ...\n{text[-half:]}"


def skip_frame(error: SkipTask, masker: Masker) -> dict[str, Any]:
    """The frame of a try that skips itself."""
    return {"outcome": "skip", "message": masker.mask(str(error))}


def failure_frame(error: BaseException, context: Context | None = None, masker: Masker | None = None) -> dict[str, Any]:
    """The frame of a try that failed."""
    folder = context.loaded.folder.rstrip(os.sep) + os.sep if context else None
    frame: dict[str, Any] = {
        "outcome": "fail",
        "error": describe_error(error, masker, folder),
        "no_retry": isinstance(error, FailTask),
        "retry": {"action": "default", "delay_us": None},
        "reason": Reason.EXCEPTION,
    }
    if isinstance(error, SensorTimeout):
        frame["reason"] = Reason.SENSOR_TIMEOUT
    elif isinstance(error, CommandFailed):
        frame["reason"] = Reason.EXIT_CODE if error.exit_code is not None else Reason.SIGNAL
        frame["exit_code"], frame["signal"] = error.exit_code, error.signal
    if context is not None and context.task.retry_policy is not None and not isinstance(error, FailTask):
        frame["retry"] = _ask_policy(error, context)
    return frame


def _ask_policy(error: BaseException, context: Context) -> dict[str, Any]:
    """What the task's retry policy says. A policy that fails itself counts as none, and is told in the log."""
    ti = context.ti
    try:
        decision = context.task.retry_policy.evaluate(error, ti.try_number, ti.max_tries, context)
        action = RetryAction(getattr(decision, "action", decision) or RetryAction.DEFAULT)
        delay = getattr(decision, "retry_delay", None)
        return {"action": action.value, "delay_us": None if delay is None else delta_micros(plain_duration(delay))}
    except Exception:
        print("the retry policy failed; the task's own retries count:")
        traceback.print_exc()
        return {"action": "default", "delay_us": None}


def error_text(error: BaseException) -> str:
    """An error in one line."""
    return str(error) if isinstance(error, DagdError) else f"{type(error).__name__}: {error}"
