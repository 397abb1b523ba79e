"""The DAG versions that schedulers have announced: what zygotes and spawned tries load.

A zygote imports a file, and a file may define hundreds of DAGs: versions that one parse gave to the DAGs of a file have
one content, and share zygotes and warm workers. A later parse may have met another world (a file of settings beside the
DAGs, say), so its versions do not.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace

from dagd.agent.linux import memory_file
from dagd.model.frames import Frame

# What a DAG file read from variables while it was imported is good for so long; then it is imported anew.
FRESH_S = 30.0


@dataclass(slots=True, eq=False)
class Content:
    """What a process loads: {file, folder, sources} in `told`. `key` names it, and the import of it when variables are
    read anew. `secrets` are in what its file read while it was imported; `read_at` is when, monotonic."""

    name: str
    key: str
    told: Frame
    secrets: list[str] = field(default_factory=list)
    read_at: float | None = None
    is_replaced: bool = False

    @property
    def is_stale(self) -> bool:
        """Whether it read variables, and too long ago."""
        return self.read_at is not None and time.monotonic() - self.read_at > FRESH_S


@dataclass(slots=True, eq=False)
class Version:
    """One announced version of one DAG."""

    id: str | int
    dag_id: str
    content: Content
    links: set[object] = field(default_factory=set)
    is_fork_safe: bool = True

    @property
    def key(self) -> str:
        """Names what has to be loaded for it."""
        return self.content.key

    @property
    def encoded(self) -> bytes:
        """What is loaded, as JSON, and which of its DAGs is wanted first."""
        return json.dumps({"id": self.id, "dag_id": self.dag_id, **self.content.told}).encode("utf-8", "surrogatepass")

    def open(self) -> int:
        """A descriptor from which that can be read, from its start. The caller closes it."""
        return memory_file(self.encoded)


class Versions:
    """By id, the last announced. A version is kept while a connection that announced it is open."""

    def __init__(self) -> None:
        self._by_id: dict[str | int, Version] = {}
        self._contents: dict[str, Content] = {}
        self._renewals = 0

    def learn(self, link: object, frame: Frame) -> None:
        """Takes in one `version` frame. Raises KeyError for one whose content was never told."""
        name = str(frame["content"])
        if name not in self._contents:
            self._contents[name] = Content(name, name, {part: frame[part] for part in ("file", "folder", "sources")})
        version = self._by_id.get(frame["id"])
        if version is None or version.content.name != name:
            version = Version(frame["id"], str(frame["dag_id"]), self._contents[name])
            self._by_id[version.id] = version
        version.links.add(link)

    def find(self, id: str | int) -> Version | None:  # noqa: A002
        """The announced version, or None. One whose import is too old is replaced: what is launched now reads anew."""
        version = self._by_id.get(id)
        if version is not None and version.content.is_stale:
            version = self._by_id[id] = replace(version, content=self._fresh(version.content))
        return version

    def _fresh(self, old: Content) -> Content:
        """The import that follows a stale one; the first of its versions that comes here begins it."""
        found = self._contents[old.name]
        if found.is_stale:
            found.is_replaced = True
            self._renewals += 1
            found = self._contents[old.name] = Content(old.name, f"{old.name}~{self._renewals}", old.told)
        return found

    def forget(self, link: object) -> None:
        """The connection is gone, and with it the versions that no other has announced. Tries keep their own."""
        for version in list(self._by_id.values()):
            version.links.discard(link)
            if not version.links:
                del self._by_id[version.id]
        kept = {version.content.name for version in self._by_id.values()}
        self._contents = {name: one for name, one in self._contents.items() if name in kept}
