"""What a handful of seeds can say: intervals, tests, their correction over a table, and the seeds that it takes.

Verdicts rest on one-sided t tests of per-seed values, never on the bootstrap: with fewer than about ten seeds a
bootstrap interval is too narrow, with three far too narrow. It is shown as the paper's bars are, to see the spread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1024

Values: TypeAlias = "pd.Series[float]"
"""A measure by seed: the index holds seeds."""


class Verdict(StrEnum):
    """What the measurements say of a published figure or statement."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not yet measured"


@dataclass(frozen=True)
class Evidence:
    """p values: small `holds` shows that a claim is true, small `fails` that it is false. At most one is small."""

    holds: float
    fails: float

    @property
    def p(self) -> float:
        return min(self.holds, self.fails)


NOTHING = Evidence(1.0, 1.0)


def interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % interval of the mean by the BCa bootstrap: 9,999 resamples from a fixed generator.

    Efron 1987. NaN for fewer than two values, and where all are equal, since neither shows a spread.
    """
    if not _has_spread(values):
        return math.nan, math.nan
    found = stats.bootstrap((np.asarray(values),), _rounded_mean, method="BCa", rng=np.random.default_rng(0))
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _rounded_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Means that differ by rounding alone are equal: BCa counts the resamples that tie with the sample."""
    return np.asarray(np.mean(values, axis=axis)).round(9)


def paired(of: Values, against: Values) -> Values:
    """Differences by seed, of two series with seeds as index; seeds that only one has are left out."""
    return (of - against).dropna()


def above(values: ArrayLike, bound: float = 0.0) -> Evidence:
    """Is the mean above a bound? A one-sided t test each way. Nothing is known without a spread."""
    if not _has_spread(values):
        return NOTHING
    holds = float(stats.ttest_1samp(values, bound, alternative="greater").pvalue)
    return Evidence(holds, 1 - holds)


def within(values: ArrayLike, margin: float) -> Evidence:
    """Is the mean within a margin of zero? Two one-sided t tests (Schuirmann 1987); and is it outside?"""
    if not _has_spread(values):
        return NOTHING
    holds = float(DescrStatsW(np.asarray(values)).ttost_mean(-margin, margin)[0])
    return Evidence(holds, min(above(values, margin).holds, above(values, -margin).fails))


def mostly(successes: Sequence[bool]) -> Evidence:
    """Do more than half succeed? An exact binomial test each way."""
    if not successes:
        return NOTHING
    holds, fails = (
        float(stats.binomtest(sum(successes), len(successes), alternative=side).pvalue) for side in ("greater", "less")
    )
    return Evidence(holds, fails)


def everywhere(evidence: Sequence[Evidence]) -> Evidence:
    """Of a claim about several places: it holds where it holds in all, and fails where it fails in one (Bonferroni)."""
    if not evidence:
        return NOTHING
    return Evidence(
        max(one.holds for one in evidence),
        min(1.0, len(evidence) * min(one.fails for one in evidence)),
    )


def verdicts(evidence: Sequence[Evidence]) -> list[Verdict]:
    """Verdicts on the rows of a table, at a family-wise error of 5 % (Holm 1979).

    A row counts once, by the smaller of its two p values: its claim is either true or false, so that only one of
    the two can be small by mistake.
    """
    if not evidence:
        return []
    decided = multipletests([one.p for one in evidence], alpha=ALPHA, method="holm")[0]
    return [_verdict(one, bool(sure)) for one, sure in zip(evidence, decided, strict=True)]


def seeds_to_show_above(values: ArrayLike, bound: float = 0.0) -> int | None:
    """How many seeds decide `above` with a power of 80 %, were the mean and spread found the true ones.

    Decided either way: on the side of the bound where the mean lies. None where that takes more than 1,024, or where
    nothing is known of the spread. As any power after the fact, a guide for the next run and no evidence on this one.
    """
    return _seeds(values, [abs(float(np.asarray(values).mean()) - bound)]) if _has_spread(values) else None


def seeds_to_show_within(values: ArrayLike, margin: float) -> int | None:
    """The same for `within`: both of its tests must be passed, by Bonferroni's bound on missing either."""
    if not _has_spread(values):
        return None
    mean = abs(float(np.asarray(values).mean()))
    return _seeds(values, [margin - mean, margin + mean] if mean < margin else [mean - margin])


def _seeds(values: ArrayLike, distances: list[float]) -> int | None:
    effects = [distance / float(np.asarray(values).std(ddof=1)) for distance in distances]

    def power(n: int) -> float:
        each = (float(TTestPower().power(effect, n, ALPHA, alternative="larger")) for effect in effects)
        return sum(each) - (len(effects) - 1)

    high = 2
    while power(high) < POWER:
        high *= 2
        if high > MOST_SEEDS:
            return None
    return next(n for n in range(max(2, high // 2), high + 1) if not power(n) < POWER)


def _has_spread(values: ArrayLike) -> bool:
    numbers = np.asarray(values, dtype=float)
    return numbers.size > 1 and float(numbers.std()) > 1e-9 * (1 + abs(float(numbers.mean())))


def _verdict(evidence: Evidence, sure: bool) -> Verdict:
    if not sure:
        return Verdict.INCONCLUSIVE
    return Verdict.REPRODUCED if evidence.holds < evidence.fails else Verdict.NOT_REPRODUCED
