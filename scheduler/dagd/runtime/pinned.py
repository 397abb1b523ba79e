"""Serves the pinned sources of a version: the text of a local module is the one that the version was parsed with.

Modules are found as always, with the DAG folder last on `sys.path`, so that nothing of the standard library is ever
shadowed; only the text of those that belong to the version is replaced. A file that is gone since is served too.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType

from dagd.runtime.classes import LOCAL_FOLDERS


class PinnedLoader(InspectLoader):
    """Executes a module from a text instead of from its file."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source

    def get_source(self, fullname: str) -> str:
        """The pinned text; tracebacks show its lines."""
        del fullname
        return self.source

    def get_filename(self, fullname: str) -> str:
        """The original path."""
        del fullname
        return self.path

    def get_code(self, fullname: str) -> CodeType:
        """The compiled text. No cache file is read or written."""
        del fullname
        return compile(self.source, self.path, "exec", dont_inherit=True)

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package."""
        del fullname
        return os.path.basename(self.path) == "__init__.py"


class PinnedFinder(MetaPathFinder):
    """Finds modules as the path finder does, and gives those of the version their pinned text."""

    def __init__(self, folders: Sequence[str], sources: Mapping[str, str]) -> None:
        self.folders, self.sources = tuple(folders), dict(sources)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a pinned module, or None for every other."""
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.origin is not None:
            return self._pin(fullname, found.origin) if found.origin in self.sources else None
        return self._find_vanished(fullname, path)

    def _find_vanished(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        for folder in self.folders if path is None else path:
            for inner in (os.path.join(name, "__init__.py"), f"{name}.py"):
                candidate = os.path.join(folder, inner)
                if candidate in self.sources:
                    return self._pin(fullname, candidate)
        return None

    def _pin(self, fullname: str, path: str) -> ModuleSpec | None:
        loader = PinnedLoader(path, self.sources[path])
        places = [os.path.dirname(path)] if loader.is_package(fullname) else None
        return spec_from_file_location(fullname, path, loader=loader, submodule_search_locations=places)


def show_lines(path: str, source: str) -> None:
    """Let tracebacks show the pinned lines, whatever the file holds by now."""
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)


def search_folders(folder: str, file: str) -> list[str]:
    """What a DAG file may import its neighbours from: its own folder, then the DAG folder, which stands last."""
    return list(dict.fromkeys([os.path.dirname(file), folder])) if os.path.dirname(file) != folder else [folder]


def put_last(folders: Sequence[str]) -> None:
    """Move folders to the end of `sys.path`."""
    sys.path[:] = [entry for entry in sys.path if entry not in folders] + list(folders)
    LOCAL_FOLDERS[:] = [folder.rstrip(os.sep) + os.sep for folder in folders]


def install(folders: Sequence[str], sources: Mapping[str, str]) -> PinnedFinder:
    """Serve these sources from now on, instead of those of an earlier call. Modules of the earlier one are dropped."""
    for finder in [one for one in sys.meta_path if isinstance(one, PinnedFinder)]:
        sys.meta_path.remove(finder)
        drop_modules(finder.folders)
        sys.path[:] = [entry for entry in sys.path if entry not in finder.folders]
    put_last(folders)
    finder = PinnedFinder(folders, sources)
    sys.meta_path.insert(0, finder)
    for path, source in sources.items():
        show_lines(path, source)
    return finder


def drop_modules(folders: Sequence[str]) -> None:
    """Forget the modules that came from these folders."""
    prefixes = tuple(folder.rstrip(os.sep) + os.sep for folder in folders)
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and path.startswith(prefixes):
            del sys.modules[name]
