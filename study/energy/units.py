"""Units of energy, mass and work. A name without a unit is a defect: joules, kilowatt hours, kilograms, FLOPs."""

JOULES_PER_KWH = 3.6e6
KILOGRAMS_PER_POUND = 0.45359237  # exact, international yard and pound agreement of 1959


def kwh(joules: float) -> float:
    """Kilowatt hours of an energy in joules."""
    return joules / JOULES_PER_KWH


def joules(kwh: float) -> float:
    """Joules of an energy in kilowatt hours."""
    return kwh * JOULES_PER_KWH


def kilograms(pounds: float) -> float:
    """Kilograms of a mass in pounds."""
    return pounds * KILOGRAMS_PER_POUND


def pounds(kilograms: float) -> float:
    """Pounds of a mass in kilograms."""
    return kilograms / KILOGRAMS_PER_POUND
