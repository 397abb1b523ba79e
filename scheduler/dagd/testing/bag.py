"""A folder of DAG files, parsed as the processor would; what is wrong with them is data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dagd.authoring.dag import DAG
from dagd.engine.environment import variable_from
from dagd.model.errors import NotFound, did_you_mean
from dagd.model.settings import load_settings
from dagd.model.specs import DagSpec
from dagd.parsing.results import Finding, Limits, ParsedFile
from dagd.parsing.sandbox import parse_many
from dagd.parsing.sweep import scan
from dagd.runtime.entry import load_version
from dagd.runtime.importing import ImportAsker


class ImportErrors(dict[str, str]):
    """file -> what is wrong with it, in a text that an assertion can show."""

    def __repr__(self) -> str:
        told = [f"  {file}: {text}" for file, text in sorted(self.items())]
        return "\n".join([f"{len(self)} DAG file(s) with errors:", *told]) if self else "{}"


class Dags(Mapping[str, DAG]):
    """dag_id -> DAG, each loaded into this process when it is first asked for."""

    def __init__(self, bag: DagBag) -> None:
        self._bag = bag

    def __getitem__(self, dag_id: str) -> DAG:
        if dag_id not in self._bag.specs:
            raise KeyError(dag_id)
        return self._bag.get_dag(dag_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._bag.specs)

    def __len__(self) -> int:
        return len(self._bag.specs)

    def __repr__(self) -> str:
        return f"{{{', '.join(self)}}}"


class DagBag:
    """What a folder (default: the one in the settings) or one file defines.

    `specs` are the compiled DAGs, `dags` the DAG objects, `import_errors` what `dagd dags errors` would show,
    `findings` what `dagd dags check` warns of. Variables that files read while they are imported come from
    `variables`, then from the environment.
    """

    def __init__(self, place: str | os.PathLike[str] | None = None, variables: Mapping[str, str] | None = None) -> None:
        known = load_settings()
        given = Path(place).absolute() if place is not None else known.dags_folder
        if not given.exists():
            raise NotFound(f"there is no DAG folder {given}", remedy="Set dagd_dags_folder in your pytest settings.")
        self.folder = str(given if given.is_dir() else given.parent)
        self.import_errors = ImportErrors()
        self.findings: list[Finding] = []
        self.specs: dict[str, DagSpec] = {}
        self._files: dict[str, ParsedFile] = {}
        self._loaded: dict[str, DAG] = {}
        self._variables = dict(variables or {})
        paths = sorted(scan(self.folder)) if given.is_dir() else [str(given)]
        limits = Limits(known["parsing.timeout_s"], known["parsing.cpu_s"], known["parsing.memory_mb"])
        found = parse_many(
            paths, self.folder, limits, default_timezone=known["core.default_timezone"], lint=True,
            variables=self._variable,
        )  # fmt: skip
        for parsed in sorted(found, key=lambda one: one.file):
            self._take(parsed)

    def _take(self, parsed: ParsedFile) -> None:
        self.findings += parsed.findings
        if parsed.error is not None:
            line = f"line {parsed.error.line}: " if parsed.error.line else ""
            self.import_errors[parsed.file] = f"{line}{parsed.error.code}: {parsed.error.message}"
        for spec in parsed.dags:
            if spec.dag_id in self.specs:
                first = self._files[spec.dag_id].file
                self.import_errors[parsed.file] = f"DAGD-107: DAG {spec.dag_id!r} is defined in {first} already"
                continue
            self.specs[spec.dag_id], self._files[spec.dag_id] = spec, parsed

    @property
    def dags(self) -> Mapping[str, DAG]:
        """The DAG objects by id, loaded on demand."""
        return Dags(self)

    @property
    def dag_ids(self) -> list[str]:
        """All ids."""
        return list(self.specs)

    def get_dag(self, dag_id: str) -> DAG:
        """The DAG object of that id, loaded into this process. Raises NotFound with the nearest one."""
        if dag_id not in self.specs:
            raise NotFound(self._missing(dag_id), remedy=did_you_mean(dag_id, self.specs))
        if dag_id not in self._loaded:
            parsed = self._files[dag_id]
            version: dict[str, Any] = {"id": None, "dag_id": dag_id, "file": parsed.path, "folder": self.folder}
            self._loaded[dag_id] = load_version({**version, "sources": parsed.sources}, ImportAsker(self._variable)).dag
        return self._loaded[dag_id]

    def _variable(self, key: str) -> str | None:
        return self._variables[key] if key in self._variables else variable_from(key)

    def _missing(self, dag_id: str) -> str:
        told = f"there is no DAG {dag_id!r} in {self.folder}"
        return f"{told}; {self.import_errors!r}" if self.import_errors else told

    def __contains__(self, dag_id: object) -> bool:
        return dag_id in self.specs

    def __getitem__(self, dag_id: str) -> DAG:
        return self.get_dag(dag_id)

    def __len__(self) -> int:
        return len(self.specs)

    def __repr__(self) -> str:
        return f"<DagBag {self.folder}: {len(self.specs)} DAGs, {len(self.import_errors)} files with errors>"
