"""What the ends of runs do to their DAG."""

from __future__ import annotations

from tests.core_driver import Driver, dag


def test_a_dag_whose_last_runs_all_failed_is_paused_and_the_count_starts_anew() -> None:
    driver = Driver(dag(tasks={"a": {}}, max_consecutive_failed_runs=2))
    for outcome in ("fail", "succeed", "fail"):
        driver.trigger()
        driver.drain({"a": outcome})
    assert not driver.state.dags[1].paused
    driver.trigger()
    driver.drain({"a": "fail"})
    paused = driver.state.dags[1]
    assert (paused.paused, paused.failed_in_row) == (True, 0)
    driver.trigger()
    assert driver.live == {}
