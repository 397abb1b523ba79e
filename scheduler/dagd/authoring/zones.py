"""The time zone of a DAG, and instants that were written without one."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from dagd.authoring.dag import DAG
from dagd.authoring.instants import exact_micros
from dagd.model.errors import InvalidSchedule, WrongArgument
from dagd.model.times import Micros
from dagd.timetables.schedules import zone_name


def dag_zone(dag: DAG, default: str) -> str:
    """`timezone=`, else the zone of `start_date` if it is named, else the default. Raises InvalidSchedule."""
    if dag.timezone is not None:
        name = _name_of(dag.timezone)
        if name is None:
            what = f"timezone={dag.timezone!r} has no name"
            raise InvalidSchedule(what, where=dag.where, remedy='Give an IANA name, such as "Europe/Berlin".')
        return name
    started = dag.start_date.tzinfo if dag.start_date is not None else None
    return (_name_of(started) if started is not None else None) or default


def _name_of(zone: str | tzinfo) -> str | None:
    if zone is UTC:
        return "UTC"
    try:
        return zone_name(zone)
    except InvalidSchedule:
        name = getattr(zone, "zone", None) or getattr(zone, "name", None)
        return name if isinstance(name, str) and ("/" in name or name == "UTC") else None


def instant_micros(name: str, instant: datetime | None, zone: str, dag: DAG) -> Micros | None:
    """An argument's instant; a naive one is read in the DAG's zone. Raises InvalidSchedule, WrongArgument."""
    if instant is None:
        return None
    if instant.tzinfo is None:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            instant = instant.replace(tzinfo=ZoneInfo(zone))
        except (ZoneInfoNotFoundError, ValueError):
            raise InvalidSchedule(f"unknown time zone {zone!r}", where=dag.where) from None
    try:
        return exact_micros(instant)
    except (OverflowError, ValueError):
        raise WrongArgument(f"{name}={instant!r} is out of range", where=dag.where) from None
