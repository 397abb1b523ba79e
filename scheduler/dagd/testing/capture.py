"""What a task prints: its own lines and those of the commands that it starts."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Captured:
    """The text, once the block has ended."""

    text = ""


@contextmanager
def captured() -> Iterator[Captured]:
    """Within the block standard output and error go to a file; afterwards they are shown on standard error."""
    found = Captured()
    before = sys.stdout, sys.stderr
    for stream in before:
        stream.flush()
    saved = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as file:
        stream = open(os.dup(file.fileno()), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        try:
            for fd in (1, 2):
                os.dup2(file.fileno(), fd)
            sys.stdout = sys.stderr = stream
            yield found
        finally:
            sys.stdout, sys.stderr = before
            for fd, old in zip((1, 2), saved, strict=True):
                os.dup2(old, fd)
                os.close(old)
            with suppress(OSError, ValueError):  # the task may have closed it
                stream.close()
            file.seek(0)
            found.text = file.read().decode("utf-8", "replace")
    sys.stderr.write(found.text)
