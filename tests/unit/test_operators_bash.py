"""Shell commands: outcomes by exit code, the last line, environment, folder, and being stopped."""
# ruff: noqa: E501 - a case of a table, or a line of a DAG file, is one line

from __future__ import annotations

import os
import signal
import threading
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from dagd.authoring.shell import _LastLine, run_command
from dagd.runtime.xcom import decode
from tests.unit.runtime_kit import drive, load, value_of

HEAD = "from dagd import *\nfrom dagd import DAG, task\nfrom dagd_operators.bash import BashOperator\nwith DAG('d'):\n"


@pytest.fixture(autouse=True)
def _no_process_is_left(monkeypatch):
    """Here no agent ends what a command leaves in the background: processes that carry this test's mark are ended."""
    mark = f"unit-test-{uuid.uuid4()}"
    monkeypatch.setenv("DAGD_TRY", mark)
    yield
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environment.read_bytes() and int(environment.parent.name) != os.getpid():
                os.kill(int(environment.parent.name), signal.SIGKILL)


def bash(folder, command, more="", **given):
    """The frame of one command."""
    loaded = load(folder, f"{HEAD}    BashOperator(task_id='a', bash_command={command!r}{more})\n")
    return drive(loaded, "a", **given)


OUTCOMES = [
    ("true", "", {"outcome": "succeed"}),
    ("exit 3", "", {"outcome": "fail", "exit_code": 3, "signal": None, "reason": "exit code", "no_retry": False}),
    ("exit 99", "", {"outcome": "skip"}),
    ("exit 99", ", skip_on_exit_code=None", {"outcome": "fail", "exit_code": 99}),
    ("exit 7", ", skip_on_exit_code=[7, 8]", {"outcome": "skip"}),
    ("exit 99", ", skip_on_exit_code=[7, 8]", {"outcome": "fail"}),
    ("kill -9 $$", "", {"outcome": "fail", "exit_code": None, "signal": 9, "reason": "signal"}),
    ("no_such_command_x", "", {"outcome": "fail", "exit_code": 127}),
    ("echo {{ nope }}", "", {"outcome": "fail"}),
    ("pwd", ", cwd='/no/such/folder'", {"outcome": "fail"}),
    ("  ", "", {"outcome": "fail"}),
]


@pytest.mark.parametrize("command,more,expected", OUTCOMES)
def test_the_exit_code_decides(command, more, expected, tmp_path):
    frame = bash(tmp_path, command, more)
    assert {key: frame[key] for key in expected} == expected


LAST_LINES = [
    ("echo one; echo two", "two"),
    ("printf 'a\\nb'", "b"),
    ("printf 'a\\n\\n'", ""),
    ("true", ""),
    ("echo out; echo err >&2", "out"),
    ("echo '  kept left  '", "  kept left"),
    ("printf '\\xff\\n'", "\\xff"),
    ("echo done; sleep 600 &", "done"),
    ("(sleep 600; echo late) & echo early", "early"),
    ("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end", "end"),
    ("printf %s {{ run_id }}-{{ ds }}", "m-1-2024-01-01"),
]


@pytest.mark.parametrize("command,expected", LAST_LINES)
def test_the_last_line_of_stdout_is_the_value(command, expected, tmp_path):
    assert decode(value_of(bash(tmp_path, command))) == expected


def test_output_is_passed_on_as_it_was(tmp_path, capfd):
    bash(tmp_path, "printf 'a\\tb\\n'; echo err >&2; printf 'no newline'")
    captured = capfd.readouterr()
    assert captured.out == "a\tb\nno newline"
    assert "err" in captured.err


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "a\nb\n", "\n", "\n\n", "ab\n\ncd\n"])
def test_the_last_line_does_not_depend_on_how_output_arrives(text, chunk):
    last, raw = _LastLine(), text.encode()
    for start in range(0, len(raw), chunk):
        last.feed(raw[start : start + chunk])
    assert last.text("utf-8") == (text.removesuffix("\n").split("\n")[-1] if text else "")


def test_values_are_quoted_and_env_is_not(tmp_path):
    params = {"run": {"params": {"x": "$(touch pwned) 'q' \"d\""}}}
    frame = bash(
        tmp_path,
        'printf \'%s|\' {{ params.x }} "{{ params.x }}"; printf %s "$E"',
        ", env={'E': '{{ params.x }}'}, append_env=True",
        **params,
    )
    value = "$(touch pwned) 'q' \"d\""
    assert decode(value_of(frame)) == f"{value}|{value}|{value}"
    assert decode(value_of(bash(tmp_path, "echo {{ 'a   b' | raw }}"))) == "a b"


def test_env_replaces_the_environment_unless_appended(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_US", "1")
    monkeypatch.setenv("DAGD_TRY", "tok")
    command = "echo ${FROM_US:-no} ${GIVEN:-no} $DAGD_TRY $AIRFLOW_CTX_DAG_ID/$AIRFLOW_CTX_TASK_ID"
    assert decode(value_of(bash(tmp_path, command))) == "1 no tok d/a"
    assert decode(value_of(bash(tmp_path, command, ", env={'GIVEN': 'g'}"))) == "no g tok d/a"
    assert decode(value_of(bash(tmp_path, command, ", env={'GIVEN': 'g'}, append_env=True"))) == "1 g tok d/a"


def test_a_command_runs_in_cwd_or_in_a_folder_that_goes_with_it(tmp_path):
    assert decode(value_of(bash(tmp_path, "pwd", f", cwd={str(tmp_path)!r}"))) == str(tmp_path)
    folder = decode(value_of(bash(tmp_path, "touch x; pwd")))
    assert folder != os.getcwd()
    assert not Path(folder).exists()


def test_a_script_beside_the_dag_is_a_template(tmp_path):
    (tmp_path / "run.sh").write_text("printf '[%s]' {{ params.x }}\n")
    frame = bash(tmp_path, "run.sh", run={"params": {"x": "a b"}})
    assert decode(value_of(frame)) == "[a b]"


def test_the_output_processor_makes_the_value(tmp_path):
    assert value_of(bash(tmp_path, "echo '{\"a\": 1}'", ", output_processor=__import__('json').loads")) == '{"a":1}'


def test_task_bash_runs_what_its_function_returns(tmp_path):
    text = (
        HEAD
        + "    @task.bash(env={'E': 'x'}, append_env=True)\n    def a(name): return 'echo ' + name + ' $E {{ ds }} {{ params.p }}'\n    a('n')\n"
    )
    frame = drive(load(tmp_path, text), "a", run={"params": {"p": "; exit 1"}})
    assert decode(value_of(frame)) == "n x 2024-01-01 ; exit 1"


def test_a_stop_is_handed_on_to_the_command_and_waits_for_it(tmp_path):
    ready, clean = tmp_path / "ready", tmp_path / "clean"
    os.mkfifo(ready)
    command = f"trap 'touch {clean}; exit 0' TERM; echo > {ready}; sleep 600 & wait"
    loaded = load(tmp_path, f"{HEAD}    BashOperator(task_id='a', bash_command={command!r})\n")

    def stop():
        ready.read_text()
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopper = threading.Thread(target=stop)
    stopper.start()
    frame = drive(loaded, "a")
    stopper.join()
    assert clean.exists()
    assert (frame["outcome"], frame["signal"]) == ("fail", signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_has_a_group_of_its_own(tmp_path):
    code, last = run_command(["bash", "-c", "ps -o pgid= -p $$"], env=dict(os.environ), cwd=str(tmp_path))
    assert (code, int(last) != os.getpgid(0)) == (0, True)
