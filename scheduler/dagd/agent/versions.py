"""The DAG versions that schedulers have announced: what zygotes and spawned tries load.

A zygote imports a file, and a file may define hundreds of DAGs: versions that one parse gave to the DAGs of a file have
one `key`, and share zygotes and warm workers. A later parse may have met another world (a file of settings beside the
DAGs, say), so its versions do not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from dagd.agent.linux import memory_file
from dagd.model.frames import Frame


@dataclass(slots=True, eq=False)
class Version:
    """One announced version. `key` names what a process has to load for it."""

    id: str | int
    key: str
    encoded: bytes
    links: set[object] = field(default_factory=set)
    is_fork_safe: bool = True

    def open(self) -> int:
        """A descriptor from which the version frame can be read, JSON, from its start. The caller closes it."""
        return memory_file(self.encoded)


class Versions:
    """By id, the last announced. A version is kept while a connection that announced it is open."""

    def __init__(self) -> None:
        self._by_id: dict[str | int, Version] = {}

    def learn(self, link: object, frame: Frame) -> None:
        """Takes in one `version` frame."""
        encoded = json.dumps(frame).encode("utf-8", "surrogatepass")
        shared = {name: value for name, value in frame.items() if name not in {"id", "dag_id"}}
        key = hashlib.blake2b(json.dumps(shared).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        version = self._by_id.get(frame["id"])
        if version is None or version.key != key:
            version = self._by_id[frame["id"]] = Version(frame["id"], key, encoded)
        version.links.add(link)

    def find(self, id: str | int) -> Version | None:  # noqa: A002
        """The announced version, or None."""
        return self._by_id.get(id)

    def forget(self, link: object) -> None:
        """The connection is gone, and with it the versions that no other has announced. Tries keep their own."""
        for version in list(self._by_id.values()):
            version.links.discard(link)
            if not version.links:
                del self._by_id[version.id]
