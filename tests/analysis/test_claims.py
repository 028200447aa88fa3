"""The registry, held to the grids and the papers' tables; and judgements on records made up to be right or wrong."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.analysis.claims import Claim, Comparison, Figures, judge, read
from study.analysis.grid import Cell, expected, experiments
from study.analysis.load import load
from study.analysis.reference import PAPER_TABLES, compare, select
from study.analysis.statistics import Verdict
from study.errors import StudyError
from study.record import write
from tests.analysis.synthetic import synthetic, write_experiment

CLAIMS = read().claims


def claim(**test: Any) -> Claim:
    settings = {"measure": "test_accuracy", "of": "SNIP", "against": "random", "remaining": [10], "relation": "above"}
    given: dict[str, Any] = {"id": "c", "source": "S", "place": "p", "statement": "s", "experiments": ["quickstart"]}
    return Claim.model_validate({**given, "test": {**settings, **test}})


def quickstart(folder: Path, **points_above_random: float) -> pd.DataFrame:
    """Records of the quickstart, methods so many points above random: 0.02 less in seed 0, 0.02 more in seed 2."""

    def accuracy(cell: Cell) -> float:
        name = cell["method"]["name"]
        points = 0.0 if name == "random" else points_above_random.get(name, 0.0) + 0.02 * (cell["seed"] - 1)
        return 0.95 + points / 100

    return load(write_experiment(folder, "quickstart", accuracy))


@pytest.mark.parametrize("name", [claim.id for claim in CLAIMS])
def test_a_claims_test_has_its_cells(name: str, tmp_path: Path) -> None:
    """In the grids of its experiments, were they run: all percentages, of both sides, of one network and recipe."""
    (claim,) = [claim for claim in CLAIMS if claim.id == name]
    assert set(claim.experiments) <= set(experiments())
    if isinstance(claim.test, Comparison):
        cells = pd.concat([grid(experiment, tmp_path) for experiment in claim.experiments])
        for column, value in (("model", claim.test.model), ("recipe", claim.test.recipe)):
            cells = cells if value is None else select(cells, **{column: value})
            assert cells[column].nunique() == 1
        for method in filter(None, (claim.test.of, claim.test.against)):
            for remaining in [100.0] if method == "dense" else claim.test.remaining:
                assert len(select(cells, method=method, remaining=remaining)) >= 3, (method, remaining)
    if isinstance(claim.test, Figures):
        (table,) = [table for table in PAPER_TABLES if table.name == claim.test.table]
        compared = compare(table, {})
        assert set(claim.test.networks) <= set(compared["network"])
        assert set(claim.test.methods) <= set(compared["method"])
        used = {network.experiment for network in table.networks if network.name in claim.test.networks}
        assert set(claim.experiments) <= (used or {network.experiment for network in table.networks})


def grid(experiment: str, folder: Path) -> pd.DataFrame:
    """The cells of an experiment of which one has a record."""
    write(folder / experiment / "one.json", synthetic(experiment, 0, expected(experiment)[0], 0.9))
    return load(folder / experiment)


def test_identifiers_are_unique() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        ({"relation": "above"}, Verdict.REPRODUCED),
        ({"relation": "above", "bound": 0.9}, Verdict.REPRODUCED),
        ({"relation": "above", "bound": 1.1}, Verdict.NOT_REPRODUCED),
        ({"relation": "below"}, Verdict.NOT_REPRODUCED),
        ({"relation": "below", "bound": 1.1}, Verdict.REPRODUCED),
        ({"relation": "within", "margin": 0.3}, Verdict.NOT_REPRODUCED),
        ({"relation": "within", "bound": 0.9, "margin": 0.3}, Verdict.REPRODUCED),
        ({"relation": "not below", "margin": 0.3}, Verdict.REPRODUCED),
        ({"relation": "not above", "margin": 0.3}, Verdict.NOT_REPRODUCED),
        ({"relation": "not above", "margin": 1.1}, Verdict.REPRODUCED),
        ({"of": "random", "against": "SNIP", "relation": "not below", "margin": 1.1}, Verdict.REPRODUCED),
        ({"of": "random", "against": "SNIP", "relation": "not below", "margin": 0.9}, Verdict.NOT_REPRODUCED),
        ({"relation": "above", "bound": 1.0}, Verdict.INCONCLUSIVE),
        ({"measure": "test_error", "relation": "below"}, Verdict.REPRODUCED),
        ({"of": "random", "against": "SNIP", "relation": "below"}, Verdict.REPRODUCED),
        ({"remaining": [20, 10, 5, 2]}, Verdict.REPRODUCED),
        ({"against": None, "bound": 95.9}, Verdict.REPRODUCED),
        ({"against": None, "bound": 96.1}, Verdict.NOT_REPRODUCED),
        ({"against": None, "relation": "within", "bound": 96.2, "margin": 0.3}, Verdict.REPRODUCED),
        ({"measure": "training_accuracy"}, Verdict.NOT_MEASURED),
    ],
)
def test_a_method_a_point_above_another(test: dict[str, Any], verdict: Verdict, tmp_path: Path) -> None:
    (finding,) = judge([claim(**test)], {"quickstart": quickstart(tmp_path, snip=1.0)}, {})
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ({"relation": "above"}, "SNIP − random > 0"),
        ({"relation": "below", "bound": 0.7}, "SNIP − random < +0.7 points"),
        ({"relation": "within", "bound": 0.7, "margin": 0.3}, "SNIP − random = +0.7 ± 0.3 points"),
        ({"relation": "not below", "margin": 0.3}, "SNIP − random > −0.3 points"),
        ({"relation": "not above", "margin": 5, "measure": "early_stop_iteration"}, "SNIP − random < +5.0 %"),
        ({"of": "one-shot ticket", "against": "dense"}, "one-shot ticket − dense > 0"),
        ({"against": None, "relation": "within", "bound": 100, "margin": 0.3}, "SNIP = 100 ± 0.3 %"),
    ],
)
def test_a_test_says_what_it_tests(test: dict[str, Any], told: str) -> None:
    assert str(claim(**test).test) == told


@pytest.mark.parametrize(
    "test",
    [{"relation": "within"}, {"relation": "above", "margin": 1}, {"relation": "not below", "margin": 1, "bound": 1}],
)
def test_a_margin_is_stated_where_one_counts(test: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give a margin|give no bound"):
        claim(**test)


def test_what_was_measured_is_told_with_its_seeds(tmp_path: Path) -> None:
    accuracies = {"snip": [0.96, 0.97, 0.99], "random": [0.95, 0.95, 0.95]}
    cells = load(
        write_experiment(
            tmp_path, "quickstart", lambda cell: accuracies.get(cell["method"]["name"], [0.9] * 3)[cell["seed"]]
        )
    )
    (finding,) = judge([claim()], {"quickstart": cells}, {})
    assert finding.measured.startswith("10 %: +2.33 [+1.")  # differences of 1, 2 and 4 points
    assert finding.measured.endswith("] points, n = 3")
    seed_gone = cells.assign(
        test_accuracy=cells["test_accuracy"].mask((cells["seed"] == 2) & (cells["method"] == "SNIP"))
    )
    (finding,) = judge([claim()], {"quickstart": seed_gone}, {})
    assert "+1.50" in finding.measured
    assert "n = 2 of 3" in finding.measured
    assert finding.told == "inconclusive, on 2 of 3 seeds"


@pytest.mark.parametrize("lost", [{0}, {0, 1, 2}])
def test_no_comparison_rests_on_trainings_that_diverged(lost: set[int], tmp_path: Path) -> None:
    """SNIP is a point above random; that of 10 % has no accuracy in some seeds, or in none."""

    def accuracy(cell: Cell) -> float:
        name, seed = cell["method"]["name"], cell["seed"]
        if name == "random" and cell["sparsity"] == 0.9 and seed in lost:
            return math.nan
        return 0.95 + (0.01 + 0.0002 * seed if name == "snip" else 0)

    study = {"quickstart": load(write_experiment(tmp_path, "quickstart", accuracy))}
    sizes = {"alone": [10], "both": [20, 10], "other": [20]}
    claims = [claim(remaining=remaining).model_copy(update={"id": name}) for name, remaining in sizes.items()]
    alone, both, other = judge(claims, study, {})
    assert alone.told == "inconclusive"
    others = {1: ", of the others +1.03 [+1.02, +1.04] points, n = 2 of 3", 3: ""}[len(lost)]
    assert alone.measured == f"10 %: random diverged with {len(lost)} of 3 seeds{others}"
    assert both.measured.endswith(alone.measured)
    assert alone.needed is None
    assert other.verdict == Verdict.REPRODUCED


def test_iterations_are_compared_in_percent_by_seed(tmp_path: Path) -> None:
    """Tickets stop at 500 of dense's 1000, and at 1500 of 2000: -50 and -25 %, with the third seed -45 %."""
    stops = {0: (500, 1000), 1: (1500, 2000), 2: (1100, 2000)}
    folder = write_experiment(
        tmp_path,
        "quickstart",
        lambda cell: 0.95,
        lambda cell: stops[cell["seed"]][cell["method"]["name"] != "lottery_ticket"],
    )
    test = {"measure": "early_stop_iteration", "of": "lottery ticket", "against": "dense", "relation": "below"}
    (finding,) = judge([claim(**test)], {"quickstart": load(folder)}, {})
    assert finding.measured.startswith("10 %: −40.00 [")
    assert "] %, n = 3" in finding.measured


