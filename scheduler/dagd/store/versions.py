"""What the processor writes: DAGs, versions with their sources, import errors, DAGs whose file is gone."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from dagd.model.specs import DagSpec, content_hash, spec_to_json, storable
from dagd.store import dialects
from dagd.store.database import new_key
from dagd.store.schema import asset, dag, dag_version, import_error, source, task, task_asset

SHARDS = 64


@dataclass(frozen=True, slots=True)
class FileError:
    """An error of one file, as `dagd dags errors` shows it."""

    file: str
    line: int | None
    code: str
    error: str
    traceback: str | None


def known_dags(connection: Connection) -> dict[str, Row[Any]]:
    """Every DAG by name."""
    return {row.name: row for row in connection.execute(select(dag))}


def known_errors(connection: Connection) -> dict[str, Row[Any]]:
    """Every import error by file."""
    return {row.file: row for row in connection.execute(select(import_error))}


def store_spec(connection: Connection, spec: DagSpec, sources: dict[str, str], now: int) -> tuple[int, bool]:
    """Make `spec` the DAG's current version; returns (version number, whether it is new). The DAG's row is made at
    first sight, its shard then and never again."""
    row = connection.execute(select(dag).where(dag.c.name == spec.dag_id)).first()
    if row is None:
        values = {
            "name": spec.dag_id, "shard": zlib.crc32(spec.dag_id.encode()) % SHARDS, "first_seen_at": now,
            "file": spec.file, "paused": spec.is_paused_upon_creation,
        }  # fmt: skip
        dag_id = new_key(connection.execute(insert(dag).values(**values)))
    else:
        dag_id = row.id
    text = spec_to_json(spec)
    hashes = {path: content_hash(body) for path, body in sources.items()}
    digest = content_hash(text, json.dumps(sorted(hashes.items())))
    known = connection.execute(
        select(dag_version.c.id, dag_version.c.number)
        .where(dag_version.c.dag_id == dag_id)
        .where(dag_version.c.hash == digest)
    ).first()
    if known is None:
        _number_tasks(connection, dag_id, spec)
        version_id, number = _insert_version(connection, dag_id, digest, text, hashes, now)
        _store_sources(connection, sources, hashes)
    else:
        version_id, number = known
    back: dict[str, Any] = {}
    if row is not None and row.missing_since is not None:
        back = {"missing_since": None, "found_again_at": now}
    if row is None or row.current_version != version_id or row.file != spec.file or back:
        connection.execute(
            update(dag).where(dag.c.id == dag_id).values(current_version=version_id, file=spec.file, held=None, **back)
        )
        _store_assets(connection, dag_id, spec)
    return int(number), known is None


def _insert_version(
    connection: Connection, dag_id: int, digest: str, text: str, hashes: dict[str, str], now: int
) -> tuple[int, int]:
    last = connection.execute(
        select(func.coalesce(func.max(dag_version.c.number), 0)).where(dag_version.c.dag_id == dag_id)
    ).scalar_one()
    result = connection.execute(
        insert(dag_version).values(
            dag_id=dag_id, number=last + 1, hash=digest, spec=text, sources=json.dumps(hashes), created_at=now
        )
    )
    return new_key(result), int(last) + 1


def _store_sources(connection: Connection, sources: dict[str, str], hashes: dict[str, str]) -> None:
    rows = [{"hash": hashes[path], "body": storable(body)} for path, body in sources.items()]
    if rows:
        connection.execute(dialects.insert_ignore(connection, source), rows)


def _number_tasks(connection: Connection, dag_id: int, spec: DagSpec) -> None:
    """Give each task_id that the DAG never had its number; numbers are never reused."""
    known = dict(connection.execute(select(task.c.task_id, task.c.task_no).where(task.c.dag_id == dag_id)).all())
    following = max(known.values(), default=0) + 1
    rows = []
    for one in spec.tasks:
        if one.task_id not in known:
            rows.append({"dag_id": dag_id, "task_no": following, "task_id": one.task_id})
            following += 1
    if rows:
        connection.execute(insert(task), rows)


def _store_assets(connection: Connection, dag_id: int, spec: DagSpec) -> None:
    for one in spec.assets:
        values = {
            "key": one.key, "uri": one.uri, "group_name": one.group, "owner": one.owner,
            "tags": json.dumps(list(one.tags)), "kind": one.kind,
        }  # fmt: skip
        statement = dialects.upsert(connection, asset, ["key"], ["uri", "group_name", "owner", "tags", "kind"])
        connection.execute(statement, values)
    numbers = dict(connection.execute(select(task.c.task_id, task.c.task_no).where(task.c.dag_id == dag_id)).all())
    named = {key for one in spec.tasks for key in (*one.inlets, *one.outlets)}
    ids = dict(connection.execute(select(asset.c.key, asset.c.id).where(asset.c.key.in_(named))).all()) if named else {}
    connection.execute(delete(task_asset).where(task_asset.c.dag_id == dag_id))
    rows = [
        {"dag_id": dag_id, "task_no": numbers[one.task_id], "asset_id": ids[key], "role": role}
        for one in spec.tasks
        for role, keys in (("in", one.inlets), ("out", one.outlets))
        for key in keys
        if key in ids
    ]
    if rows:
        connection.execute(insert(task_asset), rows)


def mark_missing(connection: Connection, names: Iterable[str], now: int) -> None:
    """The file of these DAGs is gone: no slot starts until it is back."""
    wanted = list(names)
    if wanted:
        connection.execute(
            update(dag).where(dag.c.name.in_(wanted), dag.c.missing_since.is_(None)).values(missing_since=now)
        )


def number_of(connection: Connection, name: str) -> int | None:
    """The number of a DAG's current version."""
    statement = select(dag_version.c.number).join(dag, dag.c.current_version == dag_version.c.id)
    return connection.execute(statement.where(dag.c.name == name)).scalar()


def put_error(connection: Connection, error: FileError, now: int, last_good: int | None) -> bool:
    """The file has this error now; `since` stays when it is the same one. True when it is another."""
    row = connection.execute(select(import_error).where(import_error.c.file == error.file)).first()
    values = {
        "line": error.line, "code": error.code, "error": error.error, "traceback": error.traceback,
        "last_good_version": last_good,
    }  # fmt: skip
    if row is None:
        connection.execute(insert(import_error).values(file=error.file, since=now, **values))
    elif (row.line, row.error, row.code) != (error.line, error.error, error.code):
        connection.execute(update(import_error).where(import_error.c.file == error.file).values(since=now, **values))
    else:
        return False
    return True


def clear_errors(connection: Connection, files: Iterable[str]) -> None:
    """These files are fine again, or gone."""
    wanted = list(files)
    if wanted:
        connection.execute(delete(import_error).where(import_error.c.file.in_(wanted)))
