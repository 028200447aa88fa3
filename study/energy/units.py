"""Units of energy. A name without a unit is a defect: joules, kilowatt hours."""

JOULES_PER_KWH = 3.6e6


def kwh(joules: float) -> float:
    """Kilowatt hours of an energy in joules."""
    return joules / JOULES_PER_KWH