def test_without_records_a_claim_is_not_yet_measured() -> None:
    compared = {table.name: compare(table, {}) for table in PAPER_TABLES}
    findings = judge(CLAIMS, {}, compared)
    assert {finding.verdict for finding in findings} == {Verdict.NOT_MEASURED}


def test_of_two_experiments_both_are_needed(tmp_path: Path) -> None:
    both = claim().model_copy(update={"experiments": ("quickstart", "common_mnist")})
    (finding,) = judge([both], {"quickstart": quickstart(tmp_path)}, {})
    assert finding.verdict == Verdict.NOT_MEASURED


def test_claims_on_one_experiment_are_corrected_together(tmp_path: Path) -> None:
    """0.055 ± 0.02 points, t = 4.76, p = 0.021: enough alone, too little in the company of nine that are open."""
    study = {"quickstart": quickstart(tmp_path, snip=0.055)}
    crowd = [claim(of="GraSP").model_copy(update={"id": f"open {i}"}) for i in range(9)]
    assert judge([claim()], study, {})[0].verdict == Verdict.REPRODUCED
    assert judge([claim(), *crowd], study, {})[0].verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (["reproduced", "reproduced", "", "not reproduced"], Verdict.NOT_REPRODUCED),
        (["reproduced", "reproduced", ""], Verdict.REPRODUCED),
        (["reproduced", "inconclusive", ""], Verdict.INCONCLUSIVE),
        (["reproduced", "not yet measured", ""], Verdict.INCONCLUSIVE),
        (["not yet measured", ""], Verdict.NOT_MEASURED),
    ],
)
def test_printed_figures_are_reproduced_together(verdicts: list[str], told: Verdict) -> None:
    """Numbers of parameters are counted, not measured, and decide nothing."""
    row = {"network": "n", "method": "m", "metric": "test_error", "needed": 3, "n": 4, "planned": 4, "diverged": 0}
    counted = pd.DataFrame([row | {"metric": "parameters", "verdict": str(verdict)} for verdict in Verdict])
    compared = pd.concat([pd.DataFrame([row | {"verdict": verdict} for verdict in verdicts]), counted])
    figures = claim().model_copy(update={"test": Figures(table="t")})
    assert judge([figures], {}, {"t": compared})[0].told == told
    if told != Verdict.NOT_MEASURED:
        partly = compared.assign(n=range(4, 4 - len(compared), -1))
        fewest = partly[(partly["verdict"] != "") & (partly["metric"] == "test_error")]["n"].min()
        assert judge([figures], {}, {"t": partly})[0].told == f"{told}, on {fewest} of 4 seeds"


def test_a_claim_must_say_which_of_several_networks_it_means(tmp_path: Path) -> None:
    cells = quickstart(tmp_path)
    two = pd.concat([cells, cells.assign(model="conv_2")])
    with pytest.raises(StudyError, match="must say which model"):
        judge([claim()], {"quickstart": two}, {})


def test_a_mistake_in_the_registry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text("deviations: {}\nclaims: [{id: a, source: b, place: c, statement: d}]\n")
    with pytest.raises(StudyError, match=r"claims\.yaml is not valid .*give either experiments and a test"):
        read(path)
