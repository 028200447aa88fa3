"""What readers of an article on the three papers asked (McCaffrey 2021), and what the records say to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from study.analysis import cost, cost_tables, tables
from study.analysis.claims import Finding
from study.analysis.figures import EXAMPLES, seeds
from study.analysis.load import METHODS, measured
from study.analysis.reference import Study
from study.energy.carbon import Region

TOLD_AT = (0.9, 0.98)
"""The sparsities of tables that have no room for all."""

COMPARED = [METHODS[name] for name in ("dense", "lottery_ticket", "magnitude", "snip", "grasp")]


@dataclass(frozen=True)
class Question:
    """A question, the experiment whose cells answer it by a table, and the claims that bear on it.

    `table` makes the table, as texts, of cells whose costs are known; `caption` says what it tells, and where it
    `tells_energy` is followed by where that comes from.
    """

    text: str
    experiment: str
    caption: str
    table: Callable[[pd.DataFrame], pd.DataFrame]
    claims: tuple[str, ...]
    tells_energy: bool = True


@dataclass(frozen=True)
class Answer:
    """A question, its table, what that tells and of how many seeds, and what was found of the claims."""

    question: str
    experiment: str
    caption: str
    table: pd.DataFrame
    findings: list[Finding]


def answers(findings: Sequence[Finding], study: Study, region: Region) -> list[Answer]:
    """To each question that the study has cells for, their costs known."""
    by_id = {finding.claim.id: finding for finding in findings}
    found = []
    for question in _questions(region):
        cells = cost_tables.known(measured(study.get(question.experiment, pd.DataFrame({"status": []}))))
        if len(cells) and len(table := question.table(cells)):
            caption = f"{question.caption} From {question.experiment}, {seeds(cells)}."
            if question.tells_energy:
                caption += f" Energy, that of evaluations included: {cost.explained(cells['basis'])}."
            members = [by_id[claim] for claim in question.claims]
            found.append(Answer(question.text, question.experiment, caption, table, members))
    return found


def _questions(region: Region) -> list[Question]:
    return [
        Question(
            "Which technique would you favour?",
            "common_mnist",
            cost_tables.CHOICES,
            cost_tables.choices,
            ("most-promising", "grasp-repairs-snip", "snip-promising"),
        ),
        Question(
            'Is "before training" true where gradients are needed first, and of how much data?',
            "scoring_data",
            "No weight is trained before pruning, but gradients are taken of some examples: test accuracy in percent "
            "by how many.",
            _by_examples,
            ("before-training", "one-batch-is-enough", "scoring-is-cheap", "grasp-scoring-is-cheap"),
            tells_energy=False,
        ),
        Question(
            "What does a lottery ticket really cost to find?",
            "common_mnist",
            "In trainings, and in the energy of dense ones with kernels that skip what is pruned. Trainings to pay: "
            "trained anew so many times it has cost less, finding included, than the dense network trained as often.",
            partial(cost_tables.to_find, method=METHODS["lottery_ticket"]),
            ("ticket-needs-the-big-network", "ticket-costs-ten-trainings", "same-accuracy"),
        ),
        Question(
            "What is saved, in kWh and CO2?",
            "common_mnist",
            f"To find and to train {cost_tables.PER:,} such networks, on a CPU whose kernels skip what is pruned; kWh "
            f"at the data centre's meter, CO2e of electricity from the grid: {region.region}, mid (low – high) by data "
            "centres' overheads and the grid alone.",
            partial(cost_tables.saved, region=region, methods=COMPARED, sparsities=TOLD_AT),
            ("pruning-saves-energy", "ticket-saves-energy", "saves-at-equal-accuracy"),
        ),
    ]


def _by_examples(cells: pd.DataFrame) -> pd.DataFrame:
    """A row a number of scoring examples, a column a method and sparsity: mean ± standard deviation of the accuracy."""
    rows: dict[int, dict[str, str]] = {}
    told = cells[cells["sparsity"].isin(TOLD_AT) & cells["method"].str.contains(EXAMPLES, regex=False)]
    for row in tables.aggregate(told).to_dict("records"):
        method, _, examples = row["method"].partition(EXAMPLES)
        rows.setdefault(int(examples), {})[f"{method} at {100 * row['sparsity']:g} %"] = tables.accuracy(row)
    return pd.DataFrame([{"examples": f"{examples:,}", **rows[examples]} for examples in sorted(rows)])
