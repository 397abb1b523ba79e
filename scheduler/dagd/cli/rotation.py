"""`dagd connections rotate-key`: a new key seals everything, the old ones are kept until they are forgotten."""

from __future__ import annotations

import click

from dagd.cli.connections import sealer_of
from dagd.cli.context import confirm, settings
from dagd.cli.opening import opened
from dagd.cli.output import Output, with_output
from dagd.model.errors import Refused, UsageError
from dagd.model.settings import Settings
from dagd.store import catalog, requests
from dagd.store.database import Database
from dagd.store.secrets import add_home_key, drop_old_home_keys

STEP = 100


@click.command()
@click.option("--forget-old", is_flag=True, help="Make no new key: forget the old ones, when nothing needs them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_output()
def rotate_key(out: Output, forget_old: bool, yes: bool) -> None:
    """Seal every connection with a new key. Old keys stay readable until --forget-old.

    With keys from secrets.connection_key put the new one first there; this seals with it what old ones have sealed.
    """
    known = settings()
    is_ours = not known["secrets.connection_key"]
    if forget_old and not is_ours:
        raise UsageError("the keys come from secrets.connection_key", remedy="Take the old ones out there.")
    with opened(known) as database:
        if forget_old:
            confirm("Forget all keys but the newest", yes=yes)
        elif is_ours:
            _add_key(database, known)
        changed = reseal_all(database, known)
        forgotten = _forget(database, known) if forget_old else 0
    told = f"{changed} connections sealed with the newest key"
    out.result({"resealed": changed, "forgotten_keys": forgotten}, f"{told}, {forgotten} old keys forgotten")


def reseal_all(database: Database, known: Settings) -> int:
    """All connections, a step a transaction; returns how many had an older key."""
    sealer, after, changed = sealer_of(known), "", 0
    while True:
        with database.write() as connection:
            after, some = catalog.reseal_connections(connection, sealer, after, STEP, requests.user_name())
        changed += some
        if not after:
            return changed


def _add_key(database: Database, known: Settings) -> None:
    with database.write() as connection:
        requests.write_audit(connection, requests.user_name(), "connections rotate-key", "*", "a new key")
        add_home_key(known.home)


def _forget(database: Database, known: Settings) -> int:
    sealer = sealer_of(known)
    with database.write() as connection:
        # In one transaction with a last look, so that nothing is sealed with an old key in between.
        for row in catalog.connections(connection):
            if sealer.reseal(row.sealed) is not None:
                raise Refused(f"{row.id!r} was sealed with an old key meanwhile", remedy="Try again.")
        forgotten = drop_old_home_keys(known.home)
        requests.write_audit(connection, requests.user_name(), "connections forget-keys", "*", f"{forgotten} keys")
    return forgotten
