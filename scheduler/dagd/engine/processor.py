"""The processor: sweeps the DAG folder, parses what changed in the sandbox, and writes versions and errors.

Events of the kernel are a hint, the sweep is the truth. One processor a home: a lock file says so.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

from dagd.engine.doorbell import ring_all
from dagd.engine.environment import variable_from
from dagd.engine.folder import Folder, KnownFile, too_wide
from dagd.engine.secrets_hook import open_hook
from dagd.model.errors import BrokenFile, DagdError, PoolTooSmall, Unreachable
from dagd.model.settings import Settings
from dagd.model.specs import DagSpec, storable
from dagd.observe.metrics import ProcessorMetrics, write_metrics
from dagd.observe.talk import Talk
from dagd.parsing.closure import content_hash
from dagd.parsing.orphans import end_children
from dagd.parsing.results import FileError, Limits, ParsedFile
from dagd.parsing.sandbox import Sandbox
from dagd.parsing.sweep import Stamp, scan
from dagd.runtime.importing import fingerprint
from dagd.store import components, dialects, reads, versions
from dagd.store.database import Connection, Database, DataError, DBAPIError

LOG = logging.getLogger("dagd.processor")
BEAT_S = 4.0
# How often variables that files read at import are looked up again: a secrets hook may ask another machine each time.
VARIABLES_S = 5.0
BATCH_S = 0.25
SLOW_S = 1.0
FIRST_RETRY_S, LONGEST_RETRY_S = 30.0, 3600.0
HOSTILE = "DAGD-111"


class Processor:
    """One duty: what lies in the folder is what the database says of it."""

    def __init__(self, settings: Settings, database: Database, talk: Talk) -> None:
        self._settings, self._database, self._talk = settings, database, talk
        self._root = settings.dags_folder
        self._folder, self._hook = Folder(), open_hook(settings)
        self._is_first = True
        self._present: dict[str, tuple[str, Stamp]] = {}
        self._unwritten: set[str] = set()
        self._before: dict[str, str] | None = None  # the owners before parses that are not settled yet
        self._is_unsettled = False
        self.is_parsing = False
        self.metrics = ProcessorMetrics()
        self._beat_at = self._looked_up_at = 0.0
        self._written_at = self._swept_at = 0.0
        self._in_flight: dict[str, tuple[str, float]] = {}  # absolute path -> (name, since when)
        self._sandbox = self._new_sandbox()

    def _new_sandbox(self) -> Sandbox:
        settings = self._settings
        limits = Limits(settings["parsing.timeout_s"], settings["parsing.cpu_s"], settings["parsing.memory_mb"])
        return Sandbox(
            str(self._root), limits, jobs=2, default_timezone=settings["core.default_timezone"],
            variables=self._variable, on_idle=self._idle, run_as=settings["agent.run_as"],
        )  # fmt: skip

    def _idle(self) -> None:
        """While files are parsed: what the others gave is stored, and what changes meanwhile is parsed beside them."""
        self._flush()
        now = time.monotonic()
        if now - self._swept_at < self._settings["parsing.sweep_s"]:
            return
        self._sandbox.add(self._enlist(self._changed_files()))
        if all(now - since > SLOW_S for _, since in self._in_flight.values()):
            self._settle_some()  # nothing but files that hang: they hold up nobody

    def _enlist(self, names: list[str]) -> list[str]:
        found = {os.path.abspath(self._folder.files[name].path): name for name in names}
        self._in_flight |= {path: (name, time.monotonic()) for path, name in found.items()}
        return list(found)

    def _variable(self, key: str) -> str | None:
        """A variable that a DAG file asks for, looked for in the order of `reader`."""
        found = variable_from(key)
        if found is not None:
            return found
        with self._database.read() as connection:
            found = components.variable_value(connection, key)
        if found is not None or self._hook is None:
            return found
        try:
            return self._hook.variable(key)
        except DagdError as error:  # the file's error says that there is none; why stands here
            LOG.warning("%s", error)
            return None

    def load(self) -> None:
        """Know what the database says: DAGs of files, and errors."""
        with self._database.read() as connection:
            for row in versions.known_dags(connection).values():
                if row.missing_since is None:
                    known = self._folder.files.setdefault(row.file, KnownFile(str(self._root / row.file)))
                    known.dag_ids |= {row.name}

    def poll(self) -> float:
        """One sweep; returns the pause until the next."""
        changed = self._changed_files()
        changed += [name for name in self._outdated_files() if name not in changed]
        gone = self._gone_files()
        if changed or gone or self._is_first or self._before is not None:
            self._parse(changed, gone)
        self._is_first = False
        if not changed:
            self._sandbox.close()
            end_children()
        self._beat()
        return float(self._settings["parsing.sweep_s"])

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at >= BEAT_S:
            with self._database.write() as connection:
                detail = f"{len(self._folder.files)} files"
                components.beat(connection, "processor", socket.gethostname(), os.getpid(), detail)
            write_metrics(self._settings.run_folder, "processor", self.metrics)
            self._beat_at = time.monotonic()

    def _measure(self, name: str, parsed: ParsedFile) -> None:
        self.metrics.parses += 1
        self.metrics.parse_errors += parsed.error is not None
        self.metrics.parse_s[name] = parsed.seconds

    def _changed_files(self) -> list[str]:
        """Files to parse: new, touched with another content, importing something touched, or due for another try."""
        found = {
            storable(os.path.relpath(path, self._root)): (path, stamp) for path, stamp in scan(str(self._root)).items()
        }
        self._present, self._swept_at = found, time.monotonic()
        busy = {name for name, _ in self._in_flight.values()}  # looked at again when its parse has ended
        touched = {
            name
            for name, (path, stamp) in found.items()
            if name not in busy and (name not in self._folder.files or self._folder.files[name].stamp != stamp)
        }
        paths = {found[name][0] for name in touched}
        candidates = touched | ((self._folder.dependents(paths) & set(found)) - busy)
        changed = [name for name in sorted(candidates) if self._is_new_content(name, *found[name])]
        changed += sorted(self._fitting() & (found.keys() - busy - set(changed)))
        now = time.monotonic()
        for name, known in self._folder.files.items():
            if known.try_again_at and now >= known.try_again_at and name in found.keys() - busy and name not in changed:
                known.try_again_at = 0.0
                changed.append(name)
        return changed

    def _fitting(self) -> set[str]:
        """Files that a small pool refused and that its slots allow by now."""
        if not any(known.error and known.error.code == PoolTooSmall.code for known in self._folder.files.values()):
            return set()
        with self._database.read() as connection:
            return self._folder.fitting(_slots(connection))

    def _is_new_content(self, name: str, path: str, stamp: Stamp) -> bool:
        known = self._folder.files.setdefault(name, KnownFile(path))
        is_fresh = known.stamp is None
        known.stamp, known.path = stamp, path
        if is_fresh:
            return True
        try:
            return content_hash(path, str(self._root)) != known.content_hash
        except OSError:
            return True

    def _outdated_files(self) -> list[str]:
        """Files that read a variable while they were imported which is another one now."""
        if time.monotonic() - self._looked_up_at < VARIABLES_S:
            return []
        self._looked_up_at = time.monotonic()
        names = {key for known in self._folder.files.values() for key in known.asked}
        now = {key: fingerprint(self._variable(key)) for key in names}
        return [
            name
            for name, known in self._folder.files.items()
            if name in self._present and any(now[key] != was for key, was in known.asked.items())
        ]

    def _gone_files(self) -> list[str]:
        return [name for name in self._folder.files if name not in self._present]

    def _parse(self, changed: list[str], gone: list[str]) -> None:
        started = time.monotonic()
        if self._before is None:
            self._before = self._folder.owners()
        for name in gone:
            del self._folder.files[name]
            self.metrics.parse_s.pop(name, None)
        self._in_flight.clear()
        self.is_parsing = True
        for parsed in self._sandbox.parse(self._enlist(changed)):
            name, _ = self._in_flight.pop(parsed.path)
            self._folder.take(name, parsed)
            self._measure(name, parsed)
            self._set_retry(name, parsed)
            self._unwritten.add(name)
            self._is_unsettled = True
            self._flush()
        self.is_parsing = False
        self._write()
        self._settle(self._before)
        self._before, self._is_unsettled = None, False
        if changed:
            LOG.info("parsed %s files in %.3f s", len(changed), time.monotonic() - started)

    def _flush(self) -> None:
        """Store what has been parsed for a while and not written yet."""
        if self._unwritten and time.monotonic() - self._written_at > BATCH_S:
            self._written_at = time.monotonic()
            self._write_some()

    def _set_retry(self, name: str, parsed: ParsedFile) -> None:
        known = self._folder.files[name]
        if parsed.error is None or parsed.error.code != HOSTILE:
            known.try_again_at = 0.0
            return
        known.tries += 1
        pause = min(LONGEST_RETRY_S, FIRST_RETRY_S * 4.0 ** (known.tries - 1))
        known.try_again_at = time.monotonic() + pause

    def _write_some(self) -> None:
        """Store what is parsed so far; a database that is away must not lose the files that are still to come."""
        try:
            self._write()
        except (DBAPIError, Unreachable) as error:
            LOG.warning("parsed files wait for the database: %s", error)

    def _settle_some(self) -> None:
        if self._before is None or not self._is_unsettled:
            return
        try:
            self._write()
            self._settle(self._before)
        except (DBAPIError, Unreachable) as error:
            LOG.warning("parsed files wait for the database: %s", error)
        else:
            self._before, self._is_unsettled = self._folder.owners(), False

    def _write(self) -> None:
        """Store the versions of parsed files, in one short transaction, and ring the schedulers. A file stays due
        until a transaction holds it."""
        names = sorted(self._unwritten & set(self._folder.files))
        self._unwritten.intersection_update(names)
        if not names:
            return
        owners = self._folder.owners()
        with self._database.write() as connection:
            now = dialects.clock(connection)
            for name in names:
                known = self._folder.files[name]
                for spec in known.specs.values():
                    if owners[spec.dag_id] == name and known.error is None:
                        self._store(connection, name, spec, now)
            self._write_errors(connection, {name: self._folder.files[name].error for name in names}, now)
        self._unwritten.clear()
        ring_all(self._settings.run_folder)

    def _store(self, connection: Connection, name: str, spec: DagSpec, now: int) -> None:
        """Store one DAG. What the database cannot hold (a lone surrogate in an asset's name) fails its file alone.
        A version that is stored already stays, also when a pool has shrunk since."""
        try:
            with connection.begin_nested() as step:
                number, is_new = versions.store_spec(connection, spec, self._folder.files[name].sources, now)
                refused = too_wide(spec, _slots(connection)) if is_new else None
                if refused is not None:
                    step.rollback()
                    self._folder.files[name].error = refused
                    return
        except (UnicodeError, DataError) as error:
            what = storable(f"DAG {spec.dag_id!r} cannot be stored: {getattr(error, 'orig', None) or error}")
            self._folder.files[name].error = FileError(BrokenFile.code, what, spec.line)
        else:
            self._say_new(name, spec.dag_id, spec.schedule_text, number, is_new)

    def _say_new(self, name: str, dag_id: str, schedule: str | None, number: int, is_new: bool) -> None:
        if is_new and not self._is_first:
            what = f"{schedule or 'no schedule'}" if number == 1 else f"version {number}"
            self._talk.say("new", f"{dag_id}    {self._shown(name)}   {what}")

    def _shown(self, name: str) -> str:
        return f"{self._root.name}/{name}"

    def _settle(self, before: dict[str, str]) -> None:
        """After the parses: DAGs without a file, DAGs that another file takes over, errors."""
        owners = self._folder.owners()
        lost = set(before) - set(owners)
        heirs = {dag_id for dag_id in owners if before.get(dag_id, owners[dag_id]) != owners[dag_id]}
        with self._database.write() as connection:
            now = dialects.clock(connection)
            for dag_id in sorted(heirs):
                known = self._folder.files[owners[dag_id]]
                if dag_id in known.specs:
                    self._store(connection, owners[dag_id], known.specs[dag_id], now)
            versions.mark_missing(connection, lost, now)
            errors = {name: self._folder.error_of(name, owners) for name in self._folder.files}
            stored = versions.known_errors(connection)
            versions.clear_errors(connection, [name for name in stored if errors.get(name) is None])
            self._write_errors(connection, errors, now)
        for dag_id in sorted(lost):
            self._talk.say("gone", f"{dag_id}    its file is gone; runs in flight finish, no slot starts")
        if lost or heirs:
            ring_all(self._settings.run_folder)

    def _write_errors(self, connection: Any, errors: dict[str, FileError | None], now: int) -> None:
        for name, error in errors.items():
            if error is None:
                continue
            text = error.message if not error.remedy else f"{error.message}. {error.remedy}"
            row = versions.FileError(name, error.line, error.code, storable(text), storable(error.traceback) or None)
            good = max(
                (versions.number_of(connection, dag) or 0 for dag in self._folder.files[name].dag_ids), default=0
            )
            if versions.put_error(connection, row, now, good or None) and not self._is_first:
                place = self._shown(name) + (f":{error.line}" if error.line else "")
                tail = f"   → version {good} keeps running" if good else ""
                self._talk.say("error", f"{place}   {error.first_line}{tail}")

    def summary(self, took_s: float) -> dict[str, Any]:
        """What `up` says of the first sweep."""
        owners = self._folder.owners()
        errors = sum(self._folder.error_of(name, owners) is not None for name in list(self._folder.files))
        return {"files": len(self._present), "dags": len(owners), "errors": errors, "ms": int(took_s * 1000)}

    def close(self) -> None:
        """End the sandboxes."""
        self._sandbox.close()


def _slots(connection: Connection) -> dict[str, int]:
    return {row.name: row.slots for row in reads.pools(connection)}
