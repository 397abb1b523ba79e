"""The planted defects fit the code of today. `make mutants` tries them all, `tests/simulation` some each day."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.plugin import ROOT
from tests.mutants.run import part_of


def test_there_are_at_least_25_and_each_has_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_mutant_still_fits_its_file(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    changed = mutant.applied(text)
    assert changed != text
    compile(changed, mutant.file, "exec")
    for place in mutant.found_by:
        assert Path(ROOT / place.split("::")[0]).exists()


def test_all_get_their_turn() -> None:
    tried = {mutant.name for turn in range(len(MUTANTS)) for mutant in part_of(2, turn)}
    assert tried == {mutant.name for mutant in MUTANTS}
