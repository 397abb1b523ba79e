"""The local modules that a DAG file imports, found by reading alone, and the hash of all of their texts.

Import statements are matched line by line, also inside functions and strings: what is found too much only causes a
parse too many, whereas building a syntax tree of a hostile file in the daemon's own process could end it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from tokenize import detect_encoding
from typing import BinaryIO

from dagd.model.specs import content_hash as hash_texts

_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*(?:from[ \t]+(?P<base>\.*[\w.]*)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n;#]*)"
    r"|import[ \t]+(?P<modules>[\w.][\w., \t]*))",
    re.MULTILINE,
)
_CALL = re.compile(r"(?:__import__|import_module)\(\s*['\"]([\w.]+)['\"]")
_NAME = re.compile(r"\w+")
_LARGEST = 8 << 20
_MOST_FILES = 2000


def decode_source(raw: bytes) -> str:
    """The text of a Python file: its declared encoding, else UTF-8. Raises SyntaxError or UnicodeDecodeError."""
    encoding, _ = detect_encoding(BytesIO(raw).readline)
    return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def open_regular(path: str) -> BinaryIO:
    """A regular file for reading. Anything else (a pipe, a device, a folder) would block, or never end: OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return os.fdopen(fd, "rb")


def read_text(path: str) -> str:
    """The text of a file for hashing; bytes that are no text are kept apart, not refused. Raises OSError."""
    with open_regular(path) as file:
        raw = file.read(_LARGEST + 1)
    try:
        return decode_source(raw)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return raw.decode("utf-8", "surrogateescape")


def imported_modules(text: str) -> Iterator[str]:
    """The dotted names that a text may import; relative ones keep their leading dots."""
    for found in _IMPORT.finditer(text.replace("\\\n", " ")):
        base = found["base"]
        if base:
            yield base
            joint = "" if base.endswith(".") else "."
            for part in found["names"].strip("()").split(","):
                name = _NAME.match(part.strip())
                if name:
                    yield f"{base}{joint}{name[0]}"
        else:
            for part in (found["modules"] or "").split(","):
                if part.strip():
                    yield part.split()[0]
    yield from _CALL.findall(text)


def local_files(name: str, folders: Iterable[str], package: str) -> Iterator[str]:
    """The files below the folders that an import of `name` executes: the module, and the packages above it."""
    if name.startswith("."):
        dots = len(name) - len(name.lstrip("."))
        base = package
        for _ in range(dots - 1):
            base = os.path.dirname(base)
        bases, name = [base], name.lstrip(".")
    else:
        bases = list(folders)
    for base in bases:
        place = base
        for part in name.split(".") if name else []:
            place = os.path.join(place, part)
            for candidate in (f"{place}.py", os.path.join(place, "__init__.py")):
                if os.path.isfile(candidate):
                    yield candidate


def closure(path: str, folder: str, text: str | None = None) -> dict[str, str]:
    """The texts of a file and of every local module that it imports, directly or not, by absolute path.

    Files outside the DAG folder are none of it. Raises OSError when the file itself cannot be read.
    """
    folder = os.path.abspath(folder)
    start = os.path.abspath(path)
    folders = [folder] if os.path.dirname(start) == folder else [os.path.dirname(start), folder]
    texts = {start: read_text(start) if text is None else text}
    pending = [start]
    known: dict[str, tuple[str, ...]] = {}
    while pending and len(texts) < _MOST_FILES:
        current = pending.pop()
        package = os.path.dirname(current)
        for name in dict.fromkeys(imported_modules(texts[current])):
            key = f"{package}|{name}" if name.startswith(".") else name
            if key not in known:
                known[key] = tuple(local_files(name, folders, package))
            for found in known[key]:
                if found not in texts and found.startswith(folder + os.sep):
                    with suppress(OSError):  # it went between two looks; its absence will be seen by the next sweep
                        texts[found] = read_text(found)
                        pending.append(found)
    return texts


def hash_sources(texts: dict[str, str], folder: str) -> str:
    """One hash of several files: their paths relative to the folder, and their texts."""
    parts: list[str] = []
    for path in sorted(texts):
        parts += [os.path.relpath(path, folder), texts[path]]
    return hash_texts(*parts)


def content_hash(path: str, folder: str) -> str:
    """The hash of a DAG file and of all that it imports from the DAG folder. Raises OSError."""
    return hash_sources(closure(path, folder), os.path.abspath(folder))
