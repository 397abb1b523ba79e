"""What every table is made of: the metadata with its names of constraints, the type of ids, the codes of a CHECK."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives ids only to INTEGER PRIMARY KEY; Postgres wants BIGINT.
Id = BigInteger().with_variant(Integer, "sqlite")


def codes(states: type[IntEnum]) -> str:
    """The codes of an enumeration as SQL."""
    return ", ".join(str(state.value) for state in states)
