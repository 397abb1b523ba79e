"""Starting fresh Python processes: the root zygote, the log writer, and tries of the spawn grade."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def spawn_python(module: str, words: Sequence[str], keep: Sequence[int], env: Mapping[str, str] | None = None) -> int:
    """The pid of a new `python -P -m module words...` with standard files and `keep` open, and no signal blocked."""
    command = [sys.executable, "-P", "-m", module, *words]
    for fd in keep:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawn(sys.executable, command, os.environ if env is None else env, setsigmask=[])
    finally:
        for fd in keep:
            os.set_inheritable(fd, False)
