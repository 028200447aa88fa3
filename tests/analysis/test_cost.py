"""What cells cost, by hand: all they rest on, sharing, break-even, and what to favour."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.analysis import cost, cost_tables
from study.analysis.load import load
from study.energy.carbon import read_region
from study.record import Cost, Meter, Phase, Record, Run, read, write
from tests.analysis.synthetic import RUN, synthetic
from tests.analysis.test_load import changed

METER = Meter(cpu="RAPL", gpu="none", scope="", note="")


def spent(mask: float, training: float, evaluation: float, meter: Meter | None = METER) -> Cost:
    """A training that took so many joules by phase; a quarter of them CPU seconds."""

    def phase(joules: float) -> Phase:
        return Phase(wall=1.0, cpu=joules / 4, cpu_joules=None if meter is None else joules)

    return Cost(
        engine="sparse",
        iterations=1000,
        mask=phase(mask),
        training=phase(training),
        evaluation=phase(evaluation),
        meter=meter,
    )


FACTORS = {"pue.low": 1, "pue.mid": 1, "pue.high": 2, "intensity.low": 0.5, "intensity.mid": 0.5, "intensity.high": 0.5}

DENSE = spent(0, 80, 21)
SECOND = spent(1, 40, 21)


def cell(number: int, accuracy: float, costs: dict[str, Cost], **settings: Any) -> Record:
    record = synthetic("mine", number, changed(**settings), accuracy)
    run = Run(**{**RUN.model_dump(), "costs": costs})
    return record.model_copy(update={"trainings": list(costs), "run": run})


def three_methods(folder: Path, meter: Meter | None = METER) -> pd.DataFrame:
    """Dense; a ticket of two earlier trainings; SNIP, whose mask takes 2 J. A training is evaluated at 21 points."""
    dense = DENSE if meter else spent(0, 80, 21, None)
    second = SECOND if meter else spent(1, 40, 21, None)
    own = spent(1, 20, 10.5, meter)
    records = [
        cell(0, 0.98, {"d": dense}, method={"name": "dense"}, sparsity=0.0),
        cell(1, 0.985, {"d": dense, "s": second, "t": own}, method={"name": "lottery_ticket"}, sparsity=0.9),
        cell(2, 0.97, {"p": spent(2, 20, 10.5, meter)}, method={"name": "snip"}, sparsity=0.9),
    ]
    for record in records:
        write(folder / "mine" / f"{record.cell}.json", record)
    return load(folder / "mine")


def row(table: pd.DataFrame, method: str) -> Any:
    (found,) = table[table["method"] == method].to_dict("records")
    return found


def test_a_cell_costs_all_that_it_rests_on(tmp_path: Path) -> None:
    """The ticket: 101 J of the dense training, 62 of the second, and its own mask of 1 J, to find; 31.5 more in all."""
    ticket = row(three_methods(tmp_path), "lottery ticket")
    assert ticket["finding_joules"] == pytest.approx(101 + 62 + 1)
    assert ticket["total_joules"] == pytest.approx(164 + 20 + 10.5)
    assert ticket["finding_cost"] == pytest.approx(100 * 164 / 101)
    assert ticket["training_cost"] == pytest.approx(25)
    assert ticket["evaluation_joules"] == pytest.approx(0.5)
    assert ticket["trainings"] == 3
    assert row(three_methods(tmp_path), "SNIP")["finding_cost"] == pytest.approx(100 * 2 / 101)


def test_the_study_s_cost_counts_a_shared_training_once(tmp_path: Path) -> None:
    alone, together = cost.shared(three_methods(tmp_path))
    assert alone == pytest.approx(101 + 194.5 + 32.5)
    assert together == pytest.approx(101 + 62 + 31.5 + 32.5)


def test_without_a_meter_energy_is_derived_from_cpu_seconds_and_says_so(tmp_path: Path) -> None:
    """Four watts a CPU second give the same joules back."""
    measured, derived = three_methods(tmp_path / "a"), three_methods(tmp_path / "b", meter=None)
    assert list(derived["total_joules"]) == pytest.approx(list(measured["total_joules"]))
    assert set(measured["basis"]) == {"measured"}
    assert set(derived["basis"]) == {"derived"}


def test_the_worst_source_of_energy_names_the_cell_s() -> None:
    estimate = METER.model_copy(update={"cpu": "estimate"})
    assert cost.basis([spent(0, 1, 1), spent(0, 1, 1, estimate)]) == "estimate"
    assert cost.basis([spent(0, 1, 1, None), spent(0, 1, 1, estimate)]) == "derived"


@pytest.mark.parametrize(
    ("cpu", "gpu", "expected"),
    [
        ("RAPL", "NVML", "measured"),
        ("estimate", "NVML", "half measured"),
        ("estimate", "estimate", "estimate"),
        ("RAPL", "estimate", "estimate"),
    ],
)
def test_a_gpu_s_counter_beside_an_estimate_of_the_cpu_is_half_of_a_measurement(
    cpu: str, gpu: str, expected: str
) -> None:
    meter = Meter(cpu=cpu, gpu=gpu, scope="", note="")
    assert cost.basis([spent(0, 1, 1, meter), spent(0, 1, 1)]) == expected


def test_what_ran_on_a_gpu_says_nothing_of_a_core(tmp_path: Path) -> None:
    on_core = cell(0, 0.98, {"d": DENSE}, method={"name": "dense"}, sparsity=0.0)
    on_gpu = cell(1, 0.97, {"p": DENSE}, method={"name": "snip"}, sparsity=0.9)
    run = on_gpu.run.model_copy(update={"hardware": {"cpu": "abacus", "gpu": "loom"}})
    for record in (on_core, on_gpu.model_copy(update={"run": run})):
        write(tmp_path / "mine" / f"{record.cell}.json", record)
    seconds = load(tmp_path / "mine").set_index("method")["seconds_per_iteration"]
    assert seconds["dense"] == pytest.approx(101 / 4 / 1000)
    assert math.isnan(seconds["SNIP"])


def test_break_even_by_hand(tmp_path: Path) -> None:
    """The ticket saves 101 - 30.5 J a training with its evaluations, and took 164 to find: the third pays. For use it
    took 93.5 J more than dense, and saves half a joule an evaluation of 15,000 images."""
    table = cost_tables.summary(three_methods(tmp_path))
    ticket, snip, dense = (row(table, method) for method in ("lottery ticket", "SNIP", "dense"))
    assert ticket["trainings_to_pay"] == pytest.approx(164 / 70.5)
    assert ticket["inferences_to_pay"] == pytest.approx(93.5 / (0.5 / 15_000))
    assert snip["inferences_to_pay"] == 0
    assert math.isnan(dense["trainings_to_pay"])
    text = cost_tables.shown(table, read_region("world"))
    assert row(text, "lottery ticket")["trainings to pay"] == "3"
    assert row(text, "SNIP")["inferences to pay"] == "at once"


def test_what_saves_nothing_never_pays(tmp_path: Path) -> None:
    records = [
        cell(0, 0.98, {"d": DENSE}, method={"name": "dense"}, sparsity=0.0),
        cell(1, 0.98, {"p": spent(2, 80, 21)}, method={"name": "snip"}, sparsity=0.9),
    ]
    for record in records:
        write(tmp_path / "mine" / f"{record.cell}.json", record)
    snip = row(cost_tables.summary(load(tmp_path / "mine")), "SNIP")
    assert snip["trainings_to_pay"] == math.inf
    assert snip["inferences_to_pay"] == math.inf


def test_a_budget_decides_what_to_favour(tmp_path: Path) -> None:
    """Within one dense training only SNIP; within two the ticket, 1.5 points better."""
    found = cost_tables.favoured(three_methods(tmp_path)).set_index("budget")["method"]
    assert found.to_dict() == {
        "at most one dense training": "SNIP",
        "at most two": "lottery ticket",
        "no limit": "lottery ticket",
    }


def test_of_methods_as_good_the_cheapest_is_favoured(tmp_path: Path) -> None:
    three_methods(tmp_path)
    better = cell(2, 0.984, {"p": spent(2, 20, 10.5)}, method={"name": "snip"}, sparsity=0.9)
    write(tmp_path / "mine" / f"{better.cell}.json", better)
    assert set(cost_tables.favoured(load(tmp_path / "mine"))["method"]) == {"SNIP"}


@pytest.mark.parametrize(
    ("joules", "expected"), [(25, "SNIP or random: 96.80 to 97.00 %, 0.32 to 0.35"), (26, "SNIP: 97.00 %, 0.32")]
)
def test_costs_within_a_tenth_are_equal(joules: float, expected: str, tmp_path: Path) -> None:
    """SNIP takes 32.5 J in all, random 35.5, or 36.5."""
    three_methods(tmp_path)
    random = cell(3, 0.968, {"r": spent(0, joules, 10.5)}, method={"name": "random"}, sparsity=0.9)
    write(tmp_path / "mine" / f"{random.cell}.json", random)
    (row,) = cost_tables.choices(load(tmp_path / "mine")).to_dict("records")
    assert row["at most one dense training"] == expected


@pytest.mark.parametrize(("joules", "expected"), [(100, "GraSP"), (101, "SNIP")])
def test_a_budget_is_kept_within_a_tenth(joules: float, expected: str, tmp_path: Path) -> None:
    """Of 101 J, by 110.5 and not by 111.5."""
    three_methods(tmp_path)
    grasp = cell(3, 0.99, {"g": spent(0, joules, 10.5)}, method={"name": "grasp"}, sparsity=0.9)
    write(tmp_path / "mine" / f"{grasp.cell}.json", grasp)
    found = cost_tables.favoured(load(tmp_path / "mine")).set_index("budget")["method"]
    assert found["at most one dense training"] == expected


@pytest.mark.parametrize(("commits", "told"), [("aab", "by code of 2 commits"), ("aaa", "")])
def test_costs_of_several_occasions_say_so(commits: str, told: str, tmp_path: Path) -> None:
    three_methods(tmp_path)
    for path, commit in zip(sorted((tmp_path / "mine").glob("*.json")), commits, strict=True):
        record = read(path)
        run = record.run.model_copy(update={"git": {"commit": commit, "dirty": False}})
        write(path, record.model_copy(update={"run": run}))
    cost_tables.write(load(tmp_path / "mine"), tmp_path / "table", "Mine", read_region("world"))
    text = (tmp_path / "table.md").read_text()
    assert told in text
    assert ("several occasions" in text) == bool(told)


def test_carbon_of_a_thousand_networks(tmp_path: Path) -> None:
    """1,000 x 101 J = 0.02806 kWh; x 1.58 x 0.473 = 20.97 g."""
    table = cost_tables.shown(cost_tables.summary(three_methods(tmp_path)), read_region("world"))
    assert row(table, "dense")["CO2e of 1,000, g"].startswith("21 (")


def test_records_without_costs_have_no_table(tmp_path: Path) -> None:
    write(tmp_path / "mine" / "a.json", synthetic("mine", 0, changed(), 0.9))
    assert cost_tables.known(load(tmp_path / "mine")).empty


def test_what_a_ticket_takes_to_find(tmp_path: Path) -> None:
    """Two trainings before its own: 101 + 1 + 61 J and a mask of 1 J, as much as 1.62 dense trainings of 101 J."""
    (found,) = cost_tables.to_find(three_methods(tmp_path), "lottery ticket").to_dict("records")
    assert found == {
        "removed": "90 %",
        "trainings to find it": "2",
        "energy, dense trainings": "1.62",
        "accuracy": "98.50 %",
        "trainings to pay": "3",
    }


def test_what_is_saved(tmp_path: Path) -> None:
    """1,000 x 101 J are 0.02806 kWh, and of SNIP's 32.5 J 0.00903 kWh; at half a kilogram each."""
    region = read_region("world", [f"{factor}={value}" for factor, value in FACTORS.items()])
    cells = three_methods(tmp_path)
    dense, snip = cost_tables.saved(cells, region, ["SNIP", "dense"], [0.9]).to_dict("records")
    assert dense["kWh"] == "0.0281 (0.0281 – 0.0561)"
    assert dense["kg CO2e"] == "0.014 (0.014 – 0.0281)"
    assert snip == {
        "method": "SNIP",
        "removed": "90 %",
        "accuracy": "97.00 %",
        "energy, % of dense": "32.2",
        "kWh": "0.00903 (0.00903 – 0.0181)",
        "kg CO2e": "0.00451 (0.00451 – 0.00903)",
    }
    assert len(cost_tables.saved(cells, region, ["SNIP", "dense"], [0.5])) == 1


