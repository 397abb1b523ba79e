"""ISO 8601 durations, and what `dagd schedules preview` takes as a schedule."""

from __future__ import annotations

import re

from dagd.model.errors import InvalidSchedule
from dagd.model.times import SECOND
from dagd.timetables.schedules import Cron, Spec, schedule_spec, step_spec

_DURATION = re.compile(
    r"P(?=[\dT])(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:[.,](?P<fraction>\d{1,6}))?S)?)?",
    re.ASCII,
)
# Longer than the calendar, and short enough for a timedelta to show it.
_LONGEST_DIGITS = 8


def duration_spec(text: str) -> Spec:
    """The spec of an ISO 8601 duration such as P1M or PT90S: years and months are calendar steps, a duration without
    them is elapsed time (P1D is 24 hours). Raises InvalidSchedule for one that is malformed, zero or negative."""
    found = _DURATION.fullmatch(text)
    if found is None or any(len(digits) > _LONGEST_DIGITS for digits in re.findall(r"\d+", text)):
        negative = text.startswith("-") or "-" in text
        raise InvalidSchedule(
            f"duration {text!r} {'is negative' if negative else 'cannot be read'}",
            remedy="Write PnYnMnWnDTnHnMnS with whole numbers, such as P1M, P2W, PT90S or P1DT12H.",
        )
    n = {name: int(digits or 0) for name, digits in found.groupdict().items()}
    seconds = n["hours"] * 3600 + n["minutes"] * 60 + n["seconds"]
    fraction = int((found["fraction"] or "").ljust(6, "0"))
    return step_spec(
        text,
        months=n["years"] * 12 + n["months"],
        days=n["weeks"] * 7 + n["days"],
        micros=seconds * SECOND + fraction,
    )


def preview_spec(text: str, *, seconds: bool = False) -> Spec:
    """The spec of a cron, a preset or an ISO 8601 duration as typed; `seconds` allows a cron's sixth field."""
    text = text.strip()
    if re.match(r"[+-]?P", text):
        return duration_spec(text)
    if seconds and not text.startswith("@"):
        return schedule_spec(Cron(text, seconds=True))
    return schedule_spec(text)
