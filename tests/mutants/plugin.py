"""A pytest plugin (`-p tests.mutants.plugin`) that plants the defect named by DAGD_TEST_MUTANT as its module is loaded.

Nothing is written to disk, and no compiled file is used for the module: any number of defects may be tried at once.
"""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


def plant(mutant: Mutant) -> None:
    """From now on the file of this mutant is loaded with its defect."""
    path, load = ROOT / mutant.file, SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        if Path(self.path).resolve() != path:
            return load(self, fullname)
        return compile(mutant.applied(path.read_text()), str(path), "exec", dont_inherit=True)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


NAME = os.environ.get("DAGD_TEST_MUTANT")
if NAME:
    plant(next(mutant for mutant in MUTANTS if mutant.name == NAME))
