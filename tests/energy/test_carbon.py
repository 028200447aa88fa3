"""Carbon and money by hand, against published worked examples, and where figures are wrong."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.energy.carbon import footprint, read_region, regions
from study.errors import StudyError
from tests.conftest import ROOT

KILOGRAMS_PER_POUND = 0.45359237  # exact, international yard and pound agreement of 1959


def test_a_footprint_by_hand() -> None:
    """A kWh, data centre 1.5, half a kilogram and a fifth of a dollar per kWh; low and high of every factor."""
    changes = ["pue.low=1.2", "pue.mid=1.5", "pue.high=2.0", "intensity.low=0.4", "intensity.mid=0.5"]
    changes += ["intensity.high=0.6", "price.low=0.1", "price.mid=0.2", "price.high=0.3"]
    found = footprint(3.6e6, read_region("world", changes))
    assert found.kwh == pytest.approx(1.0)
    kilograms, dollars = found.kilograms, found.dollars
    assert [kilograms.low, kilograms.mid, kilograms.high] == pytest.approx([0.48, 0.75, 1.2])
    assert [dollars.low, dollars.mid, dollars.high] == pytest.approx([0.12, 0.3, 0.6])
    assert found.metered_kwh.mid == pytest.approx(1.5)


def strubell(metric: str, method: str) -> float:
    with (ROOT / "results" / "reference" / "energy.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == metric and method in row["method"]]
    (row,) = [row for row in rows if row["paper"].startswith("Strubell")]
    return float(row["value"])


def exactly(**factors: float) -> list[str]:
    """Changes that take a range out of a region's factors."""
    return [f"{name}.{end}={value}" for name, value in factors.items() for end in ("low", "mid", "high")]


@pytest.mark.parametrize(
    ("watts", "hours", "network"),
    [(12_041.51, 79.2, "BERT-base"), (1_515.43, 84, "Transformer (big)")],
)
def test_strubell_s_table_3(watts: float, hours: float, network: str) -> None:
    """Power and hours as the table has them; 1.58 and 0.954 lb per kWh as its section 2; its emissions, rounded."""
    region = read_region("us", exactly(pue=strubell("PUE", "formula"), intensity=0.954 * KILOGRAMS_PER_POUND))
    emitted = footprint(watts * 3600 * hours, region).kilograms.mid / KILOGRAMS_PER_POUND
    assert emitted == pytest.approx(strubell("training_emissions", network), rel=2e-3)


def test_the_ml_co2_calculator_s_example() -> None:
    """100 hours of an RTX 2080 Ti (250 W) at 0.432 kg per kWh are 10.8 kg: the calculator's template, no PUE."""
    region = read_region("world", exactly(pue=1, intensity=0.432))
    assert footprint(250 * 3600 * 100, region).kilograms.mid == pytest.approx(10.8)


@given(st.sampled_from(regions()), st.floats(0, 1e12), st.floats(0, 1e12))
def test_footprints_add_up_and_keep_their_order(region: str, one: float, other: float) -> None:
    grid = read_region(region)
    both, alone, rest = (footprint(joules, grid) for joules in (one + other, one, other))
    assert both.kilograms.mid == pytest.approx(alone.kilograms.mid + rest.kilograms.mid)
    assert both.kilograms.low <= both.kilograms.mid <= both.kilograms.high
    assert both.dollars.low <= both.dollars.mid <= both.dollars.high


def test_every_region_names_its_sources() -> None:
    for name in regions():
        region = read_region(name)
        assert all(len(factor.source) > 10 for factor in (region.intensity, region.pue, region.price))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("atlantis", None, "choose from france"),
        ("world", "intensity.middle=1", "intensity.mid"),
        ("world", "intensity", "intensity.mid"),
        ("world", "intensity.mid=cheap", "intensity.mid"),
        ("world", "intensity.mid=9", "must rise"),
        ("world", "region.x=1", "intensity.mid"),
    ],
)
def test_a_mistake_is_one_line(name: str, change: str | None, told: str) -> None:
    with pytest.raises(StudyError, match=told):
        read_region(name, [change] if change else [])