def test_costs_are_of_the_processor_that_most_cells_ran_on(tmp_path: Path) -> None:
    """Two cells ran on the abacus; that on a GPU took ten times the energy, and counts for accuracy alone."""
    three_methods(tmp_path)
    elsewhere = cell(3, 0.99, {"q": spent(20, 200, 105)}, method={"name": "snip"}, sparsity=0.9, seed=1)
    run = elsewhere.run.model_copy(update={"hardware": {"cpu": "abacus", "gpu": "loom"}})
    write(tmp_path / "mine" / "elsewhere.json", elsewhere.model_copy(update={"run": run}))
    cells = load(tmp_path / "mine")
    there, here = (cells[(cells["method"] == "SNIP") & (cells["seed"] == seed)].iloc[0] for seed in (1, 0))
    assert math.isnan(there["total_joules"])
    assert math.isnan(there["total_cost"])
    assert there["test_accuracy"] == 99
    assert here["total_joules"] == 32.5
    found = row(cost_tables.summary(cells), "SNIP")
    assert (found["n"], found["joules"]) == (1, 32.5)
    cost_tables.write(cells, tmp_path / "cost", "mine", read_region("world", []))
    assert "Of abacus. Cells left out, since they ran on loom, abacus: 1." in (tmp_path / "cost.md").read_text()
