"""Random DAGs and a random world around a `Rig`: tries end in every way, people ask for things, time passes.

Everything follows from one seed, so that what was found is found again.
"""

from __future__ import annotations

import random
from typing import Any

from dagd.model.specs import DagSpec, DeadlineSpec, GroupSpec, TaskSpec
from dagd.model.states import Reprocess, RunState
from dagd.model.times import SECOND
from dagd.store.schema import backfill
from tests.core_driver import dag, expand, items, over
from tests.engine_rig import Rig
from tests.factories import NOW

RULES = ["all_success"] * 5 + ["all_done", "one_success", "none_failed", "one_failed", "always", "none_skipped"]
POOLS = {"narrow": 2}


def random_task(dice: random.Random, at: int, names: list[str]) -> dict[str, Any]:
    """Fields of one task; `names` are the tasks before it."""
    ups = dice.sample(names, min(len(names), dice.choice([0, 1, 1, 2])))
    task: dict[str, Any] = {
        "up": " ".join(ups), "trigger_rule": dice.choice(RULES), "retries": dice.choice([0, 1, 2]),
        "retry_delay_us": dice.choice([1, 3 * SECOND]), "infra_retries": 2, "priority": dice.choice([1, 2]),
    }  # fmt: skip
    kind = dice.randrange(12)
    if kind == 0:
        task["decides"] = dice.choice(["branch", "short_circuit", "short_circuit_direct"])
    elif kind == 1:
        task["isolation"] = "engine"
    elif kind in (2, 3):
        task["expand"] = expand(over(ups[0]) if ups else items(dice.choice([0, 2, 3])))
    elif kind == 4:
        task |= {"pool": "narrow", "pool_slots": dice.choice([1, 2])}
    elif kind == 5:
        task["execution_timeout_us"] = 20 * SECOND
    elif kind == 6:
        task["max_active_tis_per_dag"] = 1
    elif kind == 7:
        task["deadlines"] = (DeadlineSpec("finish", "created", 8 * SECOND),)
    if at and dice.random() < 0.1:
        task["depends_on_past"] = True
    if dice.random() < 0.3:
        task["outlets"] = ("orders",)
    if dice.random() < 0.15:
        task["callbacks"] = ("failure",)
    return task


def random_dags(dice: random.Random, names: tuple[str, ...] = ("sales",)) -> list[DagSpec]:
    """DAGs of any shape, and one that listens to what they make."""
    reader = DagSpec(
        "reader", "reader.py", (TaskSpec("r", "Fake", retries=1, retry_delay_us=1),), condition=["asset", "orders"],
        trigger_mode=dice.choice(["coalesce", "each"]), max_active_runs=2,
    )  # fmt: skip
    return [*(random_dag(dice, name) for name in names), reader]


def random_dag(dice: random.Random, dag_id: str) -> DagSpec:
    """A DAG of any shape."""
    names = [f"t{at}" for at in range(dice.randint(1, 6))]
    tasks = {name: random_task(dice, at, names[:at]) for at, name in enumerate(names)}
    groups: tuple[GroupSpec, ...] = ()
    if len(names) > 3 and dice.random() < 0.3:
        groups = (GroupSpec("g", expand=expand(items(dice.choice([1, 2])))),)
        for name in names[2:4]:
            tasks[name] |= {"mapped_group": "g", "group": "g"}
            tasks[name].pop("expand", None)
    if len(names) > 2 and dice.random() < 0.3:
        tasks[names[0]] |= {"is_setup": True}
        tasks["down"] = {"setups": names[0], "up": names[-1], "on_failure_fail_dagrun": dice.random() < 0.5}
    more: dict[str, Any] = {
        "fail_fast": dice.random() < 0.2, "max_active_tasks": dice.choice([2, 16]),
        "max_active_runs": dice.choice([1, 2]), "success_when": dice.choice(["all", "leaves"]),
    }  # fmt: skip
    if dice.random() < 0.5:
        more |= {"schedule": {"kind": "delta", "micros": 20 * SECOND}, "start_at": NOW, "catchup": dice.random() < 0.7}
    if dice.random() < 0.2:
        more["dagrun_timeout_us"] = 30 * SECOND
    return dag(dag_id, tasks=tasks, groups=groups, **more)


