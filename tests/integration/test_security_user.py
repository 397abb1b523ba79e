"""`agent.run_as`: tasks and DAG files are another user's, and dagd's own files are closed to them."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dagd.model.errors import InvalidSettings
from dagd.observe.user import become, find_user
from tests.e2e.home import Home, wait_for
from tests.integration.security_kit import plain_home

USER = "nobody"
FILE = """
import json, os, socket, sys
from pathlib import Path
from dagd import dag, task

HOME, TOLD = {home!r}, {told!r}

def attempt(act):
    try:
        return repr(act())[:80]
    except Exception as error:
        return type(error).__name__

def connect():
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.connect(HOME + "/run/agent.sock")

def tell(name):
    files = ["dagd.db", "keys", "run/agent.journal", "logs/scheduler.log", "run"]
    found = {{file: attempt(lambda: (os.listdir if file == "run" else open)(HOME + "/" + file)) for file in files}}
    found |= {{"connect": attempt(connect), "ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups()}}
    found["parent"] = attempt(lambda: os.kill(os.getppid(), 0) or open("/proc/%s/environ" % HOME_OF_AGENT).read())
    with open(TOLD + "/" + name + ".json", "w") as file:
        json.dump(found, file)

HOME_OF_AGENT = 1
if "dagd.parsing.child" in sys.modules:
    tell("parse")

@dag(schedule=None)
def other():
    @task
    def forked():
        tell("forked")
        return "x" * 200_000

    @task(isolation="spawn")
    def spawned(text):
        tell("spawned")
        return len(text)

    @task.bash
    def shell():
        return "id -un > " + TOLD + "/shell.txt; echo $HOME >> " + TOLD + "/shell.txt"

    spawned(forked()) >> shell()
other()
"""


@pytest.fixture
def home() -> Iterator[Home]:
    """A home of root's, open enough that another user could get to it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give tasks another user")
    user = pwd.getpwnam(USER)
    probe = [sys.executable, "-c", "import dagd.runtime.entry, jinja2"]
    words = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    try:
        subprocess.run(probe, check=True, capture_output=True, cwd="/", **words)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"{USER} cannot read this interpreter or this checkout")
    with plain_home() as found:
        found.user = {}
        found.folder.chmod(0o755)
        yield found


def test_user_code_is_another_user_and_finds_every_file_of_dagd_closed(home: Home) -> None:
    told = home.folder / "told"
    told.mkdir()
    told.chmod(0o777)
    home.environment["DAGD_AGENT__RUN_AS"] = USER
    home.write("other.py", FILE.format(home=str(home.path), told=str(told)))
    home.up()
    assert home.run("connections", "set", "c", "--uri", "http://h").returncode == 0
    wait_for(lambda: home.knows("other"))
    done = home.run("trigger", "other", "--wait")
    assert done.returncode == 0, done.stdout + home.run("logs", "other").stdout
    user = pwd.getpwnam(USER)
    for name in ("parse", "forked", "spawned"):
        found = json.loads((told / f"{name}.json").read_text())
        assert found.pop("ids") == [user.pw_uid] * 3 + [user.pw_gid] * 3, name
        assert 0 not in found.pop("groups")
        assert set(found.values()) == {"PermissionError"}, (name, found)
    assert (told / "shell.txt").read_text().split() == [USER, user.pw_dir]
    spilled = list((home.path / "xcom").iterdir())
    assert [path.stat().st_uid for path in spilled] == [user.pw_uid]


def test_the_setting_is_refused_where_it_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InvalidSettings, match="needs dagd to run as root"):
        find_user(USER)
    with pytest.raises(InvalidSettings, match="no such user"):
        find_user("nobody-has-this-name")
    with pytest.raises(InvalidSettings, match="separates nothing"):
        find_user("root")
    become("")


def test_up_says_in_words_that_the_user_cannot_be_had(tmp_path: Path) -> None:
    found = Home(tmp_path)
    found.environment["DAGD_AGENT__RUN_AS"] = "nobody-has-this-name"
    done = found.run("up")
    assert done.returncode == 2, done
    assert "this machine has no such user" in done.stderr
    assert "Traceback" not in done.stderr
