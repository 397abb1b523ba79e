"""The planted defects fit the code of today, and the tests beside them find a part of them, another one each day.

`make mutants` tries all. DAGD_TEST_MUTANTS says how many are tried here (2), DAGD_TEST_MUTANT_TURN which (the day).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.plugin import ROOT
from tests.mutants.run import part_of, today, try_mutant

PART = int(os.environ.get("DAGD_TEST_MUTANTS", "2"))
TURN = int(os.environ.get("DAGD_TEST_MUTANT_TURN", str(today())))


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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", part_of(PART, TURN), ids=[mutant.name for mutant in part_of(PART, TURN)])
def test_the_tests_find_the_defect(mutant: Mutant) -> None:
    assert try_mutant(mutant) is not None, f"{mutant.name} survived: {mutant.why}"
