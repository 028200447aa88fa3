"""What a mask draws, on masks made from the classes' own means; the means made anew; and the claim decided by masks."""

import numpy as np
import pandas as pd
import pytest

from scripts.class_means import DATASETS, class_means
from study.analysis.claims import Claim, judge
from study.analysis.likeness import MEANS, SIDE, drawn_class, pixels
from study.analysis.statistics import Verdict
from study.data.fashion_mnist import DEBIAN
from study.mask_file import Bits

UNITS = 50


def drawing(means: dict[str, np.ndarray], dataset: str, label: int, noise: float = 0.0) -> dict[str, Bits]:
    """A first layer that keeps half of all connections: those of the inputs that are largest on average, but noise."""
    score = np.abs(means[dataset][label]).ravel() + noise * np.random.default_rng(label).normal(size=(UNITS, SIDE**2))
    return {"fc1.weight": (score > np.median(score)).ravel(), "fc2.weight": np.ones(4, dtype=np.bool_)}


@pytest.fixture(scope="module")
def means() -> dict[str, np.ndarray]:
    return dict(np.load(MEANS))


def test_a_pixel_is_as_bright_as_its_connections_are_kept() -> None:
    """Two units of the first layer: one keeps the first two pixels of the second row, the other only the first."""
    first = np.zeros((2, 28, 28), dtype=np.bool_)
    first[0, 1, :2] = True
    first[1, 1, 0] = True
    image = pixels({"fc1.weight": first.ravel(), "fc2.weight": np.ones(4, dtype=np.bool_)})
    assert image.shape == (28, 28)
    assert image[1, :3].tolist() == [1.0, 0.5, 0.0]
    assert image.sum() == 1.5


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_means_are_those_of_the_data(dataset: str, means: dict[str, np.ndarray]) -> None:
    if dataset == "fashion_mnist" and not DEBIAN.exists():
        pytest.skip("needs Debian's dataset-fashion-mnist")
    np.testing.assert_array_equal(means[dataset], class_means(dataset).numpy())


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_mask_draws_the_class_that_it_was_made_from(dataset: str, means: dict[str, np.ndarray]) -> None:
    assert [drawn_class(drawing(means, dataset, label, noise=0.5), dataset) for label in range(10)] == list(range(10))


def cells(means: dict[str, np.ndarray], right: int, there: int = 10) -> pd.DataFrame:
    """Masks scored on each class of two data sets; the first `right` of each draw it, and the first `there` are."""
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "remaining": 50.0,
                "seed": 1,
                "method": f"SNIP, scoring_class {label}",
                "mask": drawing(means, dataset, label if label < right else (label + 1) % 10)
                if label < there
                else None,
            }
            for dataset in DATASETS
            for label in range(10)
        ]
    )


@pytest.mark.parametrize(
    ("right", "there", "verdict", "told"),
    [
        (10, 10, Verdict.REPRODUCED, "reproduced"),
        (8, 10, Verdict.INCONCLUSIVE, "inconclusive"),
        (0, 10, Verdict.NOT_REPRODUCED, "not reproduced"),
        (9, 9, Verdict.REPRODUCED, "reproduced, on 18 of 20 masks"),
        (0, 0, Verdict.NOT_MEASURED, "not yet measured"),
    ],
)
def test_a_claim_about_drawings(
    right: int, there: int, verdict: Verdict, told: str, means: dict[str, np.ndarray]
) -> None:
    """By the binomial distribution 8 of 10 have p = 56/1024, 9 of 9 have 1/512."""
    given = {"id": "c", "source": "S", "place": "p", "statement": "s", "experiments": ["e"]}
    claim = Claim.model_validate({**given, "test": {"drawn_at": [50.0]}})
    (finding,) = judge([claim], {"e": cells(means, right, there)}, {})
    assert finding.verdict == verdict
    assert finding.told == told
    if there:
        assert finding.measured == "; ".join(f"{name}, 50 %: {right} of {there} masks" for name in DATASETS)
    assert judge([claim], {}, {})[0].verdict == Verdict.NOT_MEASURED


def test_masks_that_the_measure_was_chosen_on_decide_nothing(means: dict[str, np.ndarray]) -> None:
    given = {"id": "c", "source": "S", "place": "p", "statement": "s", "experiments": ["e"]}
    claim = Claim.model_validate({**given, "test": {"drawn_at": [50.0], "chosen_on": [0]}})
    both = pd.concat([cells(means, right=10), cells(means, right=0).assign(seed=0)])
    (finding,) = judge([claim], {"e": both}, {})
    assert finding.told == "reproduced"
    assert finding.measured == "; ".join(f"{name}, 50 %: 10 of 10 masks" for name in DATASETS)
