"""Lines in `logs/agent.log`, for the person who asks what the agent did and when."""

from __future__ import annotations

import os
import time

from dagd.model.times import iso


def say(text: str) -> None:
    """One line: when, which process, what."""
    line = f"{iso(time.time_ns() // 1000)} agent {os.getpid()}: {text}\n"
    try:
        os.write(2, line.encode("utf-8", "replace"))
    except OSError:
        return
