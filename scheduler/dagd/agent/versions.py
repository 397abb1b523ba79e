"""The DAG versions that schedulers have announced: what zygotes and spawned tries load.

A zygote imports a file, and a file may define hundreds of DAGs: versions that one parse gave to the DAGs of a file have
one content, and share zygotes and warm workers. A later parse may have met another world (a file of settings beside the
DAGs, say), so its versions do not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from dagd.agent.linux import memory_file
from dagd.model.frames import Frame


@dataclass(slots=True, eq=False)
class Version:
    """One announced version. `key` names what a process has to load for it: {file, folder, sources} in `content`."""

    id: str | int
    dag_id: str
    key: str
    content: Frame
    links: set[object] = field(default_factory=set)
    is_fork_safe: bool = True

    @property
    def encoded(self) -> bytes:
        """What is loaded, as JSON: the content, and which of its DAGs is wanted first."""
        return json.dumps({"id": self.id, "dag_id": self.dag_id, **self.content}).encode("utf-8", "surrogatepass")

    def open(self) -> int:
        """A descriptor from which that can be read, from its start. The caller closes it."""
        return memory_file(self.encoded)


class Versions:
    """By id, the last announced. A version is kept while a connection that announced it is open."""

    def __init__(self) -> None:
        self._by_id: dict[str | int, Version] = {}
        self._contents: dict[str, Frame] = {}

    def learn(self, link: object, frame: Frame) -> None:
        """Takes in one `version` frame. Raises KeyError for one whose content was never told."""
        key = str(frame["content"])
        if "sources" in frame:
            self._contents[key] = {name: frame[name] for name in ("file", "folder", "sources")}
        version = self._by_id.get(frame["id"])
        if version is None or version.key != key:
            version = Version(frame["id"], str(frame["dag_id"]), key, self._contents[key])
            self._by_id[version.id] = version
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
        self._contents = {version.key: version.content for version in self._by_id.values()}
