"""What a try may say on its channel: frames of user code's process, read by processes that serve everybody.

A frame that is not as here ends its try and nothing else. Unknown fields pass; known ones have the type and size that
the database and the scheduler count on, so that no forged frame makes a turn fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dagd.model.frames import Frame
from dagd.model.specs import storable
from dagd.model.triggers import check_trigger

OUTCOMES = frozenset({"succeed", "fail", "skip", "defer"})
# Values that spill to a file are named by the hash of their content: no other name ever becomes a path.
SPILLED = re.compile(r"[0-9a-f]{64}")
LONGEST_KEY = 250
LAST_INSTANT = 253_402_300_799_999_999  # the last microsecond of the year 9999
Check = Callable[[Any], bool]


def is_request(frame: Frame) -> bool:
    """Whether a frame asks for something in the protocol's shape. Who is asked looks at `args`."""
    kind, number, args = frame.get("kind"), frame.get("id"), frame.get("args")
    return isinstance(kind, str) and isinstance(number, int) and isinstance(args, dict)


def is_result(frame: Frame) -> bool:
    """Whether a frame tells the end of a leg, with nothing in it that the scheduler cannot take."""
    outcome = frame.get("outcome")
    return isinstance(outcome, str) and outcome in OUTCOMES and _fits(frame, _RESULT)


def _fits(found: Mapping[str, Any], shape: dict[str, Check]) -> bool:
    return all(value is None or name not in shape or shape[name](value) for name, value in found.items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and ((value.isascii() and "\0" not in value) or storable(value) == value)


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and -(2**31) <= value < 2**31


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**31


def _is_instant(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= LAST_INSTANT


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(one) for one in value)


def _is_rendered(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_text, value.values()))


def _is_retry(value: Any) -> bool:
    return isinstance(value, dict) and _fits(value, {"action": _is_text, "delay_us": _is_instant})


def _is_xcom(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and _is_key(one.get("key")) and _fits(one, _VALUE) for one in value
    )


def _is_key(value: Any) -> bool:
    return _is_text(value) and 0 < len(value) <= LONGEST_KEY


def _is_assets(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and _fits(one, _ASSET) for one in value)


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_instant, value))


def _is_trigger(value: Any) -> bool:
    try:
        check_trigger(value)
    except (ValueError, TypeError, AttributeError):
        return False
    is_ready = value["kind"] != "time" or value.get("at") is not None
    return is_ready and _fits(value, {"every_us": _is_instant, "max_wait_us": _is_instant, "at": _is_instant})


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_VALUE: dict[str, Check] = {
    "text": _is_text, "file": lambda name: isinstance(name, str) and SPILLED.fullmatch(name) is not None,
    "length": _is_count, "size": _is_count,
}  # fmt: skip
_ASSET: dict[str, Check] = {
    "asset": _is_text, "data_version": _is_text, "data_time": _is_instant, "partition": _is_text,
}  # fmt: skip
_RESULT: dict[str, Check] = {
    "xcom": _is_xcom, "rendered": _is_rendered, "assets": _is_assets, "branch": _is_texts, "label": _is_text,
    "message": _is_text, "reason": _is_text, "error": _is_object, "retry": _is_retry, "state": _is_object,
    "map_length": _is_count, "exit_code": _is_small, "signal": _is_small, "until": _is_instant,
    "poke_every_us": _is_instant, "at": _is_span, "trigger": _is_trigger, "timeout_us": _is_instant,
}  # fmt: skip
