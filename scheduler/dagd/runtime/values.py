"""The values of a run as one try sees them: those that came with its launch, those it pulls, those it pushes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, overload

from dagd.authoring.ambient import Asker
from dagd.model.errors import XComRefused
from dagd.model.specs import storable
from dagd.runtime.xcom import LazyValues, decode, encode, length_of

LONGEST_KEY = 250
RETURN_KEY = "return_value"
MISSING: Any = object()


class LazySequence(LazyValues, Sequence[Any]):
    """The results of a mapped task: those of the instances that returned something, decoded when they are read."""

    def __init__(self, entries: Sequence[tuple[int, Any]], folder: str) -> None:
        self._entries, self._folder = list(entries), folder

    @property
    def map_indexes(self) -> list[int]:
        """The indices of the instances, in the order of the values."""
        return [index for index, _ in self._entries]

    def at_index(self, map_index: int) -> Any:
        """The value of one instance, or MISSING."""
        for index, entry in self._entries:
            if index == map_index:
                return _read(entry, self._folder)
        return MISSING

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> LazySequence: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return LazySequence(self._entries[index], self._folder)
        return _read(self._entries[index][1], self._folder)

    def __iter__(self) -> Iterator[Any]:
        for _, entry in self._entries:
            yield _read(entry, self._folder)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, tuple, LazySequence)):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LazySequence({list(self)!r})"


def _read(entry: Any, folder: str) -> Any:
    """An entry is a text, or {"file": name}."""
    if isinstance(entry, str):
        return decode(entry)
    with open(os.path.join(folder, entry["file"]), encoding="utf-8") as file:
        return decode(file.read())


def read_rows(rows: Sequence[Sequence[Any]] | None, folder: str) -> Any:
    """An answer's XCom: rows of (map_index, text, file), by map_index. MISSING when there are none."""
    if not rows:
        return MISSING
    if len(rows) == 1 and rows[0][0] == -1:
        _, text, file = rows[0]
        return _read(text if text is not None else {"file": file}, folder)
    return read_entry({"kind": "mapped", "items": rows}, folder)


def read_entry(entry: dict[str, Any], folder: str) -> Any:
    """A launch's XCom: value | file | mapped. MISSING when there is none."""
    if entry["kind"] == "mapped":
        entries: list[tuple[int, Any]] = []
        for index, text, *file in entry["items"]:
            if text is not None:
                entries.append((index, text))
            elif file and file[0]:
                entries.append((index, {"file": file[0]}))
        return LazySequence(entries, folder)
    if entry["kind"] == "file":
        return _read({"file": entry["path"]}, folder)
    return MISSING if entry.get("text") is None else _read(entry["text"], folder)  # of the kind "missing" too


class Values:
    """Reads what other tasks left: from the launch where it carries it, else by request."""

    def __init__(self, launch: dict[str, Any], channel: Asker) -> None:
        self._launch, self._channel = launch, channel
        self._folder = launch.get("xcom_folder") or ""
        self._read: dict[tuple[Any, ...], Any] = {}

    def of_launch(self, task_id: str, key: str = RETURN_KEY) -> Any:
        """A value that the launch carries; asked for when it does not. MISSING when there is none."""
        return self.pull(self._launch["dag_id"], None, task_id, key, None)

    def is_denied(self, task_id: str, key: str) -> bool:
        """Whether the launch says that a task succeeded and left nothing under the key."""
        return ((self._launch.get("xcom") or {}).get(f"{task_id}|{key}") or {}).get("kind") == "missing"

    def pull(
        self, dag_id: str, run_id: str | None, task_id: str, key: str, map_index: int | None, *, prior: bool = False
    ) -> Any:
        """One value of a task: a LazySequence for a mapped one without `map_index`. MISSING when there is none; with
        `prior` the last earlier run that has one is asked."""
        own_run = dag_id == self._launch["dag_id"] and run_id in {None, self._launch["run"]["run_id"]}
        asked = (dag_id, run_id, task_id, key, map_index, prior)
        if asked in self._read:
            return self._read[asked]
        carried = (self._launch.get("xcom") or {}).get(f"{task_id}|{key}") if own_run else None
        if carried is not None and carried.get("index", map_index) != map_index:
            carried = None  # it is the value of this try's own index
        if carried is not None:
            found = read_entry(carried, self._folder)
        else:
            args = {"dag_id": dag_id, "run_id": run_id or self._launch["run"]["run_id"], "task_id": task_id, "key": key}
            found = read_rows(self._channel.request("xcom", {**args, "prior": True} if prior else args), self._folder)
        if isinstance(found, LazySequence) and map_index is not None:
            found = found.at_index(map_index)
        self._read[asked] = found
        return found


class Outbox:
    """What this try pushes; handed over with its result."""

    def __init__(self, launch: dict[str, Any]) -> None:
        self._folder = launch.get("xcom_folder") or tempfile.gettempdir()
        self._inline = int(launch.get("inline_limit") or 64 * 1024)
        self._limit = int(launch.get("xcom_limit") or 16 * 1024 * 1024)
        self.entries: dict[str, dict[str, Any]] = {}
        self.values: dict[str, Any] = {}

    def push(self, key: Any, value: Any) -> None:
        """Keep a value under a key; a later one replaces it. Raises XComRefused for its type or size."""
        if not isinstance(key, str) or not 0 < len(key) <= LONGEST_KEY or storable(key) != key:
            raise XComRefused(f"the XCom key {key!r:.300} is no text of 1 to {LONGEST_KEY} characters without NUL")
        text = encode(value)
        raw = text.encode("utf-8")
        if len(raw) > self._limit:
            what = f"the XCom {key!r} has {len(raw):,} bytes; the limit is {self._limit:,}"
            raise XComRefused(what, remedy="Store it elsewhere and hand on where, or raise xcom.limit_mb.")
        is_inline = len(raw) <= self._inline
        self.entries[key] = {
            "key": key,
            "text": text if is_inline else None,
            "file": None if is_inline else self._spill(raw),
            "length": length_of(value),
            "size": len(raw),
        }
        self.values[key] = value

    def _spill(self, raw: bytes) -> str:
        """Write to a file named by its content; one that is there already is left alone."""
        name = hashlib.sha256(raw).hexdigest()
        path = os.path.join(self._folder, name)
        if not os.path.exists(path):
            os.makedirs(self._folder, mode=0o700, exist_ok=True)
            handle, draft = tempfile.mkstemp(prefix=".", dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        return name
