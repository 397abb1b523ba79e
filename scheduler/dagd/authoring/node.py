"""What every task is, mapped or not: its id, its place, its arguments, its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from dagd.authoring.ambient import AMBIENT
from dagd.authoring.arguments import TASK_ARGUMENTS, take_arguments
from dagd.authoring.edges import Dependable, Endpoint, connect
from dagd.authoring.params import Param
from dagd.authoring.policies import Deadline
from dagd.authoring.setups import leave_scope, open_scope
from dagd.authoring.words import check_id
from dagd.authoring.xcomarg import MappedArgument, PlainXComArg, find_references
from dagd.model.errors import SourceRef, WrongArgument

if TYPE_CHECKING:
    from dagd.authoring.dag import DAG
    from dagd.authoring.groups import TaskGroup


class TaskNode(Dependable):
    """A task of a DAG. Its arguments are attributes of their own names."""

    is_group: ClassVar[bool] = False
    decides: str | None = None
    infers_outputs: bool = False

    task_id: str
    where: SourceRef
    owner: str
    retries: int
    retry_delay: timedelta
    retry_exponential_backoff: float
    max_retry_delay: timedelta | None
    retry_jitter: float
    retry_policy: Any
    infra_retries: int
    on_lost: str
    execution_timeout: timedelta | None
    cancel_grace: timedelta
    trigger_rule: str
    pool: str
    pool_slots: int
    priority_weight: int
    weight_rule: str
    queue: str
    executor: str | None
    isolation: str | None
    allow_failure: bool
    depends_on_past: bool
    wait_for_downstream: bool
    max_active_tis_per_dag: int | None
    max_active_tis_per_dagrun: int | None
    inlets: list[Any]
    outlets: list[Any]
    multiple_outputs: bool
    do_xcom_push: bool
    map_index_template: str | None
    sla: timedelta | None
    deadline: list[Deadline] | None
    doc_md: str | None
    params: dict[str, Param] | None
    on_execute_callback: list[Callable[..., Any]] | None
    on_failure_callback: list[Callable[..., Any]] | None
    on_retry_callback: list[Callable[..., Any]] | None
    on_skipped_callback: list[Callable[..., Any]] | None
    on_success_callback: list[Callable[..., Any]] | None

    def _place(self, task_id: object, dag: DAG | None, group: TaskGroup | None, where: SourceRef) -> None:
        """Give the task its id within its group and DAG."""
        self.where = where
        self.is_setup = self.is_teardown = self.on_failure_fail_dagrun = False
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        local = check_id("task_id", task_id, where)
        dag = dag or (group.dag if group else None) or (AMBIENT.dags[-1] if AMBIENT.dags else None)
        if group is None and AMBIENT.groups and AMBIENT.groups[-1].dag is dag:
            group = AMBIENT.groups[-1]
        self.label = local
        self.dag: DAG | None = None
        self.task_group: TaskGroup | None = group
        self.task_id = check_id("task_id", group.child_id(local) if group else local, where)
        if dag is not None:
            dag.add_task(self)

    def _take(self, arguments: dict[str, Any], where: SourceRef) -> None:
        """Take the common arguments out of `arguments`."""
        take_arguments(self, TASK_ARGUMENTS, arguments, where)

    @property
    def node_id(self) -> str:
        """The full task_id."""
        return self.task_id

    @property
    def operator_name(self) -> str:
        """The name of the operator's class, as shown to users."""
        return type(self).__name__

    @property
    def output(self) -> PlainXComArg:
        """What the task will return."""
        return PlainXComArg(self)

    def __getitem__(self, key: str) -> PlainXComArg:
        return PlainXComArg(self)[key]

    def __repr__(self) -> str:
        return f"<Task({self.operator_name}): {self.task_id}>"

    def roots(self) -> Sequence[TaskNode]:
        """Itself."""
        return [self]

    def leaves(self) -> Sequence[TaskNode]:
        """Itself."""
        return [self]

    @property
    def upstream_list(self) -> list[TaskNode]:
        """The tasks directly above."""
        return [self.dag.get_task(name) for name in sorted(self.upstream_task_ids)] if self.dag else []

    @property
    def downstream_list(self) -> list[TaskNode]:
        """The tasks directly below."""
        return [self.dag.get_task(name) for name in sorted(self.downstream_task_ids)] if self.dag else []

    def groups_outward(self) -> Iterator[TaskGroup]:
        """The groups that hold this task, innermost first."""
        group = self.task_group
        while group is not None:
            yield group
            group = group.task_group

    def depend_on(self, value: Any) -> None:
        """Run after every task that an argument refers to."""
        for task, _ in find_references(value):
            if task is not self:
                connect(task, self)

    def as_setup(self) -> TaskNode:
        """Make this a setup: its work is skipped or failed with it, its teardown runs when it succeeded."""
        self.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> TaskNode:
        """Make this the teardown of `setups`: it runs when at least one of them succeeded, whatever the work did."""
        if self.trigger_rule not in {"all_success", "all_done"}:
            what = f"trigger_rule={self.trigger_rule!r} on the teardown {self.task_id!r}"
            raise WrongArgument(what, where=self.where, remedy="A teardown has a rule of its own: leave it out.")
        self.is_teardown = True
        self.trigger_rule = "all_done"
        if on_failure_fail_dagrun is not None:
            self.on_failure_fail_dagrun = on_failure_fail_dagrun
        if setups is not None:
            for one in setups if isinstance(setups, (list, tuple, set)) else [setups]:
                for node in one.endpoints():
                    node.as_setup()
                    connect(node, self)
        return self

    def __enter__(self) -> TaskNode:
        if not (self.is_setup or self.is_teardown):
            what = f"with {self.task_id!r}: it is no setup and no teardown"
            raise WrongArgument(what, where=self.where, remedy="Only setups and teardowns open a block.")
        open_scope(self)
        return self

    def __exit__(self, *error: object) -> None:
        leave_scope()

    def has_mapped_argument(self, value: Any) -> bool:
        """Whether an argument refers to the item of a mapped group."""
        if isinstance(value, (list, tuple, set, frozenset)):
            return any(self.has_mapped_argument(one) for one in value)
        if isinstance(value, dict):
            return any(self.has_mapped_argument(one) for one in value.values())
        return isinstance(value, MappedArgument)

    def endpoints(self) -> Sequence[Endpoint]:
        """Itself."""
        return [self]
