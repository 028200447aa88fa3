"""Units against figures that are known."""

from study.energy.units import kwh


def test_a_kilowatt_hour_is_a_kilowatt_for_an_hour() -> None:
    assert kwh(1000 * 3600) == 1
