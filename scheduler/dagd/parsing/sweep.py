"""What lies in the DAG folder: a full stat sweep, cheap enough for every second."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import translate
from functools import lru_cache

Stamp = tuple[int, int, int]  # mtime in ns, size, inode
IGNORE_FILES = (".dagdignore", ".airflowignore")
DANGLING: Stamp = (0, -1, 0)


def scan(folder: str) -> dict[str, Stamp]:
    """Every DAG file (.py) of the folder, by absolute path, with a stamp that changes when it does.

    Links to files are followed, links to folders are not; hidden files and folders, `__pycache__` and what a
    `.dagdignore` names are left out. A dangling link is there, with the stamp DANGLING. A folder that is missing or
    cannot be read is empty.
    """
    found: dict[str, Stamp] = {}
    for path, entry in _walk(os.path.abspath(folder), ()):
        try:
            stat = entry.stat()
        except OSError:
            found[path] = DANGLING
            continue
        found[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def _walk(folder: str, rules: tuple[IgnoreRules, ...]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        return
    names = {entry.name for entry in entries}
    for ignore_file in IGNORE_FILES:
        if ignore_file in names:
            rules = (*rules, read_rules(folder, os.path.join(folder, ignore_file)))
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name == "__pycache__":
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if not is_folder and not name.endswith(".py"):
            continue
        if rules and any(rule.covers(entry.path, is_folder=is_folder) for rule in rules):
            continue
        if is_folder:
            yield from _walk(entry.path, rules)
        elif entry.is_symlink():  # asked first: `is_file` raises on a link that points to itself
            if not os.path.isdir(entry.path):
                yield entry.path, entry
        elif entry.is_file():
            yield entry.path, entry


class IgnoreRules:
    """The globs of one ignore file, relative to its folder. A later rule wins; `!` takes a path back in."""

    def __init__(self, folder: str, lines: Iterator[str]) -> None:
        self.folder = folder
        self.rules: list[tuple[re.Pattern[str], bool, bool, bool]] = []
        for line in lines:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            keeps = text.startswith("!")
            text = text[keeps:]
            only_folders = text.endswith("/")
            is_rooted = "/" in text.rstrip("/")
            self.rules.append((_pattern(text.strip("/")), keeps, only_folders, is_rooted))

    def covers(self, path: str, *, is_folder: bool) -> bool:
        """Whether the path is ignored."""
        relative = os.path.relpath(path, self.folder)
        ignored = False
        for pattern, keeps, only_folders, is_rooted in self.rules:
            if only_folders and not is_folder:
                continue
            if pattern.match(relative if is_rooted else os.path.basename(path)):
                ignored = not keeps
        return ignored


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob.replace("**/", "*")))


@lru_cache(maxsize=64)
def _read_rules(folder: str, path: str, stamp: int) -> IgnoreRules:
    del stamp
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return IgnoreRules(folder, iter(file.read().splitlines()))
    except OSError:
        return IgnoreRules(folder, iter(()))


def read_rules(folder: str, path: str) -> IgnoreRules:
    """The rules of one ignore file; read again when it changed."""
    try:
        stamp = os.stat(path).st_mtime_ns
    except OSError:
        stamp = 0
    return _read_rules(folder, path, stamp)
