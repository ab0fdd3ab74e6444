"""A sample of the fuzzing of `tests/checkpoint/fuzz.py`, and all of it with `-m slow`."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")


def test_damaged_folders_give_only_our_errors() -> None:
    from tests.checkpoint.fuzz import fuzz

    outcomes = fuzz(cases=300, seed=1)
    assert sum(count for outcome, count in outcomes.items() if outcome.endswith("refused")) > 150


@pytest.mark.slow
def test_twenty_thousand_damaged_folders_give_only_our_errors() -> None:
    from tests.checkpoint.fuzz import fuzz

    fuzz(cases=20_000, seed=2)
