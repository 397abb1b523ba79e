"""Each day other planted defects: the tests that are named beside them find them. `make mutants` tries them all.

DAGD_TEST_MUTANTS says how many are tried (2), DAGD_TEST_MUTANT_TURN which (the number of the day).
"""

from __future__ import annotations

import os

import pytest

from tests.mutants.mutants import Mutant
from tests.mutants.run import part_of, today, try_mutant

PART = int(os.environ.get("DAGD_TEST_MUTANTS", "2"))
TURN = int(os.environ.get("DAGD_TEST_MUTANT_TURN", str(today())))
CHOSEN = part_of(PART, TURN)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", CHOSEN, ids=[mutant.name for mutant in CHOSEN])
def test_the_tests_find_the_defect(mutant: Mutant) -> None:
    assert try_mutant(mutant) is not None, f"{mutant.name} survived: {mutant.why}"
