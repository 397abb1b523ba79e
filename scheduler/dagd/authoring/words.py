"""Words that users write: trigger rules, weight rules, ids."""

from __future__ import annotations

import re
from enum import StrEnum

from dagd.model.errors import InvalidId, SourceRef, WrongArgument, did_you_mean

_ID = re.compile(r"[A-Za-z0-9_.~:+-]{1,250}")


class TriggerRule(StrEnum):
    """When a task runs, given how its direct upstreams ended."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"


class WeightRule(StrEnum):
    """How `priority_weight` becomes the priority: with all below it, all above it, or as it is."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    ABSOLUTE = "absolute"


def check_word(name: str, value: object, words: list[str], where: SourceRef | None) -> str:
    """`value` as one of `words`. Raises WrongArgument with the nearest one."""
    text = str(value.value) if isinstance(value, StrEnum) else value
    if isinstance(text, str) and text in words:
        return text
    remedy = (did_you_mean(text, words) if isinstance(text, str) else None) or f"Known: {', '.join(words)}"
    raise WrongArgument(f"{name}={value!r} is not known", where=where, remedy=remedy)


def check_id(kind: str, value: object, where: SourceRef | None) -> str:
    """`value` as an id. Raises InvalidId."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    raise InvalidId(f"{kind} {value!r} is not valid", where=where)
