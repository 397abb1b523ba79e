"""Shell commands as tasks, and a retry: `flaky` fails at its first try and succeeds at its second.

    dagd tasks tries shell_commands/latest/flaky           # two tries, the reason of the first, what was paid for it
    dagd logs shell_commands/latest/flaky --try 1

A command succeeds with exit code 0, is skipped with 99, and fails with any other. The last line that it prints is its
value. Text between {{ }} is filled in when the task runs, and quoted for the shell, whatever is in it.
"""

from datetime import timedelta

from demo_store import DATA

from dagd import DAG
from dagd_operators.bash import BashOperator

with DAG(
    "shell_commands",
    description="A pipeline of shell commands with a retry",
    schedule="*/2 * * * *",
    tags=["example"],
):
    busiest = BashOperator(
        task_id="busiest",
        bash_command="set -o pipefail; tail -n +2 flights.csv | cut -d , -f 11 | sort | uniq -c | sort -n | tail -n 1",
        cwd=str(DATA),
    )
    flaky = BashOperator(
        task_id="flaky",
        bash_command="""
            echo "this is try {{ ti.try_number }}"
            if [ {{ ti.try_number }} -lt 2 ]; then echo "no luck" >&2; exit 1; fi
            echo "better now"
        """,
        retries=2,
        retry_delay=timedelta(seconds=2),
        execution_timeout=timedelta(seconds=30),  # a try that takes longer is killed, with all its processes
    )
    tell = BashOperator(
        task_id="tell",
        bash_command="""
            read -r flights airport <<< {{ ti.xcom_pull(task_ids="busiest") }}
            echo "$airport is the busiest airport: $flights flights. $NOTE"
        """,
        env={"NOTE": "flaky said: {{ ti.xcom_pull(task_ids='flaky') }}"},
        append_env=True,  # keep the environment, PATH above all
    )
    [busiest, flaky] >> tell
