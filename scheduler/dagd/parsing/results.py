"""What the parse of one file says, as data that crosses a pipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dagd.model.specs import DagSpec, spec_from_json, spec_to_json

# The pools that a lint knows, with their slots; None where only the name is known.
Pools = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the parse of one file may take. Beyond them it is ended, and the file has an error."""

    wall_s: float = 8.0
    cpu_s: float = 5.0
    memory_mb: int = 1024
    output_mb: int = 10
    files_per_child: int = 50


@dataclass(frozen=True, slots=True)
class FileError:
    """Why a file has no DAGs now. `line` is None where no line can be named."""

    code: str
    message: str
    line: int | None = None
    traceback: str = ""
    remedy: str | None = None

    @property
    def first_line(self) -> str:
        """What a list shows."""
        return self.message.partition("\n")[0]

    def masked(self, mask: Callable[[str], str]) -> FileError:
        """The same with each of its texts as `mask` shows it."""
        return replace(self, message=mask(self.message), traceback=mask(self.traceback))


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that works, and surprises later. `code` is DAGD-L and three digits; `file` as users know it."""

    code: str
    message: str
    file: str
    line: int | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedFile:
    """One file's DAGs, or its error. `file` is relative to the DAG folder, with slashes; `path` is absolute.

    `sources` has the text of the file, of the local modules that it imports, and of the template files that its tasks
    name, by absolute path; `content_hash` is theirs. A file without DAGs and without an error is a module for others.
    `asked` has the variables that it read, each with a fingerprint of the value that it got.
    """

    path: str
    file: str
    dags: tuple[DagSpec, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    content_hash: str = ""
    error: FileError | None = None
    findings: tuple[Finding, ...] = ()
    output: str = ""
    seconds: float = 0.0
    asked: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it crosses a pipe."""
        return {
            "path": self.path,
            "file": self.file,
            "dags": [spec_to_json(spec) for spec in self.dags],
            "sources": self.sources,
            "content_hash": self.content_hash,
            "error": asdict(self.error) if self.error else None,
            "findings": [asdict(one) for one in self.findings],
            "output": self.output,
            "seconds": self.seconds,
            "asked": self.asked,
        }


def parsed_from_json(raw: dict[str, Any]) -> ParsedFile:
    """The inverse of `to_json`."""
    return ParsedFile(
        **{
            **raw,
            "dags": tuple(spec_from_json(text) for text in raw["dags"]),
            "error": FileError(**raw["error"]) if raw["error"] else None,
            "findings": tuple(Finding(**one) for one in raw["findings"]),
        }
    )
