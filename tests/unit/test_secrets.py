"""Where variables and connections come from besides the database: the environment, and the secrets hook."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dagd.authoring.store_access import Connection
from dagd.engine.environment import connection_fields, connection_from, variable_from
from dagd.engine.secrets_hook import SecretsHook, ask_object, open_hook
from dagd.model.errors import InvalidSettings, Refused
from dagd.model.settings import load_settings
from dagd.runtime.masking import secrets_of

# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env,key,expected",
    [
        ({}, "x", None),
        ({"DAGD_VAR_X": "1"}, "x", "1"),
        ({"DAGD_VAR_x": "2", "DAGD_VAR_X": "1"}, "x", "2"),
        ({"AIRFLOW_VAR_X": "3"}, "x", "3"),
        ({"AIRFLOW_VAR_X": "3", "DAGD_VAR_X": "1"}, "X", "1"),
        ({"DAGD_VAR_X": ""}, "x", ""),
        ({"DAGD_CONN_X": "a://"}, "x", None),
        ({"DAGD_VAR_X": "1"}, "x\0", None),
    ],
)
def test_a_variable_of_the_environment(env: dict[str, str], key: str, expected: str | None) -> None:
    assert variable_from(key, env) == expected


FIELDS = {"conn_type": "postgres", "host": "h", "login": "me", "password": "p w", "schema": "db", "port": 5}
CONNECTIONS: list[tuple[Any, dict[str, Any]]] = [
    ("postgres://me:p%20w@h:5/db", FIELDS),
    (json.dumps(FIELDS), FIELDS),
    (json.dumps({"conn_type": "http", "extra": {"a": 1}}), {"conn_type": "http", "extra": '{"a": 1}'}),
    ("google-cloud-platform://?key_path=%2Fk", {"conn_type": "google_cloud_platform", "extra": '{"key_path": "/k"}'}),
    ("http://?__extra__=%7B%22a%22%3A%20%5B1%5D%7D", {"conn_type": "http", "extra": '{"a": [1]}'}),
    ("http://https%3A%2F%2Fhost%2Fpath:443", {"conn_type": "http", "host": "https://host/path", "port": 443}),
    (FIELDS, FIELDS),
    (Connection(conn_type="x", host="h"), {"conn_type": "x", "host": "h"}),
]


@pytest.mark.parametrize("given,expected", CONNECTIONS)
def test_a_connection_is_a_uri_json_or_fields(given: Any, expected: dict[str, Any]) -> None:
    assert connection_fields(given, "it") == expected
    if isinstance(given, str):
        assert connection_from("wh", {"DAGD_CONN_WH": given}) == expected
        assert connection_from("WH", {"AIRFLOW_CONN_WH": given}) == expected


@pytest.mark.parametrize("wrong", ["hunter2", '{"password": "hunter2"', "[1]", "a://u:hunter2:x@h:hunter2/", 5, '"x"'])
def test_what_cannot_be_read_is_refused_without_its_text(wrong: Any) -> None:
    with pytest.raises(Refused, match="DAGD_CONN_WH" if isinstance(wrong, str) else "it") as caught:
        connection_from("wh", {"DAGD_CONN_WH": wrong}) if isinstance(wrong, str) else connection_fields(wrong, "it")
    assert "hunter2" not in str(caught.value)


TEXT = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


EXTRA = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.lists(st.integers()), min_size=1)


@given(TEXT, TEXT, TEXT, st.none() | st.integers(1, 65535), st.none() | EXTRA)
def test_a_connection_comes_back_from_its_uri(login: Any, password: Any, schema: Any, port: Any, extra: Any) -> None:
    one = Connection(
        conn_type="my_type", host="h.example", login=login, password=password, schema=schema, port=port,
        extra=None if extra is None else json.dumps(extra),
    )  # fmt: skip
    back = Connection.from_uri(one.get_uri())
    assert back.extra_dejson == one.extra_dejson
    back.extra = one.extra
    assert back == one


def test_the_password_in_a_uri_of_the_environment_is_known_to_be_secret() -> None:
    found = connection_from("wh", {"DAGD_CONN_WH": "postgres://me:hunter22@h/?api_key=k3y3"})
    assert secrets_of("connection", {"id": "wh"}, found) == ["hunter22", "k3y3"]


# --- the hook --------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, sys
kind, name = sys.argv[1:]
ours = sorted(name for name in os.environ if name.startswith("DAGD_"))
with open({log!r}, "a") as file: file.write(f"{{kind}} {{name}} {{ours}}\\n")
if name == "absent": sys.exit(3)
if name == "broken": print("hunter2"); print("hunter2", file=sys.stderr); sys.exit(1)
if name == "binary": sys.stdout.buffer.write(b"\\xff"); sys.exit(0)
if name == "slow":
    import threading; threading.Event().wait(30)
print(f"{{kind}} of {{name}}" if kind == "variable" else "http://me:pw@host")
"""


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SecretsHook:
    script = tmp_path / "ask.py"
    script.write_text(SCRIPT.format(log=str(tmp_path / "log")))
    monkeypatch.setenv("DAGD_DATABASE_URL", "sqlite:///x")
    found = open_hook(load_settings({"DAGD_SECRETS__COMMAND": f"{sys.executable} {script}"}, tmp_path))
    assert found is not None
    return found


