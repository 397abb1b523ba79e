"""A version's tasks as indices: neighbours, gates and scopes, computed once and shared by all runs of the version."""

from __future__ import annotations

from dagd.model.specs import DagSpec, ExpandSpec, TaskSpec


class Graph:
    """The compiled shape of one DAG version. Tasks are referred to by index `i`, in the order of the spec.

    `ups`/`downs` are direct neighbours; `gates[i]` the deciders (a branch directly above, a short-circuit anywhere
    above) that must have ended before `i` may start or be settled, `gated` its inverse; `scopes[i]` the mapped group
    that holds `i`, `expands[i]` what fixes its number of instances; `sources[i]` the tasks whose values fix it.
    """

    __slots__ = (
        "spec", "version", "number", "tasks", "index", "nos", "by_no", "ups", "downs", "gates", "gated", "scopes",
        "expands", "sources", "sourced", "setups", "leaves", "members", "uses_past", "group_gates", "_below",
    )  # fmt: skip

    def __init__(self, spec: DagSpec, version: int, number: int, task_nos: dict[str, int]) -> None:
        self.spec, self.version, self.number = spec, version, number
        self.tasks: tuple[TaskSpec, ...] = spec.tasks
        self.index = {task.task_id: i for i, task in enumerate(spec.tasks)}
        self.nos = [task_nos[task.task_id] for task in spec.tasks]
        self.by_no = {no: i for i, no in enumerate(self.nos)}
        self.ups = [[self.index[name] for name in task.upstreams] for task in spec.tasks]
        self.downs: list[list[int]] = [[] for _ in spec.tasks]
        for i, ups in enumerate(self.ups):
            for up in ups:
                self.downs[up].append(i)
        self.setups = [frozenset(self.index[name] for name in task.setups) for task in spec.tasks]
        self._place_maps(spec)
        self._place_gates()
        self.leaves = frozenset(i for i, task in enumerate(spec.tasks) if self._is_leaf(i, task))
        self.uses_past = any(task.depends_on_past or task.wait_for_downstream for task in spec.tasks)
        self._below: dict[int, frozenset[int]] = {}
        self.group_gates = {group: self._gates_above(members) for group, members in self.members.items()}

    def _gates_above(self, members: list[int]) -> frozenset[int]:
        """The deciders outside a mapped group that must have ended before it expands: those below a member cannot."""
        below = frozenset().union(*(self.below(i) for i in members))
        return frozenset().union(*(self.gates[i] for i in members)) - below - frozenset(members)

    def _is_leaf(self, i: int, task: TaskSpec) -> bool:
        if task.is_teardown:
            return task.on_failure_fail_dagrun
        return all(self.tasks[down].is_teardown for down in self.downs[i])

    def _place_maps(self, spec: DagSpec) -> None:
        groups = {group.group_id: group for group in spec.groups}
        self.scopes = [task.mapped_group for task in self.tasks]
        self.expands: list[ExpandSpec | None] = []
        self.members: dict[str, list[int]] = {}
        for i, task in enumerate(self.tasks):
            expand = task.expand
            if task.mapped_group is not None:
                expand = groups[task.mapped_group].expand
                self.members.setdefault(task.mapped_group, []).append(i)
            self.expands.append(expand)
        self.sources = [
            frozenset(self.index[name] for name in expand.xcom_sources()) if expand else frozenset()
            for expand in self.expands
        ]
        self.sourced: list[list[int]] = [[] for _ in self.tasks]
        for i, sources in enumerate(self.sources):
            for source in sources:
                self.sourced[source].append(i)

    def _place_gates(self) -> None:
        self.gates: list[frozenset[int]] = [frozenset()] * len(self.tasks)
        above: list[frozenset[int]] = [frozenset()] * len(self.tasks)
        for i in self.in_order():
            circuits: frozenset[int] = frozenset().union(*(above[up] for up in self.ups[i]))
            above[i] = circuits | {i} if self.tasks[i].decides == "short_circuit" else circuits
            if not self.tasks[i].is_teardown:
                self.gates[i] = circuits.union(up for up in self.ups[i] if self.tasks[up].decides)
        self.gated: list[list[int]] = [[] for _ in self.tasks]
        for i, gates in enumerate(self.gates):
            for gate in gates:
                self.gated[gate].append(i)

    def in_order(self) -> list[int]:
        """Indices in a topological order (the compiler has refused cycles)."""
        waiting = [len(ups) for ups in self.ups]
        order = [i for i, count in enumerate(waiting) if not count]
        for i in order:
            for down in self.downs[i]:
                waiting[down] -= 1
                if not waiting[down]:
                    order.append(down)
        return order

    def below(self, i: int) -> frozenset[int]:
        """All transitive downstream tasks of `i`."""
        if i not in self._below:
            seen: set[int] = set()
            stack = list(self.downs[i])
            while stack:
                down = stack.pop()
                if down not in seen:
                    seen.add(down)
                    stack.extend(self.downs[down])
            self._below[i] = frozenset(seen)
        return self._below[i]

    def same_scope(self, i: int, j: int) -> bool:
        """Whether both are in one mapped group, so that they meet index by index."""
        return self.scopes[i] is not None and self.scopes[i] == self.scopes[j]
