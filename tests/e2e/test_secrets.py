"""Secrets from the environment and from a hook: what a task gets, what nobody sees."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.e2e.home import Home, wait_for

DAGS = """
import base64, os, sys
from dagd import DAG, Connection, Variable, task

REGION = Variable.get("region", "nowhere")

with DAG("hooked", schedule=None, description=REGION):
    @task
    def use():
        token, password = Variable.get("api_token"), Connection.get("warehouse").password
        print("got", len(token), len(password), Connection.get("own").password[-2:] == "77")
        print("basic", base64.b64encode(f"ana:{password}".encode()).decode())
        for part in token[:5], token[5:] + "\\n":
            os.write(1, part.encode())
        os.system(f"echo child {token}")
        print("env", sorted(n for n in os.environ if n.startswith(("DAGD_", "AIRFLOW_"))))
        print("cmdline", open("/proc/self/cmdline").read().count("ask.py"))

    @task
    def misses():
        print(Variable.get("nowhere", "the default"))
        Variable.get("broken")

    use() >> misses()
"""

HOOK = """
import sys
kind, name = sys.argv[1:]
known = {"api_token": "hook-token-4711", "region": "eu-west", "warehouse": "postgres://ana:hook-pass-42@db/x"}
if name == "broken":
    sys.exit("hook-words-99")
if name not in known:
    sys.exit(3)
print(known[name])
"""


def test_a_hook_and_the_environment_answer_and_nothing_is_seen(home: Home) -> None:
    script = Path(home.folder) / "ask.py"
    script.write_text(HOOK)
    home.environment["DAGD_SECRETS__COMMAND"] = f"{sys.executable} {script}"
    home.environment["AIRFLOW_CONN_OWN"] = '{"conn_type": "http", "password": "env-pass-77"}'
    home.write("hooked.py", DAGS)
    home.up()
    wait_for(lambda: home.knows("hooked"))
    assert home.run("trigger", "hooked", "--wait").returncode == 1
    log = home.run("logs", "hooked/latest/use").stdout.splitlines()
    assert log[0] == "got 15 12 True"
    assert re.fullmatch(r"basic YW5hO\*\*\*=*", log[1]), log[1]  # ana: and not a bit more
    assert log[2:] == ["***", "child ***", "env ['DAGD_TRY']", "cmdline 0"]
    missed = home.run("logs", "hooked/latest/misses").stdout
    assert missed.startswith("the default\n")
    assert "the secrets hook" in missed
    assert "failed for the variable 'broken': exit code 1" in missed
    for path in home.path.rglob("*"):
        if path.is_file():
            raw = path.read_bytes()
            for secret in (b"hook-token-4711", b"hook-pass-42", b"env-pass-77", b"hook-words-99"):
                assert secret not in raw, path


def test_a_variable_of_the_environment_wins_over_the_stored_one(home: Home) -> None:
    home.environment["DAGD_VAR_COLOUR"] = "green"
    assert home.run("variables", "set", "colour", "blue").returncode == 0
    home.write("d.py", "from dagd import DAG, Variable\nwith DAG(f\"d_{Variable.get('colour')}\"): pass\n")
    home.up()
    wait_for(lambda: home.knows("d_green"))
