"""From joules to carbon and money, by region: energy x PUE x grid intensity, each with its source."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from study.energy.units import kwh
from study.errors import StudyError

REGIONS = Path(__file__).parents[2] / "conf" / "energy"


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(Part):
    """An amount as low, mid and high."""

    low: float
    mid: float
    high: float

    @model_validator(mode="after")
    def _is_in_order(self) -> "Range":
        if not 0 <= self.low <= self.mid <= self.high:
            raise ValueError("low, mid and high must rise from 0 on")
        return self

    def __mul__(self, other: "Range | float") -> "Range":
        by = other if isinstance(other, Range) else Range(low=other, mid=other, high=other)
        return Range(low=self.low * by.low, mid=self.mid * by.mid, high=self.high * by.high)


class Factor(Range):
    """A published amount: the year it is of, and where it was read."""

    year: int
    source: str


class Region(Part):
    """A grid: kg CO2e per kWh, the data centre's energy per energy of its computers (PUE), USD per kWh."""

    region: str
    intensity: Factor
    pue: Factor
    price: Factor


class Footprint(Part):
    """What an energy comes to: kWh at the computer and at the data centre's meter, kg CO2e, USD of electricity."""

    kwh: float
    metered_kwh: Range
    kilograms: Range
    dollars: Range


def footprint(joules: float, region: Region) -> Footprint:
    """Energy of the computer in joules -> carbon and money. Low takes the low of every factor, high the high.

    As Strubell, Ganesh & McCallum 2019, section 2, with a PUE of 1.58; Lacoste et al. 2019 (ML CO2 Impact) take none.
    """
    used = kwh(joules)
    at_the_meter = region.pue * used
    return Footprint(
        kwh=used,
        metered_kwh=at_the_meter,
        kilograms=at_the_meter * region.intensity,
        dollars=at_the_meter * region.price,
    )


def regions() -> list[str]:
    """The names that `read_region` knows."""
    return sorted(path.stem for path in REGIONS.glob("*.yaml"))


def read_region(name: str, changes: Sequence[str] = ()) -> Region:
    """A region of conf/energy, with own figures as "intensity.mid=0.3" in its place. Raises StudyError."""
    path = REGIONS / f"{name}.yaml"
    if not path.exists():
        raise StudyError(f"energy={name} is not known: choose from {', '.join(regions())}, or add {path}")
    content = yaml.safe_load(path.read_text())
    for change in changes:
        where, _, value = change.partition("=")
        group, _, field = where.partition(".")
        if not value or field not in content.get(group, {}):
            known = ", ".join(f"{g}.{f}" for g, fields in content.items() if isinstance(fields, dict) for f in fields)
            raise StudyError(f"{change!r} is not a change of {name}: write one of {known} with =value")
        content[group][field] = yaml.safe_load(value)
    try:
        return Region.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise StudyError(f"energy={name}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
