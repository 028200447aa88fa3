"""What readers asked is answered as far as there are records for it, and no further."""

from pathlib import Path

from study.analysis import claims
from study.analysis.claims import Finding
from study.analysis.load import load
from study.analysis.questions import answers
from study.analysis.statistics import Verdict
from study.energy.carbon import read_region
from study.record import Record, Run, write
from tests.analysis.synthetic import RUN, synthetic
from tests.analysis.test_cost import DENSE
from tests.analysis.test_load import changed

WORLD = read_region("world")
FINDINGS = [Finding(claim, Verdict.NOT_MEASURED) for claim in claims.read().claims]


def snip(number: int, examples: int) -> Record:
    return scored(number, {"name": "snip", "scoring_examples": examples}, 0.9)


def scored(number: int, method: dict[str, object], sparsity: float) -> Record:
    record = synthetic("scoring_data", number, changed(method=method, sparsity=sparsity), 0.9 + number / 100)
    run = Run(**{**RUN.model_dump(), "costs": {record.trainings[0]: DENSE}})
    return record.model_copy(update={"run": run})


def test_a_row_is_a_number_of_examples_and_a_dense_network_is_none(tmp_path: Path) -> None:
    for record in (scored(0, {"name": "dense"}, 0.0), snip(1, 1000), snip(2, 10)):
        write(tmp_path / "scoring_data" / f"{record.cell}.json", record)
    (answer,) = answers(FINDINGS, {"scoring_data": load(tmp_path / "scoring_data")}, WORLD)
    assert answer.table.to_dict("records") == [
        {"examples": "10", "SNIP at 90 %": "92.00"},
        {"examples": "1,000", "SNIP at 90 %": "91.00"},
    ]
    assert [finding.claim.id for finding in answer.findings][:2] == ["before-training", "one-batch-is-enough"]


def test_a_question_without_its_cells_is_not_answered(tmp_path: Path) -> None:
    dense = scored(0, {"name": "dense"}, 0.0)
    write(tmp_path / "scoring_data" / "dense.json", dense)
    assert answers(FINDINGS, {"scoring_data": load(tmp_path / "scoring_data")}, WORLD) == []
    assert answers(FINDINGS, {}, WORLD) == []
