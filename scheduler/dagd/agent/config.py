"""What the agent is told by its command line. Its processes read no settings file and no environment of ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Settings of one agent. `umask` is the user's own, which tries get back; a limit of 0 is none; tries run as
    `run_as`, when it is not empty."""

    home: Path
    slots: int = 32
    idle_exit_s: float = 60.0
    log_limit_mb: int = 100
    task_memory_mb: int = 0
    task_files: int = 0
    task_processes: int = 0
    task_cpu_s: int = 0
    umask: int = 0o022
    run_as: str = ""

    @property
    def run_folder(self) -> Path:
        """Socket, lock, journal."""
        return self.home / "run"

    @property
    def try_limits(self) -> str:
        """The limits of one try as one word; `child.read_limits` reads it."""
        return f"{self.task_memory_mb},{self.task_files},{self.task_processes},{self.task_cpu_s}"

    @property
    def log_folder(self) -> Path:
        """Where the tries' logs go."""
        return self.home / "logs"

    @property
    def xcom_folder(self) -> Path:
        """Where tries leave large values."""
        return self.home / "xcom"

    def to_flags(self) -> list[str]:
        """The command line that `from_flags` reads."""
        return [word for field in fields(self) for word in (_flag(field.name), str(getattr(self, field.name)))]

    @classmethod
    def from_flags(cls, words: Sequence[str]) -> AgentConfig:
        """Raises SystemExit for what it does not know."""
        parser = argparse.ArgumentParser(prog="dagd.agent")
        for field in fields(cls):
            kind = {"home": Path, "idle_exit_s": float, "run_as": str}.get(field.name, int)
            if field.name == "home":
                parser.add_argument(_flag(field.name), type=kind, required=True)
            else:
                parser.add_argument(_flag(field.name), type=kind, default=field.default)
        return cls(**vars(parser.parse_args(words)))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def make_folder(path: Path) -> Path:
    """The folder, made if needed, without rights for group and others."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def current_umask() -> int:
    """This process's umask. Reading it means setting it: only for a single-threaded moment."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
