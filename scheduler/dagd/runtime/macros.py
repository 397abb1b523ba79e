"""`macros` of templates, with Airflow's names, and the date filters."""

from __future__ import annotations

import random
import time
import uuid
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any


def ds_add(ds: str, days: int) -> str:
    """A date (YYYY-MM-DD) some days later, or earlier if negative."""
    return (date.fromisoformat(str(ds)) + timedelta(days=days)).isoformat() if days else str(ds)


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """A date in another format (strptime's and strftime's codes)."""
    return datetime.strptime(str(ds), input_format).strftime(output_format)  # noqa: DTZ007 - a date has no zone


def datetime_diff_for_humans(dt: Any, since: Any = None) -> str:
    """The distance of two instants in words; from now when there is but one."""
    import pendulum

    moment = pendulum.instance(dt)
    return str(moment.diff_for_humans() if since is None else moment.diff_for_humans(pendulum.instance(since)))


class Macros(SimpleNamespace):
    """What templates call `macros`."""

    @property
    def dateutil(self) -> Any:
        """The package dateutil."""
        import dateutil.parser
        import dateutil.relativedelta

        return dateutil


MACROS = Macros(
    ds_add=ds_add,
    ds_format=ds_format,
    datetime_diff_for_humans=datetime_diff_for_humans,
    datetime=datetime,
    timedelta=timedelta,
    time=time,
    uuid=uuid,
    random=random.random,
)


# The modules among them: templates see these, and nothing that they have imported themselves.
OFFERED = frozenset({"time", "uuid", "dateutil"})


def show_ds(value: Any) -> str:
    """An instant as YYYY-MM-DD."""
    return str(value.strftime("%Y-%m-%d"))


def show_ds_nodash(value: Any) -> str:
    """An instant as YYYYMMDD."""
    return str(value.strftime("%Y%m%d"))


def show_ts(value: Any) -> str:
    """An instant in ISO 8601."""
    return str(value.isoformat())


def show_ts_nodash(value: Any) -> str:
    """An instant as YYYYMMDDTHHMMSS."""
    return str(value.strftime("%Y%m%dT%H%M%S"))


def show_ts_nodash_with_tz(value: Any) -> str:
    """An instant as YYYYMMDDTHHMMSS+0000."""
    return (
        show_ts(value).replace("-", "").replace(":", "")
        if value.tzinfo is None
        else (value.strftime("%Y%m%dT%H%M%S%z"))
    )


FILTERS = {
    "ds": show_ds,
    "ds_nodash": show_ds_nodash,
    "ts": show_ts,
    "ts_nodash": show_ts_nodash,
    "ts_nodash_with_tz": show_ts_nodash_with_tz,
}
