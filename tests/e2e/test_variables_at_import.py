"""Variables that a DAG file reads while it is imported: the parser and the process of each task are answered alike."""

from __future__ import annotations

from typing import Any

from tests.e2e.home import Home, wait_for

DAGS = """
from dagd import DAG, Variable, task

TABLES = Variable.get("tables", deserialize_json=True)
REGION = Variable.get("region", "nowhere")
TOKEN = Variable.get("api_token", "none")
GRADE = {grade!r}

with DAG("made_of_variables", schedule=None, description=REGION):
    for table in TABLES:
        @task(task_id=f"load_{{table}}", isolation=GRADE)
        def load(table, region):
            print("table", table, region, REGION, len(TOKEN))
            print("token", TOKEN)
        load(table, REGION)
    @task(isolation=GRADE)
    def fails():
        raise RuntimeError(f"no answer for {{TOKEN}}")
    fails()
"""


def set_variables(home: Home, **values: str) -> None:
    for key, value in values.items():
        assert home.run("variables", "set", key, value).returncode == 0


def tasks_of(home: Home) -> set[str]:
    return {one["task_id"] for one in home.json("dags", "show", "made_of_variables")["tasks"]}


def check_grade(home: Home, grade: str) -> dict[str, Any]:
    """A run of the DAG in one grade, with and without a default that is not taken."""
    home.write("variables.py", DAGS.format(grade=grade))
    set_variables(home, tables='["sales", "stock"]', region="north", api_token="top-secret-4711")
    home.up()
    wait_for(lambda: home.knows("made_of_variables"))
    assert home.run("trigger", "made_of_variables", "--wait").returncode == 1
    run: dict[str, Any] = home.json("runs", "show", "made_of_variables/latest")
    states = {one["task_id"]: one["state"] for one in run["tasks"]}
    assert states == {"load_sales": "success", "load_stock": "success", "fails": "failed"}
    for table in ("sales", "stock"):
        log = home.run("logs", f"made_of_variables/latest/load_{table}").stdout
        assert log.splitlines() == [f"table {table} north north 15", "token ***"], log
    assert "no answer for ***" in home.run("logs", "made_of_variables/latest/fails").stdout
    for path in (one for one in home.path.rglob("*") if one.is_file() and "dagd.db" not in one.name):
        assert b"top-secret-4711" not in path.read_bytes(), path
    assert "top-secret" not in home.run("tasks", "show", "made_of_variables/latest/fails", "-o", "json").stdout
    return run


def test_forked_tasks_are_made_of_the_same_values_as_the_dag(home: Home) -> None:
    check_grade(home, "fork")
    set_variables(home, tables='["stock", "staff"]', region="south")
    wait_for(lambda: tasks_of(home) == {"load_stock", "load_staff", "fails"})
    assert home.run("trigger", "made_of_variables", "--wait").returncode == 1
    log = home.run("logs", "made_of_variables/latest/load_staff").stdout
    assert log.splitlines()[0] == "table staff south south 15"


def test_warm_tasks_are_made_of_the_same_values_as_the_dag(home: Home) -> None:
    check_grade(home, "warm")


def test_spawned_tasks_are_made_of_the_same_values_as_the_dag(home: Home) -> None:
    check_grade(home, "spawn")


def test_a_file_that_missed_its_variable_is_well_once_it_is_there(home: Home) -> None:
    home.write("variables.py", DAGS.format(grade="fork"))
    home.up()
    wait_for(lambda: home.json("dags", "errors"))
    [error] = home.json("dags", "errors")
    assert "there is no variable 'tables'" in error["error"]
    set_variables(home, tables='["sales"]')
    wait_for(lambda: home.knows("made_of_variables"))
    wait_for(lambda: not home.json("dags", "errors"))


def test_a_connection_is_refused_at_import_with_its_remedy(home: Home) -> None:
    home.write("conn.py", "from dagd import DAG, Connection\nC = Connection.get('db')\nwith DAG('c'): pass\n")
    done = home.run("dags", "check", str(home.dags))
    assert done.returncode != 0
    assert "asked for a connection while it was imported" in done.stdout + done.stderr
    assert "inside a task" in done.stdout + done.stderr


def test_a_callback_asks_for_variables_and_its_file_too(home: Home) -> None:
    text = """
    from dagd import DAG, Connection, Variable, task
    WHERE = Variable.get("where", "?")
    def tell(context):
        print("told", WHERE, Variable.get("whom", "nobody"), Connection.get("chat").host)
    with DAG("telling", schedule=None):
        @task(on_failure_callback=tell, isolation="spawn")
        def fails():
            raise RuntimeError("bad")
        fails()
    """
    home.write("telling.py", text)
    set_variables(home, where="there", whom="ana")
    assert home.run("connections", "set", "chat", "--uri", "http://chat.example").returncode == 0
    home.up()
    wait_for(lambda: home.knows("telling"))
    assert home.run("trigger", "telling", "--wait").returncode == 1

    def told() -> list[str]:
        return [path.read_text() for path in home.path.rglob("callback.*.log")]

    assert "told there ana chat.example" in wait_for(told)[0]
