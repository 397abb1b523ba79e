"""Waiting for files."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Any

from dagd.authoring.sensor import BaseSensorOperator
from dagd.authoring.store_access import Connection
from dagd.model.triggers import Trigger


class FileSensor(BaseSensorOperator):
    """Waits for a file, a glob (`recursive=True` for `**`), or a folder that holds a file.

    A relative path starts at the `path` of the connection `fs_conn_id`'s extra, if one is named.
    """

    template_fields: Sequence[str] = ("filepath", "fs_conn_id")
    default_isolation = "warm"

    def __init__(
        self,
        *,
        filepath: str,
        fs_conn_id: str | None = None,
        recursive: bool = False,
        deferrable: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        del deferrable
        self.filepath, self.fs_conn_id, self.recursive = filepath, fs_conn_id, recursive

    @property
    def path(self) -> str:
        """The path that is looked for."""
        base = Connection.get(self.fs_conn_id).extra_dejson.get("path", "") if self.fs_conn_id else ""
        return os.path.join(base, os.fspath(self.filepath))

    def poke(self, context: Any) -> bool:
        """Whether it is there."""
        del context
        return find_file(self.path, recursive=self.recursive) is not None

    def wait_trigger(self) -> Trigger:
        """The same look without a process."""
        return {"kind": "file", "path": os.path.abspath(self.path), "recursive": self.recursive}


def find_file(path: str, *, recursive: bool) -> str | None:
    """The first file that a path or glob finds, or the first folder that holds one."""
    for found in glob.iglob(path, recursive=recursive):
        if os.path.isfile(found) or any(files for _, _, files in os.walk(found)):
            return found
    return None
