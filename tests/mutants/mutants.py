"""The defects, as data. `old` stands exactly once in its file (a test holds that); `why` says what it would do."""

from __future__ import annotations

from dataclasses import dataclass

SIMULATION = "tests/simulation/test_stories.py::test_a_story_breaks_no_invariant_and_all_runs_end"


@dataclass(frozen=True)
class Mutant:
    """One planted defect, and the tests that must find it."""

    name: str
    why: str
    file: str
    old: str
    new: str
    found_by: tuple[str, ...] = (SIMULATION,)
    seeds: int = 60

    def applied(self, text: str) -> str:
        """The text of the file with the defect."""
        if text.count(self.old) != 1:
            raise LookupError(f"mutant {self.name}: its text stands {text.count(self.old)} times in {self.file}")
        return text.replace(self.old, self.new)


def _in(module: str) -> str:
    return f"scheduler/dagd/{module}.py"


MUTANTS = (
    Mutant(
        "drop the fence", "a scheduler that was declared dead goes on writing beside its heir",
        _in("store/turns"), '.where(scheduler.c.id == bindparam("me"), scheduler.c.alive.is_(True))',
        '.where(scheduler.c.id == bindparam("me"))',
    ),
    Mutant(
        "acknowledge before the commit", "a result that the agent has forgotten is lost with the transaction",
        _in("engine/service"), "            if commits:\n                self.committer.submit(plan, self._lag())",
        "            if commits:\n                self.executor.acknowledge(plan.acks)\n"
        "                self.executor.flush()\n"
        "                self.committer.submit(plan, self._lag())",
    ),
    Mutant(
        "launch before the commit", "a try runs that the database never knew",
        _in("engine/service"), "            if commits:\n                self.committer.submit(plan, self._lag())",
        "            if commits:\n                self.launcher.launch(self.state, self.executor, plan.launches)\n"
        "                self.executor.flush()\n                self.committer.submit(plan, self._lag())",
    ),
    Mutant(
        "keep memory after a doubt", "what was decided and never written is taken for done",
        _in("engine/service"), "                self.failures = 0\n            self.rebuild()\n",
        "                self.failures = 0\n",
    ),
    Mutant(
        "adopt nothing", "tries of the scheduler before are never asked for again",
        _in("engine/service"), "                self._set_pool(name, slots, quota)\n        self.adopt_all()\n",
        "                self._set_pool(name, slots, quota)\n",
    ),
    Mutant(
        "forget strays", "a result that belongs to another scheduler is acknowledged away",
        _in("engine/service"), "[token for token in tokens if token not in live]", "tokens",
    ),
    Mutant(
        "do not ask the database after an outage", "memory that could not be filled is taken for all there is",
        _in("engine/loop"), "            if self._pause_s:\n                self._return_to_work()",
        "            if False:\n                self._return_to_work()", ("tests/integration/test_engine_outage.py",),
    ),
    Mutant(
        "launch nothing again", "a launch that was lost on its way leaves its try queued for ever",
        _in("engine/loop"), "                unknown.append(token)\n", "                pass\n",
    ),
    Mutant(
        "trust the host's clock", "a host that is ahead fires everything early",
        _in("engine/clock"), "self._is_guess, self._last = False, 0", "self._is_guess = False",
    ),
    Mutant(
        "forget charged retries", "a crash gives a task its retries back",
        _in("engine/loader"), "sum(1 for row in current if row.charged == Charge.RETRIES)", "0",
    ),
    Mutant(
        "forget the retry's timer", "after a crash a task that waits for its retry waits for ever",
        _in("engine/loader"),
        '        state.set_timer(last.next_try_at, "retry", run.id, task.i, pos, instance.try_no)\n',
        "",
    ),
    Mutant(
        "forget superseded tries", "after a crash the next try starts beside one that was cleared",
        _in("engine/loader"),
        "            last = row.token\n            key = (row.run_id",
        "            key = (row.run_id",
        ("tests/unit/test_decide_commands.py",),
    ),
    Mutant(
        "lose places of live tries", "after a crash limits count from zero",
        _in("engine/loader"), "    dag.active_tasks += 1\n", "",
    ),
    Mutant(
        "quota beyond the pool", "two schedulers give away the same slots",
        _in("store/shards"), "min(wanted[pool_id], slots - int(others))", "min(wanted[pool_id], slots)",
        ("tests/store/test_shards.py",),
    ),
    Mutant(
        "free the quota of the dead at once", "their tries still run when others take their slots",
        _in("store/shards"),
        "scheduler.c.alive.is_(False), scheduler.c.id.not_in(owners)",
        "scheduler.c.alive.is_(False)",
        ("tests/store/test_shards.py",),
    ),
    Mutant(
        "take shards from the living", "a DAG is decided by two schedulers",
        _in("store/shards"), "row.owner is None or row.owner not in alive", "row.owner != me",
        ("tests/store/test_shards.py",),
    ),
    Mutant(
        "bury without a lapse", "every other scheduler is declared dead each second",
        _in("store/shards"), "scheduler.c.heartbeat < now - lease_us", "scheduler.c.heartbeat <= now",
        ("tests/store/test_shards.py",),
    ),
    Mutant(
        "write with any token", "a stale leg's frame ends the try of another",
        _in("store/transitions"), '            A.token == bindparam("k_token"),\n', "",
        ("tests/store/test_transitions.py",),
    ),
    Mutant(
        "move from any state", "what has ended changes again",
        _in("store/transitions"), 'text(f"attempt.state IN ({', "text(f\"attempt.state < 99 OR 0 IN ({",
        ("tests/store/test_transitions.py",),
    ),
    Mutant(
        "resume with the old token", "the frame of the leg before is taken for that of the next",
        _in("store/transitions"), 'token=bindparam("new_token"), leg=bindparam("new_leg")', 'leg=bindparam("new_leg")',
        ("tests/store/test_turns.py",),
    ),
    Mutant(
        "overtake a pause with a slot", "a run starts after its pause was acknowledged",
        _in("store/turns"), 'dag.c.paused.is_(False), dag.c.next_due == bindparam("expected")',
        'dag.c.next_due == bindparam("expected")',
        ("tests/store/test_turns.py",),
    ),
    Mutant(
        "overtake a pause with an event", "an asset run starts after its pause was acknowledged",
        _in("store/turns"), "    _refuse_paused(connection, {dag_id for dag_id, _, _ in plan.consumed})\n", "",
        ("tests/store/test_deliveries.py",),
    ),
    Mutant(
        "consume by order", "a run takes events that it never knew",
        _in("store/turns"), "event_id.in_(events),\n        )\n        .values(**values)",
        "event_id <= max(events),\n        )\n        .values(**values)",
        ("tests/store/test_deliveries.py",),
    ),
    Mutant(
        "deliver to nobody", "a subscriber never hears of an event",
        _in("store/turns"), '            connection.execute(DELIVER, {"event": row.id, "asset": ids[row.asset]})\n',
        "            pass\n",
        ("tests/store/test_deliveries.py",),
    ),
    Mutant(
        "forget the stop", "a cancel dies with the scheduler that was asked",
        _in("store/turns"), ".values(stop_requested=stop.reason)", ".values(stop_requested=None)",
        ("tests/store/test_turns.py",),
    ),
    Mutant(
        "keep the values of a superseded try", "what was pushed before a clear is read after it",
        _in("store/turns"), "        connection.execute(delete(xcom).where(*values))\n", "        pass\n",
        ("tests/store/test_turns.py",),
    ),
    Mutant(
        "oversubscribe a pool by one", "one more try than the pool has slots",
        _in("decide/admission"),
        "        if task.spec.pool_slots > pool.free:",
        "        if task.spec.pool_slots > pool.free + 1:",
        ("tests/unit/test_decide_admission.py",),
    ),
    Mutant(
        "one task too many", "max_active_tasks counts one less than there are",
        _in("decide/admission"), "dag.active_tasks >= dag.graph.spec.max_active_tasks",
        "dag.active_tasks > dag.graph.spec.max_active_tasks",
        ("tests/unit/test_decide_admission.py",),
    ),
    Mutant(
        "lose a wake-up", "what waited for a limit waits for ever",
        _in("decide/admission"), "        pool.used -= task.spec.pool_slots\n    wake(turn, dag, task.no)\n",
        "        pool.used -= task.spec.pool_slots\n",
        ("tests/unit/test_decide_admission.py",),
    ),
    Mutant(
        "never give a slot back", "a pool runs dry",
        _in("decide/admission"), "        pool.used -= task.spec.pool_slots\n", "        pass\n",
        ("tests/unit/test_decide_admission.py",),
    ),
    Mutant(
        "forget a retry charge", "a task is tried for ever",
        _in("decide/retries"), "    instance.retries_used += 1\n", "", ("tests/unit/test_decide_retries.py",),
    ),
    Mutant(
        "charge losses to retries", "a lost machine uses up the user's budget",
        _in("decide/retries"), "            instance.infra_used += 1\n            return NextTry(Charge.INFRA, now)",
        "            instance.infra_used += 1\n            return NextTry(Charge.RETRIES, now)",
        ("tests/unit/test_decide_retries.py",),
    ),
    Mutant(
        "retry at once", "no delay between two tries",
        _in("decide/results"), "    if at <= turn.now:\n        flow.retry_due", "    if at:\n        flow.retry_due",
        ("tests/unit/test_decide_retries.py",),
    ),
    Mutant(
        "succeed in spite of a stop", "a task that was cancelled counts as success",
        _in("decide/results"), '    outcome = "cancel" if instance.stop_reason else result["outcome"]',
        '    outcome = result["outcome"]', ("tests/unit/test_decide_stops.py", "tests/unit/test_decide_commands.py"),
    ),
    Mutant(
        "publish no event", "a success of a task with outlets moves nothing downstream",
        _in("decide/publish"), "    if not task.spec.outlets:", "    if task.spec.outlets:",
        ("tests/unit/test_decide_assets.py",),
    ),
    Mutant(
        "start at the first success", "all_success does not wait for all",
        _in("decide/rules"), "    if c.open:\n        return W\n    return SKIP if c.k else RUN",
        "    if c.open and not c.s:\n        return W\n    return SKIP if c.k else RUN",
        ("tests/unit/test_decide_rules.py",),
    ),
    Mutant(
        "a slot twice", "which slot was the last is forgotten, and a restart makes its run again",
        _in("decide/runs"), "following, last_slot = timetable.next_after(slot.due_at), slot.due_at",
        "following, last_slot = timetable.next_after(slot.due_at), dag.last_slot",
        ("tests/unit/test_decide_schedule.py",),
    ),
    Mutant(
        "catch up by leaping", "slots that were missed are passed over",
        _in("decide/runs"),
        "caught_up += 1\n        _create_slot(turn, dag, timetable, timetable.next_after(dag.next_due - 1))",
        "caught_up += 1\n        _create_slot(turn, dag, timetable, timetable.last_until(turn.now))",
        ("tests/unit/test_decide_schedule.py",),
    ),
    Mutant(
        "one backfilled run too many", "max_active of a backfill counts one less than there are",
        _in("decide/backfills"), "may_start and len(view.active) < view.max_active",
        "may_start and len(view.active) <= view.max_active",
    ),
    Mutant(
        "count no run of a backfill", "a backfill shows less than has ended",
        _in("decide/backfills"), "        _count(turn, mine, run.state, 1)\n", "        pass\n",
    ),
    Mutant(
        "lose count at a restart", "a backfill counts from zero again after a crash",
        _in("engine/backfills"), "row.conf, row.slots, row.done, row.success,", "row.conf, row.slots, 0, row.success,",
    ),
    Mutant(
        "end no backfill", "a backfill whose slots are all taken runs for ever",
        _in("decide/backfills"), "    if slot is None and not view.active:", "    if slot is None and view.active:",
    ),
    Mutant(
        "a backfill's id for a request's", "nobody can tell which request a try gave way to",
        _in("decide/backfills"), "EVERY_INDEX), -view.id, drop_expansion", "EVERY_INDEX), view.id, drop_expansion",
    ),
    Mutant(
        "success by exit code", "a task that said nothing succeeded",
        _in("agent/results"), '    return facts | {"outcome": "fail", "reason": reason, "error": ending.error',
        '    said = "fail" if exit_code else "succeed"\n'
        '    return facts | {"outcome": said, "reason": reason, "error": ending.error',
        ("tests/unit/test_agent_results.py",),
    ),
    Mutant(
        "forget tokens that ended", "a launch that comes late runs a body again after its result was committed",
        _in("agent/journal"), "            self._ended.update(dict.fromkeys(ended))\n", "",
        ("tests/unit/test_agent_journal.py",),
    ),
)  # fmt: skip
