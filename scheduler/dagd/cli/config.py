"""`dagd config show | check | get`."""

from __future__ import annotations

from typing import Any

import click

from dagd.cli.context import settings
from dagd.cli.output import Column, Output, with_output
from dagd.model.errors import InvalidSettings, NotFound, did_you_mean
from dagd.model.settings import KEYS, Settings

HIDDEN = "***"


def shown(known: Settings, name: str) -> dict[str, Any]:
    """One setting's JSON; secrets are ***."""
    key, value = KEYS[name], known[name]
    if key.secret and value:
        value = without_password(str(value)) if "://" in str(value) else HIDDEN
    return {"key": name, "value": value, "origin": known.origins.get(name, "default"), "help": key.help}


def without_password(url: str) -> str:
    """A URL with its password as ***."""
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}{':' + HIDDEN if colon else ''}{at}{host}"


@click.command()
@click.option("--origin", is_flag=True, help="Where each value comes from.")
@with_output()
def show(out: Output, origin: bool) -> None:
    """Every setting in force."""
    known = settings()
    columns = [Column("key", "setting"), Column("value", "value")]
    columns += [Column("origin", "from")] if origin else []
    columns += [Column("help", "what it is", wide=True)]
    out.rows([shown(known, name) for name in KEYS], columns, name="key")


@click.command()
@with_output()
@click.pass_context
def check(ctx: click.Context, out: Output) -> None:
    """All problems of the settings at once; exit 1 when there are any."""
    found: list[str] = []
    try:
        settings()
    except InvalidSettings as error:
        found = error.what.splitlines()
    out.result({"ok": not found, "problems": found}, "\n".join(found) if found else "all settings are fine")
    out.flush()
    if found:
        ctx.exit(1)


@click.command()
@click.argument("key")
@with_output()
def get(out: Output, key: str) -> None:
    """One setting."""
    if key not in KEYS:
        raise NotFound(f"there is no setting {key!r}", remedy=did_you_mean(key, KEYS) or "See `dagd config show`.")
    row = shown(settings(), key)
    out.result(row, str(row["value"]), name="key")
