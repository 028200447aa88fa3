"""Units there and back, and against figures that stand elsewhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.energy import units

AMOUNTS = st.floats(0, 1e30, allow_subnormal=False)


@given(AMOUNTS)
def test_there_and_back(amount: float) -> None:
    assert units.joules(units.kwh(amount)) == pytest.approx(amount)
    assert units.pounds(units.kilograms(amount)) == pytest.approx(amount)


@given(AMOUNTS, AMOUNTS)
def test_sums_may_be_taken_in_either_unit(one: float, other: float) -> None:
    assert units.kwh(one + other) == pytest.approx(units.kwh(one) + units.kwh(other))
    assert units.kilograms(one + other) == pytest.approx(units.kilograms(one) + units.kilograms(other))


def test_known_amounts() -> None:
    assert units.kwh(1000 * 3600) == 1  # a kilowatt for an hour
    assert units.kilograms(0.954) == pytest.approx(0.4327, abs=5e-5)  # Strubell et al. 2019's grid, converted
