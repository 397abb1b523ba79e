"""The tables. Invariants stand here first, as constraints, each with its sentence.

Instants are BIGINT microseconds UTC; states and kinds are SMALLINT codes of `model.states`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from dagd.model.states import AttemptState, CommandState, DeadlineState, RunState
from dagd.store.schema_backfill import backfill as backfill
from dagd.store.schema_base import Id, codes
from dagd.store.schema_base import metadata as metadata

dag = Table(
    "dag",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", String(250), nullable=False, unique=True),
    Column("shard", SmallInteger, nullable=False),
    Column("paused", Boolean, nullable=False, default=False),
    Column("unpaused_at", BigInteger),
    Column("current_version", BigInteger),
    Column("first_seen_at", BigInteger, nullable=False),
    Column("missing_since", BigInteger),
    Column("found_again_at", BigInteger),
    Column("file", Text, nullable=False),
    Column("next_due", BigInteger),
    Column("scheduled_version", BigInteger),
    Column("last_slot", BigInteger),
    Column("held", Text),
)

dag_version = Table(
    "dag_version",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("dag_id", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("dag_id", "hash"),
    UniqueConstraint("dag_id", "number"),
)

source = Table(
    "source",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("body", Text, nullable=False),
)

task = Table(
    "task",
    metadata,
    Column("dag_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("task_id", String(250), nullable=False),
    UniqueConstraint("dag_id", "task_id"),
)

dag_run = Table(
    "dag_run",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("dag_id", BigInteger, nullable=False),
    Column("run_id", String(250), nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("verdict", SmallInteger),
    Column("reason", Text),
    Column("version_id", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("logical_at", BigInteger),
    Column("interval_start", BigInteger),
    Column("interval_end", BigInteger),
    Column("slot", BigInteger),
    Column("request_key", String(250)),
    Column("conf", Text, nullable=False, default="{}"),
    Column("partition", Text),
    Column("backfill_id", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    CheckConstraint(f"state IN ({codes(RunState)})", name="state"),
    # A run is found by its name; no two runs of a DAG share one.
    UniqueConstraint("dag_id", "run_id"),
    # S1: a slot has one run.
    UniqueConstraint("dag_id", "slot"),
    # A request key names one run.
    UniqueConstraint("dag_id", "request_key"),
)
Index("ix_dag_run_active", dag_run.c.dag_id, sqlite_where=text("state < 10"), postgresql_where=text("state < 10"))
Index("ix_dag_run_created", dag_run.c.dag_id, dag_run.c.due_at)

attempt = Table(
    "attempt",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("try_no", Integer, primary_key=True, autoincrement=False),
    Column("token", String(64), unique=True),
    Column("leg", Integer, nullable=False, default=1),
    Column("state", SmallInteger, nullable=False),
    Column("queued_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("agent", Text),
    Column("pid", BigInteger),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("reason", Text),
    Column("error", Text),
    Column("next_try_at", BigInteger),
    Column("charged", SmallInteger, nullable=False, default=0),
    Column("stop_requested", Text),
    # The request that cleared or marked it; below zero, the backfill that took its run over.
    Column("superseded_by", BigInteger),
    Column("resume_at", BigInteger),
    Column("leg_state", Text),
    Column("label", Text),
    Column("waits_for", Text),
    Column("gives_up_at", BigInteger),
    CheckConstraint(f"state IN ({codes(AttemptState)})", name="state"),
    sqlite_with_rowid=False,
)
# S3: an instance has one live try.
Index(
    "uq_attempt_active",
    attempt.c.run_id,
    attempt.c.task_no,
    attempt.c.map_index,
    unique=True,
    sqlite_where=text("state < 10"),
    postgresql_where=text("state < 10"),
)
# S2: an instance succeeds once, until a clear or mark says otherwise. (A marked success is a row with try_no 0.)
Index(
    "uq_attempt_success",
    attempt.c.run_id,
    attempt.c.task_no,
    attempt.c.map_index,
    unique=True,
    sqlite_where=text("state = 10 AND superseded_by IS NULL"),
    postgresql_where=text("state = 10 AND superseded_by IS NULL"),
)

map_expansion = Table(
    "map_expansion",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
)

xcom = Table(
    "xcom",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("map_index", Integer, primary_key=True, autoincrement=False),
    Column("key", String(250), primary_key=True),
    Column("body", Text),
    Column("file", String(64)),
    Column("length", Integer),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

asset = Table(
    "asset",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("uri", Text),
    Column("group_name", Text),
    Column("owner", Text),
    Column("tags", Text, nullable=False, default="[]"),
    Column("kind", Text, nullable=False, default="table"),
)

task_asset = Table(
    "task_asset",
    metadata,
    Column("dag_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("asset_id", BigInteger, primary_key=True, autoincrement=False),
    Column("role", String(3), primary_key=True),
)

asset_event = Table(
    "asset_event",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("asset_id", BigInteger, nullable=False),
    Column("partition_key", Text, nullable=False, default=""),
    Column("kind", SmallInteger, nullable=False),
    Column("dag_id", BigInteger),
    Column("run_id", BigInteger),
    Column("task_no", Integer),
    Column("map_index", Integer),
    Column("try_no", Integer),
    Column("data_version", Text),
    Column("data_time", BigInteger),
    Column("metadata", Text),
    Column("source_key", Text, nullable=False),
    Column("ts", BigInteger, nullable=False),
    # A report that arrives twice is one event.
    UniqueConstraint("source_key", "asset_id", "partition_key", "kind"),
)
Index("ix_asset_event_asset", asset_event.c.asset_id, asset_event.c.ts)

asset_sub = Table(
    "asset_sub",
    metadata,
    Column("dag_id", BigInteger, primary_key=True, autoincrement=False),
    Column("asset_id", BigInteger, primary_key=True, autoincrement=False),
)

asset_delivery = Table(
    "asset_delivery",
    metadata,
    # S7: an event reaches a consumer once; the row says which run took it.
    Column("dag_id", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", SmallInteger, nullable=False),
    Column("run_id", BigInteger),
    Column("dropped_at", BigInteger),
    Column("error", Text),
)
_open = text("run_id IS NULL AND dropped_at IS NULL")
Index("ix_asset_delivery_open", asset_delivery.c.shard, sqlite_where=_open, postgresql_where=_open)
Index("ix_asset_delivery_run", asset_delivery.c.run_id)

pool = Table(
    "pool",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", String(250), nullable=False, unique=True),
    Column("slots", Integer, nullable=False),
    Column("description", Text),
)

pool_quota = Table(
    "pool_quota",
    metadata,
    # What a scheduler may use of a pool; the quotas of a pool never exceed its slots.
    Column("pool_id", BigInteger, primary_key=True, autoincrement=False),
    Column("scheduler_id", BigInteger, primary_key=True, autoincrement=False),
    Column("slots", Integer, nullable=False),
)

shard = Table(
    "shard",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", BigInteger),
    Column("wanted_by", BigInteger),
)

scheduler = Table(
    "scheduler",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("home", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("heartbeat", BigInteger, nullable=False),
    Column("alive", Boolean, nullable=False),
    Column("lag_us", BigInteger, nullable=False, default=0),
)

component = Table(
    "component",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("host", String(250), primary_key=True),
    Column("pid", BigInteger, nullable=False),
    Column("heartbeat", BigInteger, nullable=False),
    Column("detail", Text),
)

deadline = Table(
    "deadline",
    metadata,
    Column("run_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(60), primary_key=True),
    Column("dag_id", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("fired_at", BigInteger),
    Column("met_at", BigInteger),
    CheckConstraint(f"state IN ({codes(DeadlineState)})", name="state"),
)

import_error = Table(
    "import_error",
    metadata,
    Column("file", Text, primary_key=True),
    Column("line", Integer),
    Column("code", String(20), nullable=False),
    Column("error", Text, nullable=False),
    Column("traceback", Text),
    Column("since", BigInteger, nullable=False),
    Column("last_good_version", BigInteger),
)

variable = Table(
    "variable",
    metadata,
    Column("key", String(250), primary_key=True),
    Column("value", Text, nullable=False),
    Column("description", Text),
)

connection = Table(
    "connection",
    metadata,
    Column("id", String(250), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("description", Text),
)

command = Table(
    "command",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("kind", String(40), nullable=False),
    Column("dag_id", BigInteger, nullable=False),
    Column("run_id", BigInteger),
    Column("payload", Text, nullable=False),
    Column("request_key", String(250)),
    Column("state", SmallInteger, nullable=False),
    Column("result", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("done_at", BigInteger),
    CheckConstraint(f"state IN ({codes(CommandState)})", name="state"),
    UniqueConstraint("kind", "dag_id", "request_key"),
)
Index("ix_command_new", command.c.id, sqlite_where=text("state = 1"), postgresql_where=text("state = 1"))

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("topic", String(40), nullable=False),
    Column("subject", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("next_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("error", Text),
)
_undelivered = text("delivered_at IS NULL")
Index("ix_outbox_open", outbox.c.next_at, sqlite_where=_undelivered, postgresql_where=_undelivered)

audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text),
)
