"""The smallest DAG: two tasks, once a day.

Drop a file like this one into the DAG folder and it runs; there is nothing to register. Do not wait for midnight:

    dagd trigger hello --wait
    dagd logs hello/latest/total
"""

from datetime import UTC, datetime

from dagd import dag, task


@dag(schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args={"retries": 2})
def hello():
    """Two tasks, one after the other."""

    @task
    def extract() -> list[int]:
        return [1, 2, 3]  # what a task returns is kept, and can be handed to other tasks

    @task
    def total(numbers: list[int]) -> int:
        print("the total is", sum(numbers))  # what a task prints is its log
        return sum(numbers)

    total(extract())  # runs nothing yet: it says that `total` needs what `extract` returns


hello()
