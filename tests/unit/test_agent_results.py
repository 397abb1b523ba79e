"""From the end of a try to its result: a table of ends."""

from __future__ import annotations

from typing import Any

import pytest

from dagd.agent.logs import safe_path
from dagd.agent.results import Ending, Kill, conclude
from dagd.model.states import Reason

SUCCESS = {"outcome": "succeed", "value": 1}
FAILURE = {"outcome": "fail", "error": {"type": "E"}}
COMMAND = {"outcome": "fail", "reason": "exit code", "exit_code": 3, "signal": None, "error": {"type": "E"}}
CANCEL = Kill("cancel", "fail_fast")
LATE = Kill("fail", Reason.TIMEOUT, "too long")


@pytest.mark.parametrize(
    "ending, outcome, reason, exit_code, signal",
    [
        (Ending(frame=SUCCESS, status=0), "succeed", None, 0, None),
        (Ending(frame=SUCCESS, status=9), "succeed", None, None, 9),
        (Ending(frame=SUCCESS, status=None), "succeed", None, None, None),
        (Ending(frame=FAILURE, status=0), "fail", "exception", 0, None),
        (Ending(frame=COMMAND, status=0), "fail", "exit code", 3, None),
        (Ending(frame=SUCCESS, kill=CANCEL, status=15), "succeed", None, None, 15),
        (Ending(kill=CANCEL, status=15), "cancel", "fail_fast", None, 15),
        (Ending(kill=LATE, status=9), "fail", "execution_timeout", None, 9),
        (Ending(status=0), "fail", "no result", 0, None),
        (Ending(status=3 << 8), "fail", "exit code", 3, None),
        (Ending(status=11), "fail", "signal", None, 11),
        (Ending(status=None), "fail", "lost", None, None),
    ],
)
def test_s14_how_a_try_ended(ending: Ending, outcome: str, reason: Any, exit_code: Any, signal: Any) -> None:
    result = conclude(ending)
    assert (result["outcome"], result.get("reason")) == (outcome, reason)
    assert (result["exit_code"], result.get("signal")) == (exit_code, signal)


def test_a_silent_death_says_what_it_was() -> None:
    assert "SIGSEGV" in conclude(Ending(status=11))["error"]["message"]
    assert "out of memory" in conclude(Ending(status=9, out_of_memory=True))["error"]["message"]
    assert conclude(Ending(kill=LATE, status=9))["error"]["message"] == "too long"


@pytest.mark.parametrize("path", ["/etc/x", "../x", "1/../../x", ""])
def test_a_log_never_leaves_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="log path"):
        safe_path(path)
