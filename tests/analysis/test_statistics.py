"""Statistics, against formulas worked by hand, independent computations and simulation."""

import gc
import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from study.analysis import statistics
from study.analysis.statistics import NOTHING, Evidence, Verdict

THREE = [1.0, 2.0, 3.0]  # mean 2, sample standard deviation 1, standard error 1 / sqrt(3)


def upper_tail(t: float) -> float:
    """P(T > t) of Student's t with two degrees of freedom, in closed form."""
    return 0.5 - t / (2 * math.sqrt(t * t + 2))


def test_above_is_the_one_sided_t_test() -> None:
    found = statistics.above(THREE, 0.5)
    assert found.holds == pytest.approx(upper_tail(1.5 * math.sqrt(3)))
    assert found.holds + found.fails == pytest.approx(1)


def test_within_is_two_one_sided_t_tests() -> None:
    inside = statistics.within(THREE, 6)
    assert inside.holds == pytest.approx(max(upper_tail(8 * math.sqrt(3)), upper_tail(4 * math.sqrt(3))))
    outside = statistics.within(THREE, 0.1)
    assert outside.fails == pytest.approx(upper_tail(1.9 * math.sqrt(3)))
    assert outside.holds > 0.5


@pytest.mark.parametrize("values", [[], [1.0], [0.3, 0.3, 0.3], [0.1 + 0.2, 0.3]])
def test_without_a_spread_nothing_is_known(values: list[float]) -> None:
    assert statistics.above(values) == NOTHING
    assert statistics.within(values, 1) == NOTHING
    assert all(map(math.isnan, statistics.interval(values)))
    assert statistics.seeds_to_show_above(values) is None


def test_the_interval_is_efrons() -> None:
    """BCa written out from Efron 1987, with other random numbers."""
    values = np.array([1.0, 1.2, 1.3, 1.5, 1.6, 1.9, 2.2, 2.7, 3.5, 6.0])
    resampled = np.random.default_rng(5).choice(values, (100_000, 10)).mean(axis=1)
    bias = norm.ppf((resampled < values.mean()).mean())
    left_out = np.array([np.delete(values, i).mean() for i in range(10)])
    away = left_out.mean() - left_out
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)

    def percentile(z: float) -> float:
        return float(norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z))))

    expected = np.quantile(resampled, [percentile(-1.95996), percentile(1.95996)])
    assert statistics.interval(values) == pytest.approx(expected, abs=0.03)
    assert statistics.interval(values) == statistics.interval(values)


@pytest.mark.parametrize("changed", range(5))
def test_the_last_bit_of_a_value_does_not_move_the_interval(changed: int) -> None:
    values = np.array([97.8, 97.9, 98.0, 98.1, 98.2])
    moved = values.copy()
    moved[changed] = np.nextafter(values[changed], 0)
    assert statistics.interval(moved) == pytest.approx(statistics.interval(values), abs=1e-8)


def test_holm_steps_down_until_the_first_failure() -> None:
    """0.01 < 0.05 / 3, then 0.03 > 0.05 / 2: the 0.04 after it fails as well, though it is below 0.05."""
    rows = [Evidence(0.04, 0.96), Evidence(0.01, 0.99), Evidence(0.97, 0.03)]
    assert statistics.verdicts(rows) == [Verdict.INCONCLUSIVE, Verdict.REPRODUCED, Verdict.INCONCLUSIVE]
    rows[2] = Evidence(0.98, 0.02)
    assert statistics.verdicts(rows) == [Verdict.REPRODUCED, Verdict.REPRODUCED, Verdict.NOT_REPRODUCED]
    for order in permutations(range(3)):
        found = statistics.verdicts([rows[i] for i in order])
        assert [found[order.index(i)] for i in range(3)] == statistics.verdicts(rows)


def test_more_than_half_by_the_binomial_distribution() -> None:
    """Of ten fair coins all ten, 8 and more, 5 and more or fewer: 1, 56 and 638 of 1,024."""
    for successes, holds in ((10, 1), (8, 56), (5, 638)):
        found = statistics.mostly([True] * successes + [False] * (10 - successes))
        assert found.holds == pytest.approx(holds / 1024)
        assert statistics.mostly([False] * successes + [True] * (10 - successes)).fails == pytest.approx(holds / 1024)
    assert statistics.mostly([]) == NOTHING


def test_a_claim_about_several_places_needs_all_and_fails_by_one() -> None:
    assert statistics.everywhere([Evidence(0.01, 0.9), Evidence(0.04, 0.8)]) == Evidence(0.04, 1.0)
    assert statistics.everywhere([Evidence(0.01, 0.9), Evidence(0.99, 0.01)]) == Evidence(0.99, 0.02)
    assert statistics.everywhere([]) == NOTHING


def test_false_verdicts_are_as_rare_as_promised() -> None:
    """Ten true nulls a table, on the very margin: a false verdict in at most 5 % of tables, and some error spent."""
    generator = np.random.default_rng(0)
    tables = 400
    wrong = 0
    gc.freeze()  # statsmodels collects garbage in every call
    for _ in range(tables):
        rows = [statistics.within(generator.normal(0.3, 0.1, 5), 0.3) for _ in range(10)]
        wrong += Verdict.REPRODUCED in statistics.verdicts(rows)
    gc.unfreeze()
    assert 0.01 < wrong / tables < 0.085


@pytest.mark.parametrize("mean", [0.0, 0.1])
def test_the_seeds_it_takes_have_the_power_promised(mean: float) -> None:
    values = np.array([-1.0, 0.0, 1.0]) * 0.2 + mean  # sample standard deviation 0.2
    generator = np.random.default_rng(1)

    def power(n: int) -> float:
        draws = generator.normal(mean, 0.2, (20_000, n))
        upper = ttest_1samp(draws, 0.3, axis=1, alternative="less").pvalue
        lower = ttest_1samp(draws, -0.3, axis=1, alternative="greater").pvalue
        return float((np.maximum(upper, lower) < 0.05).mean())

    n = statistics.seeds_to_show_within(values, 0.3)
    assert n is not None
    assert power(n) > 0.79
    assert power(n - 1) < 0.81


def test_no_number_of_seeds_decides_what_lies_on_the_bound() -> None:
    assert statistics.seeds_to_show_above([0.9, 1.0, 1.1], 1.0) is None
    assert statistics.seeds_to_show_above([9.9, 10.0, 10.1], 1.0) == 2
