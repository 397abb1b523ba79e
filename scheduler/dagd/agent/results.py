"""From the end of a try to its result frame: what it said, or why it said nothing."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from dagd.model.frames import Frame
from dagd.model.states import Reason


@dataclass(frozen=True, slots=True)
class Kill:
    """Why the agent ends a try: its outcome (`cancel` or `fail`), and the word for it."""

    outcome: str
    reason: str
    message: str = ""


@dataclass(slots=True)
class Ending:
    """What is known of how a try ended. `status` is as waitpid gives it, None when nobody could wait for it."""

    frame: Frame | None = None
    kill: Kill | None = None
    status: int | None = None
    error: dict[str, Any] | None = None
    out_of_memory: bool = False


def make_error(kind: str, message: str, **more: Any) -> dict[str, Any]:
    """An error in the shape that the runtime gives exceptions."""
    return {"type": kind, "message": message, "file": None, "line": None, "traceback": None, **more}


def conclude(ending: Ending) -> Frame:
    """The fields of a result that depend on how the try ended: outcome, frame, exit code, signal, reason, error.

    A frame that arrived before the kill stands; success is only ever an explicit frame.
    """
    said = ending.frame
    if said is not None and ending.status == 0 and said["outcome"] == "succeed" and "exit_code" not in said:
        return {"outcome": "succeed", "exit_code": 0, "frame": said}  # most of them: as short as it can be told
    exit_code, number = _status_parts(ending.status)
    facts: Frame = {"frame": None, "exit_code": exit_code, "signal": number, "error": ending.error}
    frame, kill = ending.frame, ending.kill
    if frame is not None:
        reason = frame.get("reason") or (Reason.EXCEPTION if frame["outcome"] == "fail" else None)
        # A shell command's own end, where the frame has it, is what people ask about.
        own = {name: frame.get(name) for name in ("exit_code", "signal")}
        own = own if any(value is not None for value in own.values()) else {}
        own |= {"outcome": frame["outcome"], "frame": frame, "reason": reason, "error": frame.get("error")}
        return facts | own
    if kill is not None:
        error = ending.error or (make_error("Killed", kill.message) if kill.message else None)
        return facts | {"outcome": kill.outcome, "reason": kill.reason, "error": error}
    reason, message = _silence(exit_code, number, out_of_memory=ending.out_of_memory)
    return facts | {"outcome": "fail", "reason": reason, "error": ending.error or make_error("NoResult", message)}


def conclude_status(status: int | None) -> tuple[str, str]:
    """The reason and the sentence for a process that ended with this wait status and said nothing."""
    return _silence(*_status_parts(status), out_of_memory=False)


def _silence(exit_code: int | None, number: int | None, *, out_of_memory: bool) -> tuple[str, str]:
    if number is not None:
        name = signal.Signals(number).name if number in signal.valid_signals() and number < 32 else str(number)
        because = ": the machine ran out of memory" if out_of_memory else ""
        return Reason.SIGNAL, f"the task's process was ended by {name}{because}"
    if exit_code:
        return Reason.EXIT_CODE, f"the task's process left with exit code {exit_code} and without a result"
    if exit_code == 0:
        return Reason.NO_RESULT, "the task's process left with exit code 0 and without a result"
    return Reason.LOST, "the process above the task was lost"


def _status_parts(status: int | None) -> tuple[int | None, int | None]:
    if status is None:
        return None, None
    if os.WIFSIGNALED(status):
        return None, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), None


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0
