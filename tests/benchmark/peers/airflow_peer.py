"""Airflow: LocalExecutor, API server, scheduler and DAG processor, on the Postgres that is given, else on SQLite."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import kit

ORDER = kit.read_order()
LOG = ORDER.folder / "tasks.log"
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
API = f"http://127.0.0.1:{PORT}"
KEPT_URL = (ORDER.database or f"sqlite:///{ORDER.folder}/airflow.db").replace("+psycopg", "+psycopg2")
ENVIRONMENT = {
    **os.environ, "AIRFLOW_HOME": str(ORDER.folder), "AIRFLOW__CORE__DAGS_FOLDER": str(ORDER.folder / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": KEPT_URL,
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{API}/execution/", "AIRFLOW__API__PORT": str(PORT),
    "AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__WORKERS": "1", "AIRFLOW__API_AUTH__JWT_SECRET": "bench" * 8,
    "AIRFLOW__API__BASE_URL": API, "AIRFLOW__CORE__PARALLELISM": "32", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False", "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "10000",
    "AIRFLOW__CORE__MAX_ACTIVE_RUNS_PER_DAG": "1000", "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "300",
}  # fmt: skip
DAGS = """
import sys
sys.path.insert(0, {kit!r})
import kit
from airflow.sdk import DAG, task

@task
def step():
    kit.note({log!r})

for name, edges in {shapes!r}.items():
    with DAG(name, schedule=None):
        tasks = {{}}
        for one, upstreams in edges:
            tasks[one] = step.override(task_id=one)()
            for other in upstreams:
                tasks[other] >> tasks[one]
"""


def ask(path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
    """Airflow's own API."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers), timeout=60) as answer:
        return json.loads(answer.read())


def answers(path: str, token: str = "") -> bool:
    """Whether it is there."""
    try:
        ask(path, token=token)
    except OSError:
        return False
    return True


def main() -> None:
    """All parts for the time of the measurement."""
    (ORDER.folder / "dags").mkdir()
    shapes = {shape.name: shape.edges() for shape in ORDER.shapes}
    body = DAGS.format(kit=os.path.dirname(os.path.abspath(__file__)), log=str(LOG), shapes=shapes)
    (ORDER.folder / "dags" / "bench.py").write_text(body)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=ENVIRONMENT, stdout=sys.stderr, check=True)
    parts = [
        subprocess.Popen([sys.executable, "-m", "airflow", part], env=ENVIRONMENT, stdout=sys.stderr)
        for part in ("api-server", "scheduler", "dag-processor")
    ]
    try:
        kit.until(lambda: answers("/api/v2/version"), "Airflow's API server")
        token = ask("/auth/token")["access_token"]
        for shape in ORDER.shapes:
            kit.until(lambda name=shape.name: answers(f"/api/v2/dags/{name}", token), f"the DAG {shape.name}")

        def run(shape: kit.Shape) -> None:
            for _ in range(shape.runs):
                ask(f"/api/v2/dags/{shape.name}/dagRuns", {"logical_date": None}, token)

        setting = f"LocalExecutor, {'Postgres' if ORDER.database else 'SQLite'}"
        kit.measure(ORDER, LOG, run, "apache-airflow", setting)
    finally:
        for part in parts:
            part.terminate()
        for part in parts:
            try:
                part.wait(30)
            except subprocess.TimeoutExpired:
                part.kill()


main()
