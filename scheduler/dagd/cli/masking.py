"""Values as people may see them: what a stored variable or connection keeps secret is ***."""

from __future__ import annotations

import json
from typing import Any

from dagd.cli.context import settings
from dagd.model.errors import DagdError
from dagd.runtime.masking import Masker, secrets_of_connection, secrets_of_variable
from dagd.store import catalog
from dagd.store.secrets import open_sealer


def masker_of(connection: Any) -> Masker:
    """Knows every secret that is stored now. A connection that cannot be unsealed here is left out."""
    masker = Masker()
    for row in catalog.variables(connection):
        masker.add_all(secrets_of_variable(row.key, row.value))
    sealed = catalog.connections(connection)
    sealer = open_sealer(settings().home, settings()["secrets.connection_key"]) if sealed else None
    for row in sealed:
        try:
            body = json.loads(sealer.unseal(row.sealed)) if sealer else {}
        except DagdError:
            continue
        masker.add_all(secrets_of_connection(body))
    return masker


def mask_value(masker: Masker, value: Any) -> Any:
    """A JSON value with the secrets in its texts hidden."""
    if isinstance(value, str):
        return masker.mask(value)
    if isinstance(value, list):
        return [mask_value(masker, one) for one in value]
    if isinstance(value, dict):
        return {masker.mask(key): mask_value(masker, one) for key, one in value.items()}
    return value