class World:
    """What goes on around one rig."""

    def __init__(self, rig: Rig, dice: random.Random, specs: list[DagSpec]) -> None:
        self.rig, self.dice, self.specs = rig, dice, {spec.dag_id: spec for spec in specs}

    def act(self) -> str:
        """One thing happens; what."""
        act = self.dice.choices(
            [
                self.end_try, self.start_try, self.wait, self.wait_longer, self.trigger, self.ask, self.pause,
                self.backfill,
            ],
            [12, 3, 4, 2, 2, 2, 1, 2],
        )[0]  # fmt: skip
        act()
        return act.__name__

    def end_try(self) -> None:
        live = sorted(self.rig.agent.live)
        if live:
            self.end(self.dice.choice(live))

    def end(self, token: str, kind: str | None = None) -> None:
        """A live try ends in some way."""
        agent, dice, now = self.rig.agent, self.dice, self.rig.clock.at
        told = agent.launches[token]["payload"]
        if told["callback"]:
            agent.end(token, now, dice.choice(["succeed", "fail"]) if kind is None else kind)
            return
        spec = self.specs[told["dag_id"]].task(told["task_id"])
        kinds = ["succeed"] * 5 + ["fail", "fail", "skip", "defer", "lost", "stopped"]
        kind = kind or dice.choice(kinds)
        if kind == "defer" and (told["leg"] > 2 or spec.decides):
            kind = "succeed"
        if token in agent.stopping and dice.random() < 0.7:
            kind = "cancel"
        more: dict[str, Any] = {}
        if kind == "succeed":
            more = self._value_of(told, spec)
        elif kind == "defer":
            more = {"until": now + dice.randrange(4) * SECOND, "state": {}}
            if dice.random() < 0.5:
                more = {
                    "trigger": {"kind": "file", "path": "/x"},
                    "timeout_us": dice.randrange(9) * SECOND,
                    "state": {},
                }
        elif kind in ("lost", "stopped"):
            more, kind = {"reason": kind}, "fail" if kind == "lost" else "cancel"
        elif kind == "cancel":
            more = {"reason": agent.stopping.get(token, "cancelled")}
        agent.end(token, now, kind, **more)

    def _value_of(self, told: dict[str, Any], spec: TaskSpec) -> dict[str, Any]:
        dice = self.dice
        length = dice.choice([0, 1, 2, 2, 3])
        text = str([0] * length)
        more: dict[str, Any] = {"xcom": [{"key": "return_value", "text": text, "length": length, "size": len(text)}]}
        if spec.decides == "branch":
            below = [one.task_id for one in self.specs[told["dag_id"]].tasks if spec.task_id in one.upstreams]
            more["branch"] = dice.sample(below, dice.randint(0, len(below)))
        elif spec.decides:
            more["short_circuit"] = dice.random() < 0.4
        return more

    def start_try(self) -> None:
        live = sorted(self.rig.agent.live)
        if live:
            self.rig.agent.start(self.dice.choice(live), self.rig.clock.at)

    def wait(self) -> None:
        self.rig.clock.at += self.dice.choice([1_000, 150_000, SECOND])

    def wait_longer(self) -> None:
        self.rig.clock.at += self.dice.choice([2, 5, 21]) * SECOND
        for token in sorted(self.rig.agent.waits):
            if self.dice.random() < 0.3:
                self.rig.agent.fire(token, event={"path": "/x"})

    def trigger(self) -> None:
        active = [row for row in self.rig.run_states().values() if row < RunState.SUCCESS]
        if len(active) < 4:
            names = list(self.specs)
            self.rig.trigger(self.dice.choice([*names, *names[:-1]]))

    def pause(self) -> None:
        self.rig.set_paused(self.dice.choice(list(self.specs)), self.dice.random() < 0.3)

    def backfill(self) -> None:
        """Somebody asks for a range of slots, or pauses, resumes or cancels one."""
        known, dice, spec = [row.id for row in self.rig.rows(backfill)], self.dice, self.specs["sales"]
        if known and dice.random() < 0.5:
            self.rig.ask_backfill(dice.choice(["pause", "resume", "resume", "cancel"]), dice.choice(known))
        elif spec.schedule["kind"] == "delta":
            first = dice.choice([NOW, NOW + 20 * SECOND])
            self.rig.backfill(
                first, first + dice.choice([0, 40, 200]) * SECOND, max_active=dice.choice([1, 3]),
                is_reverse=dice.random() < 0.5 and not any(task.depends_on_past for task in spec.tasks),
                reprocess=dice.choice(list(Reprocess)),
            )  # fmt: skip

    def ask(self) -> None:
        """Somebody cancels, clears, marks or kills something of some run."""
        runs = self.rig.runs()
        if not runs:
            return
        row = self.dice.choice(runs)
        spec = next(one for one in self.specs.values() if self.rig.ids[one.dag_id] == row.dag_id)
        task = self.dice.choice(spec.tasks).task_id
        kind = self.dice.choice(["cancel", "clear", "clear", "mark_tasks", "mark_run", "kill"])
        payload: dict[str, Any] = {}
        if kind == "clear":
            below = {task}
            for other in spec.tasks:
                if below & set(other.upstreams):
                    below.add(other.task_id)
            payload = {"instances": [[name, None] for name in sorted(below)]}
        elif kind == "kill":
            payload = {"instances": [[task, None]]}
        elif kind == "mark_tasks":
            payload = {"instances": [[task, None]], "state": self.dice.choice(["success", "failed", "skipped"])}
        elif kind == "mark_run":
            payload = {"state": self.dice.choice(["success", "failed"])}
        self.rig.ask(kind, row.id, spec.dag_id, **payload)

    def finish(self, limit: int = 400) -> None:
        """Everybody is well-behaved from now on, until nothing runs any more."""
        if not self.comes_to_an_end(limit):
            raise AssertionError(f"not over: {self.rig.run_states()}, live {list(self.rig.agent.live)}")

    def comes_to_an_end(self, limit: int = 400) -> bool:
        """As `finish`; whether it is over after so many seconds."""
        rig = self.rig
        for name, spec in self.specs.items():
            rig.set_paused(name, spec.schedule["kind"] == "delta")
        rig.pass_time(2)
        for _ in range(limit):
            for token in sorted(rig.agent.live):
                self.end(token, "cancel" if token in rig.agent.stopping else "succeed")
            rig.pass_time(1)
            if not rig.agent.live and all(state >= RunState.SUCCESS for state in self.unstuck().values()):
                return True
        return False

    def unstuck(self) -> dict[int, int]:
        """States of the runs that may go on: not those of a paused DAG that have not begun, or that wait for a run
        before them that ended badly."""
        specs = {self.rig.ids[name]: spec for name, spec in self.specs.items()}
        return {row.id: row.state for row in self.rig.runs() if not self._is_stuck(row, specs[row.dag_id])}

    @staticmethod
    def _is_stuck(row: Any, spec: DagSpec) -> bool:
        is_listener = spec.condition is not None
        waits = any(task.depends_on_past for task in spec.tasks)
        return not is_listener and (row.state == RunState.QUEUED or waits)