def test_a_command_is_asked_once_and_its_answer_is_kept(hook: SecretsHook, tmp_path: Path) -> None:
    for _ in range(3):
        assert hook.variable("x y") == "variable of x y"
        assert hook.connection("c") == {"conn_type": "http", "host": "host", "login": "me", "password": "pw"}
        assert hook.variable("absent") is None
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["variable x y []", "connection c []", "variable absent []"]


@pytest.mark.parametrize("name,why", [("broken", "exit code 1"), ("binary", "no UTF-8"), ("a\0b", "cannot be started")])
def test_a_failing_command_is_named_and_its_words_are_not(hook: SecretsHook, name: str, why: str) -> None:
    with pytest.raises(Refused) as caught:
        hook.variable(name)
    said = str(caught.value)
    assert why in said
    assert Path(sys.executable).name in said
    assert "hunter2" not in said


def test_a_failure_is_asked_again(tmp_path: Path) -> None:
    answers: list[Any] = [OSError("hunter2"), "good", "never"]

    def ask(kind: str, name: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    hook = SecretsHook("mine", ask, 60)
    with pytest.raises(Refused, match="'mine' failed for the variable 'x': OSError") as caught:
        hook.variable("x")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert (hook.variable("x"), hook.variable("x")) == ("good", "good")


def test_a_slow_hook_is_given_up(tmp_path: Path, hook: SecretsHook) -> None:
    env = {"DAGD_SECRETS__COMMAND": f"{sys.executable} {tmp_path / 'ask.py'}", "DAGD_SECRETS__TIMEOUT_S": "1"}
    slow = open_hook(load_settings(env, tmp_path))
    assert slow is not None
    began = time.monotonic()
    with pytest.raises(Refused, match="no answer within 1 s"):
        slow.variable("slow")
    assert time.monotonic() - began < 15


class Backend:
    def __init__(self) -> None:
        self.gate = threading.Event()

    def get_variable(self, key: str) -> str | None:
        if key == "slow":
            self.gate.wait()
        return {"a": "1"}.get(key)

    def get_connection(self, conn_id: str) -> Any:
        return {"conn_type": "http", "password": "pw"} if conn_id == "c" else "hunter2"


def test_a_python_object_can_be_asked_and_may_hang() -> None:
    backend = Backend()
    hook = SecretsHook("vault", ask_object(backend, 0.2), 60)
    assert (hook.variable("a"), hook.variable("b")) == ("1", None)
    assert hook.connection("c") == {"conn_type": "http", "password": "pw"}
    with pytest.raises(Refused, match="no answer within"):
        hook.variable("slow")
    with pytest.raises(Refused, match="'wrong' from the secrets hook 'vault' cannot be read") as caught:
        hook.connection("wrong")
    assert "hunter2" not in str(caught.value)
    backend.gate.set()


def test_answers_are_forgotten_after_their_time() -> None:
    asked: list[str] = []
    hook = SecretsHook("mine", lambda kind, name: asked.append(name), 0)
    assert (hook.variable("x"), hook.variable("x"), asked) == (None, None, ["x", "x"])


def test_settings_of_the_hook_are_checked(tmp_path: Path) -> None:
    assert open_hook(load_settings({}, tmp_path)) is None
    (tmp_path / "dagd.toml").write_text('[secrets]\ncommand = ["vault get", "-x"]\n')
    known = load_settings({}, tmp_path)
    assert known["secrets.command"] == ["vault get", "-x"]
    with pytest.raises(InvalidSettings, match="both"):
        open_hook(load_settings({"DAGD_SECRETS__ENTRY_POINT": "v"}, tmp_path))
    with pytest.raises(InvalidSettings, match="no installed package has a secrets hook 'v'"):
        open_hook(load_settings({"DAGD_SECRETS__ENTRY_POINT": "v"}, tmp_path / "elsewhere"))
