"""The compiled form of what users write: `DagSpec`, stored as canonical JSON; all that the floors share about a DAG.

Durations are integer microseconds (`_us`), instants microseconds UTC (`_at`), asset references are asset keys. Every
field has a JSON form of its own type, so `to_json` and `from_json` are exact inverses.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class DeadlineSpec:
    """A promise about time. `by`: start | finish | duration; `after`: due | created | started."""

    by: str
    after: str
    within_us: int
    even_if_failed: bool = False
    has_callback: bool = False


@dataclass(frozen=True, slots=True)
class MapSource:
    """Where a mapped argument's items come from.

    `kind`: literal (length `count`) | xcom (`task_id`, `key`) | zip / concat (over `parts`).
    """

    kind: str
    count: int = 0
    task_id: str = ""
    key: str = "return_value"
    parts: tuple[MapSource, ...] = ()
    longest: bool = False

    def xcom_sources(self) -> tuple[str, ...]:
        """The task_ids whose values this source reads, in order, without repeats."""
        if self.kind == "xcom":
            return (self.task_id,)
        return tuple(dict.fromkeys(name for part in self.parts for name in part.xcom_sources()))


@dataclass(frozen=True, slots=True)
class ExpandSpec:
    """How a task or group is mapped. `kind`: product (last argument fastest) | kwargs (one source of dicts)."""

    kind: str
    names: tuple[str, ...]
    sources: tuple[MapSource, ...]

    def xcom_sources(self) -> tuple[str, ...]:
        """The task_ids that must have ended before the length is known."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.xcom_sources()))


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task. `upstreams` are direct upstream task_ids, sorted."""

    task_id: str
    operator: str
    line: int | None = None
    upstreams: tuple[str, ...] = ()
    trigger_rule: str = "all_success"
    retries: int = 0
    retry_delay_us: int = 300_000_000
    retry_factor: float = 1.0
    max_retry_delay_us: int | None = None
    retry_jitter: float = 0.0
    infra_retries: int = 3
    on_lost: str = "retry"
    execution_timeout_us: int | None = None
    cancel_grace_us: int = 10_000_000
    pool: str = "default_pool"
    pool_slots: int = 1
    priority: int = 1
    queue: str = "default"
    executor: str | None = None
    isolation: str = "fork"
    worker_key: str | None = None
    depends_on_past: bool = False
    wait_for_downstream: bool = False
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    allow_failure: bool = False
    decides: str | None = None
    is_setup: bool = False
    is_teardown: bool = False
    setups: tuple[str, ...] = ()
    on_failure_fail_dagrun: bool = False
    expand: ExpandSpec | None = None
    mapped_group: str | None = None
    group: str | None = None
    xcom_inputs: tuple[tuple[str, str], ...] = ()
    inlets: tuple[str, ...] = ()
    outlets: tuple[str, ...] = ()
    deadlines: tuple[DeadlineSpec, ...] = ()
    callbacks: tuple[str, ...] = ()
    sensor_timeout_us: int | None = None
    soft_fail: bool = False
    owner: str = "dagd"
    doc_md: str | None = None
    label: str | None = None

    @property
    def is_engine_grade(self) -> bool:
        """An empty task that needs no process at all."""
        return self.isolation == "engine"


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A task group; `expand` is set for a mapped one."""

    group_id: str
    parent: str | None = None
    expand: ExpandSpec | None = None
    tooltip: str | None = None


@dataclass(frozen=True, slots=True)
class AssetSpec:
    """An asset that a DAG names. `key` is unique across the project."""

    key: str
    uri: str | None = None
    group: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    kind: str = "table"
    shared: bool = False
    freshness: Json = None
    partitions: Json = None


@dataclass(frozen=True, slots=True)
class DagSpec:
    """One compiled DAG. `schedule` is a timetable's JSON; `condition` the asset tree
    (["asset", key] | ["all", [...]] | ["any", [...]]) or None."""

    dag_id: str
    file: str
    tasks: tuple[TaskSpec, ...]
    line: int | None = None
    schedule: Json = field(default_factory=lambda: {"kind": "none"})
    schedule_text: str | None = None
    condition: Json = None
    timezone: str = "UTC"
    dst: str = "once"
    start_at: int | None = None
    end_at: int | None = None
    catchup: bool = False
    pin: str = "version"
    max_active_runs: int = 16
    max_active_tasks: int = 16
    max_consecutive_failed_runs: int = 0
    dagrun_timeout_us: int | None = None
    fail_fast: bool = False
    success_when: str = "all"
    trigger_mode: str = "coalesce"
    on_unpause: str = "run_once"
    is_paused_upon_creation: bool = False
    params: Json = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    owner: str = "dagd"
    description: str | None = None
    doc_md: str | None = None
    deadlines: tuple[DeadlineSpec, ...] = ()
    callbacks: tuple[str, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    assets: tuple[AssetSpec, ...] = ()
    fork_unsafe: str | None = None
    needs: Json = None

    def task(self, task_id: str) -> TaskSpec:
        """The task of that id. Raises KeyError."""
        for task in self.tasks:
            if task.task_id == task_id:
                return task
        raise KeyError(task_id)


def canonical(value: Json) -> str:
    """JSON text with sorted keys and no spaces: equal values have equal texts. It can always be stored."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not text.isascii() and storable(text) != text:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    return text


def storable(text: str) -> str:
    """The text as both databases can hold it: lone surrogates and NUL characters, which neither or only one of them
    takes, are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def spec_to_json(spec: DagSpec) -> str:
    """The canonical text of a DAG: equal specs have equal texts."""
    return canonical(asdict(spec))


def spec_from_json(text: str) -> DagSpec:
    """The inverse of `spec_to_json`."""
    raw = json.loads(text)
    raw["tasks"] = tuple(_task(item) for item in raw["tasks"])
    raw["groups"] = tuple(_group(item) for item in raw["groups"])
    raw["assets"] = tuple(AssetSpec(**{**item, "tags": tuple(item["tags"])}) for item in raw["assets"])
    raw["deadlines"] = tuple(DeadlineSpec(**item) for item in raw["deadlines"])
    for name in ("tags", "callbacks"):
        raw[name] = tuple(raw[name])
    return DagSpec(**raw)


def _source(raw: dict[str, Any]) -> MapSource:
    return MapSource(**{**raw, "parts": tuple(_source(part) for part in raw["parts"])})


def _expand(raw: dict[str, Any] | None) -> ExpandSpec | None:
    if raw is None:
        return None
    return ExpandSpec(raw["kind"], tuple(raw["names"]), tuple(_source(item) for item in raw["sources"]))


def _group(raw: dict[str, Any]) -> GroupSpec:
    return GroupSpec(**{**raw, "expand": _expand(raw["expand"])})


def _task(raw: dict[str, Any]) -> TaskSpec:
    fixed = dict(raw)
    fixed["expand"] = _expand(raw["expand"])
    fixed["deadlines"] = tuple(DeadlineSpec(**item) for item in raw["deadlines"])
    fixed["xcom_inputs"] = tuple((task_id, key) for task_id, key in raw["xcom_inputs"])
    for name in ("upstreams", "setups", "inlets", "outlets", "callbacks"):
        fixed[name] = tuple(raw[name])
    return TaskSpec(**fixed)


def content_hash(*texts: str) -> str:
    """The hex SHA-256 of the texts, each preceded by its length so that boundaries count."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogateescape")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
