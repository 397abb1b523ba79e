"""A daemon that runs as a plain user, and a DAG file that attacks it from inside."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.home import Home, wait_for

PR_CAPBSET_DROP = 24
# Text that must never be found: it stands in the settings that only dagd's own processes are told.
MARKER = f"kept-from-every-task-{secrets.token_hex(8)}"
KEY = base64.b64encode(secrets.token_bytes(32)).decode()

ATTACKS = '''
import ctypes, json, os, resource, socket, struct, sys
from pathlib import Path

HOME, MARKER, KEY = {home!r}, {marker!r}, {key!r}
OWN = ("engine.part", "dagd\\0up", "agent.main", "agent.keeper", "agent.logwriter", "agent.root", "parsing.zygote")
libc = ctypes.CDLL(None, use_errno=True)

def processes():
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                name, stat = (entry / "comm").read_text().strip(), (entry / "stat").read_text()
            except OSError:
                continue
            yield int(entry.name), int(stat.rpartition(")")[2].split()[1]), name, words

def others():
    """dagd's own processes of this home: those that name it, `dagd up` above them, and what is below them."""
    seen = list(processes())
    ours = {{pid for pid, _, _, words in seen if HOME in words}}
    ours |= {{parent for _, parent, _, words in seen if HOME in words and "engine.part" in words}}
    for _ in range(4):
        ours |= {{pid for pid, parent, _, _ in seen if parent in ours}}
    for pid, _, name, words in seen:
        if pid in ours and pid not in (os.getpid(), os.getppid()) and any(word in words for word in OWN):
            if name.startswith("dagd-") or "agent.root" not in words:
                yield pid, name, words

def attempt(act):
    try:
        return act()
    except OSError as error:
        return type(error).__name__

def look(path):
    def read():
        with open(path, "rb") as file:
            file.seek(0)
            return "read " + str(len(file.read(4096)))
    return attempt(read)

def environ_of_all():
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if MARKER.encode() in text or KEY.encode() in text:
                found.append((entry.name, (entry / "comm").read_text().strip()))
    return found

def own_environment():
    return sorted(name for name in os.environ if name.startswith("DAGD_"))

def files_of_others():
    places = [f"/proc/{{pid}}/fd/{{number}}" for pid, _, _ in others() for number in (0, 1, 2)]
    return sorted({{attempt(lambda: os.readlink(place)) for place in places}})

def memory_of_others():
    return sorted({{look(f"/proc/{{pid}}/mem") for pid, _, _ in others()}})

def trace_others():
    found = set()
    for pid, _, _ in others():
        done = libc.ptrace(16, pid, 0, 0)  # PTRACE_ATTACH
        found.add("attached" if done == 0 else os.strerror(ctypes.get_errno()))
        if done == 0:
            libc.ptrace(17, pid, 0, 0)
    return sorted(found)

def take_descriptors():
    """pidfd_getfd(2): a copy of a descriptor of another process, its sockets for example."""
    found = set()
    for pid, _, _ in others():
        handle = os.pidfd_open(pid)
        for number in range(3, 12):
            got = libc.syscall(438, handle, number, 0)
            found.add("taken" if got >= 0 else os.strerror(ctypes.get_errno()))
        os.close(handle)
    return sorted(found)

def core_files():
    return list(resource.getrlimit(resource.RLIMIT_CORE))

def count_of_others():
    return sorted(name for _, name, _ in others())

def say(peer, **frame):
    body = json.dumps(frame).encode()
    peer.sendall(struct.pack(">I", len(body)) + body)

def command_the_agent():
    """Speak as a scheduler: launch a try, forget the results of others."""
    def act():
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(10)
        os.chdir(HOME + "/run")
        peer.connect("agent.sock")
        try:
            say(peer, t="hello", protocol=1, incarnation=1, release="0")
            say(peer, t="adopt", tokens=["x"])
            return "answered " + repr(peer.recv(65536)) if peer.recv(1) else "closed"
        except (BrokenPipeError, ConnectionResetError):
            return "closed"
    return attempt(act)

def command_it_from_a_stray():
    """The same from a process that has left its parents."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(command_the_agent()).encode())
        os._exit(0)
    os.close(writing)
    os.wait()
    return os.read(reading, 4096).decode()

def run_all():
    names = ["own_environment", "environ_of_all", "files_of_others", "memory_of_others", "trace_others",
             "take_descriptors", "core_files", "count_of_others", "command_the_agent", "command_it_from_a_stray"]
    return {{name: globals()[name]() for name in names}}
'''

DAG_FILE = """
from dagd import dag, task
if "dagd.parsing.child" in sys.modules:
    try:
        found = run_all()
    except BaseException as error:
        found = {{"error": repr(error)}}
    with open({folder!r} + "/parsed.json.new", "w") as file:
        json.dump(found, file)
    os.rename({folder!r} + "/parsed.json.new", {folder!r} + "/parsed.json")

@dag(schedule=None)
def attack():
    @task
    def attacks():
        found = run_all()
        with open({folder!r} + "/task.txt", "w") as file:
            file.write(json.dumps(found))
        return "done"
    attacks()
attack()
"""


def drop_rights() -> None:
    """What root has beyond a plain user: gone with the next exec. (The bounding set limits what an exec gives root.)"""
    libc = ctypes.CDLL(None)
    for number in range(64):
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)


@contextmanager
def plain_home() -> Iterator[Home]:
    """A home of a daemon without any right of root's."""
    folder = Path(tempfile.mkdtemp(prefix="dagd-security-"))
    home = Home(folder)
    if os.geteuid() == 0:
        home.user = {"preexec_fn": drop_rights}
    home.environment["HOME"] = str(folder)
    try:
        yield home
    finally:
        home.close()
        shutil.rmtree(folder, ignore_errors=True)


def attacked(home: Home) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the attacks found from inside a task, and from inside a DAG file that is parsed."""
    os.umask(0o022)
    home.up(DAGD_SECRETS__CONNECTION_KEY=KEY, DAGD_NOTIFY__SMTP_URL=f"smtp://u:{MARKER}@localhost:1")
    values = {"home": str(home.path), "folder": str(home.folder), "marker": MARKER, "key": KEY}
    home.write("attack.py", ATTACKS.format(**values) + DAG_FILE.format(**values))
    wait_for(lambda: home.knows("attack"))
    done = home.run("trigger", "attack", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr + home.run("logs", "attack").stdout
    told = (home.folder / "task.txt").read_text(), (home.folder / "parsed.json").read_text()
    return json.loads(told[0]), json.loads(told[1])
