"""Trigger rules: what each says of every multiset of outcomes, and that no order of finishing changes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement, permutations, product

import pytest

from dagd.decide.rules import RULES, Counts, Verdict, apply_rule, teardown_verdict
from dagd.model.states import AttemptState
from tests.core_driver import Driver, dag

OUTCOMES = {
    "s": AttemptState.SUCCESS,
    "f": AttemptState.FAILED,
    "u": AttemptState.UPSTREAM_FAILED,
    "c": AttemptState.CANCELLED,
    "k": AttemptState.SKIPPED,
    "r": AttemptState.REMOVED,
}
RUN, SKIP, FAIL = Verdict.RUN, Verdict.SKIP, Verdict.UPSTREAM_FAIL


def said(rule: str, ends: str) -> Verdict:
    """The behaviour page in Python: what `rule` says once all have ended; `ends` without removed ones, not empty."""
    s, k = ends.count("s"), ends.count("k")
    bad = len(ends) - s - k
    ran = s + ends.count("f")
    fail_or_skip = FAIL if bad else SKIP
    return {
        "all_success": FAIL if bad else SKIP if k else RUN,
        "all_failed": RUN if bad == len(ends) else SKIP,
        "all_done": RUN,
        "all_done_min_one_success": (SKIP if k else RUN) if s else fail_or_skip,
        "one_success": RUN if s else fail_or_skip,
        "one_failed": RUN if bad else SKIP,
        "one_done": RUN if ran else SKIP,
        "none_failed": FAIL if bad else RUN,
        "none_failed_min_one_success": FAIL if bad else RUN if s else SKIP,
        "none_skipped": SKIP if k else RUN,
        "all_skipped": RUN if k == len(ends) else SKIP,
        "always": RUN,
        "all_done_setup_success": RUN,
    }[rule]


def multisets(letters: str, most: int) -> Iterator[str]:
    for size in range(1, most + 1):
        for ends in combinations_with_replacement(letters, size):
            yield "".join(ends)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_a_rule_says_the_same_in_every_order_and_what_the_page_says(rule: str) -> None:
    for ends in multisets("sfukr", 5):
        counted = ends.replace("r", "")
        expected = said(rule, counted) if counted else RUN
        for order in set(permutations(ends)):
            counts = Counts(open_=len(order))
            first = Verdict.WAIT
            for letter in order:
                if first is Verdict.WAIT:
                    first = apply_rule(rule, counts)
                counts.add(OUTCOMES[letter])
            if first is Verdict.WAIT:
                first = apply_rule(rule, counts)
            assert first is expected, (rule, order)


def test_a_task_without_upstreams_runs_under_any_rule() -> None:
    assert {apply_rule(rule, Counts()) for rule in RULES} == {RUN}


def test_cancelled_upstreams_count_as_failed_but_not_as_done() -> None:
    counts = Counts(open_=1)
    counts.add(AttemptState.CANCELLED)
    assert apply_rule("one_failed", counts) is RUN
    assert apply_rule("one_done", counts) is SKIP


@pytest.mark.parametrize(
    "setups,expected",
    [("s", RUN), ("f", FAIL), ("k", SKIP), ("sf", RUN), ("sk", RUN), ("fk", FAIL), ("", RUN)],
)
def test_a_teardown_runs_when_one_of_its_setups_succeeded_whatever_became_of_the_work(
    setups: str, expected: Verdict
) -> None:
    for work in ("", "s", "f", "k", "sfk"):
        counts = [Counts(open_=len(setups)), Counts(open_=len(work))]
        for count, letters in zip(counts, (setups, work), strict=True):
            for letter in letters:
                assert teardown_verdict(*counts) is Verdict.WAIT
                count.add(OUTCOMES[letter])
        assert teardown_verdict(*counts) is expected


END_OF = {"s": "succeed", "f": "fail", "k": "skip", "c": "cancel"}


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_core_draws_one_conclusion_for_each_rule_and_multiset_in_every_order(size: int) -> None:
    """S4 and the bar of order independence, through the whole core: twelve rules at once under `size` upstreams."""
    ups = [f"u{at}" for at in range(size)]
    rules = sorted(RULES)
    tasks = {up: {} for up in ups} | {rule: {"up": " ".join(ups), "trigger_rule": rule} for rule in rules}
    driver = Driver(
        dag(tasks=tasks, max_active_runs=10**6, max_active_tasks=10**6), capacity=10**6, pools={"default_pool": 10**6}
    )
    for order in product("sfkc", repeat=size):
        run = driver.trigger()
        launched_early = {driver.where(token)[0] for token, one in driver.live.items() if one.key[0] == run}
        assert launched_early == {*ups, "always"}
        for up, letter in zip(ups, order, strict=True):
            driver.finish(up, END_OF[letter], run=run)
        launched = {driver.where(token)[0] for token, one in driver.live.items() if one.key[0] == run}
        states = driver.states(run)
        for rule in rules:
            expected = said(rule, "".join(order))
            found = RUN if rule in launched else {"skipped": SKIP, "upstream_failed": FAIL}[states[rule]]
            assert found is expected, (rule, order)
        for token in [token for token, one in driver.live.items() if one.key[0] == run]:
            driver.turn(results=[driver.result(token)])
        assert driver.rows.runs[run].ended_at is not None
        driver.rows.attempts.clear()  # the oracle of limits looks at every row


def test_a_finish_that_comes_after_an_early_start_changes_nothing() -> None:
    driver = Driver(dag(tasks={"a": "", "b": "", "c": {"up": "a b", "trigger_rule": "one_success"}}))
    driver.trigger()
    driver.finish("a")
    driver.finish("c")
    driver.finish("b", "fail")
    assert driver.states() == {"a": "success", "b": "failed", "c": "success"}
    assert driver.run_state() == "failed"


def test_s4_nothing_starts_earlier_than_the_end_that_let_it_start() -> None:
    """The agent's clock is a little ahead of the scheduler's, which follows the database's."""
    driver = Driver(dag(tasks={"a": "", "b": "a"}))
    driver.trigger()
    plan = driver.finish("a", started_at=driver.now + 10_000, ended_at=driver.now + 26_000)
    (end,), (queued,) = plan.ends, plan.enqueues
    assert (end.started_at, end.ended_at) == (driver.now, driver.now)
    assert queued.at >= end.ended_at
