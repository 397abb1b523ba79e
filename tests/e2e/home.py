"""A dagd home for black-box tests: the daemon as a process, the command line as its only door."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_S = 30.0


def wait_for(fact: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """The first true value of `fact`; fails when it stays false for too long."""
    deadline = time.monotonic() + patience_s
    pause = threading.Event()
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {patience_s} s")
        pause.wait(0.05)
    return value


class Home:
    """One home with a DAG folder; `up` starts the daemon, `cli` runs a command and reads its JSON."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder, self.dags = folder, folder / "dags"
        self.dags.mkdir(exist_ok=True)
        self.path = folder / "home"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGD_")}
        self.environment |= {"DAGD_HOME": str(self.path), "DAGD_DAGS_FOLDER": str(self.dags), "NO_COLOR": "1"}
        self.environment["TESTS_HOME"] = str(self.path)  # no setting of ours: tries and parsed files show it too
        if url is not None:
            self.environment["DAGD_DATABASE_URL"] = url
        self.processes: list[subprocess.Popen[str]] = []
        self.terminals: list[subprocess.Popen[bytes]] = []
        self.user: dict[str, Any] = {}  # as whom it runs, in Popen's words; empty: as the tests do

    def write(self, name: str, text: str) -> Path:
        """Drop a DAG file into the folder, whole."""
        path = self.dags / name
        part = self.folder / f"{name}.part"
        part.write_text(textwrap.dedent(text), "utf-8")
        part.rename(path)
        return path

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """A dagd process in the background, its output in a file of the folder."""
        with (self.folder / f"{words[0]}-{len(self.processes)}.out").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dagd", *words], env={**self.environment, **more}, cwd=self.folder, text=True,
                stdout=log, stderr=subprocess.STDOUT, **self.user,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def up(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """`dagd up`, ready; `more` is in its environment alone."""
        process = self.start("up", *words, **more)
        wait_for(lambda: "Ctrl-C stops" in self.output(process) or process.poll() is not None)
        assert process.poll() is None, self.output(process)
        return process

    def output(self, process: subprocess.Popen[str]) -> str:
        """What a background process has printed."""
        number = self.processes.index(process)
        return "".join(path.read_text() for path in self.folder.glob(f"*-{number}.out"))

    def run(self, *words: str, patience_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "dagd", *words], env=self.environment, cwd=self.folder, text=True,
            capture_output=True, timeout=patience_s, **self.user,
        )  # fmt: skip

    def on_a_terminal(self, *words: str) -> tuple[subprocess.Popen[bytes], Callable[[], str]]:
        """One command that thinks a person looks at it, and what is on its screen so far."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "dagd", *words], env=self.environment, cwd=self.folder, stdin=theirs, stdout=theirs,
            stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        os.set_blocking(ours, False)
        seen = bytearray()

        def screen() -> str:
            while select.select([ours], [], [], 0)[0]:
                try:
                    part = os.read(ours, 65536)
                except OSError:
                    break  # nobody writes any more
                if not part:
                    break
                seen.extend(part)
            return seen.decode("utf-8", "replace")

        self.terminals.append(process)
        return process, screen

    def json(self, *words: str) -> Any:
        """The JSON of a command, whatever its exit code."""
        done = self.run(*words, "-o", "json")
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout)

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, empty while it is not known."""
        done = self.run("runs", "list", dag_id, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else []

    def knows(self, *dag_ids: str) -> bool:
        """Whether these DAGs are listed."""
        listed = {one["dag_id"] for one in self.json("dags", "list")}
        return set(dag_ids) <= listed

    def pids(self, pattern: str = "") -> list[int]:
        """Processes of this home (its path is in their command line or environment)."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                environment = (entry / "environ").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if str(self.path) in words or f"DAGD_HOME={self.path}" in environment or str(self.path) in environment:
                if pattern in words and words:
                    found.append(int(entry.name))
        return found

    def kill(self, pattern: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to every process of this home that matches; returns how many."""
        pids = self.pids(pattern)
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return len(pids)

    def close(self) -> None:
        """Stop everything that is left."""
        for process in [*self.processes, *self.terminals]:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.kill("agent.keeper", signal.SIGTERM)
        wait_for(lambda: not self.pids("dagd.agent") or not self.kill("dagd.agent"), 10)
