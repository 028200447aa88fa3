"""results/REPORT.md: every verdict on a page, then what stands behind it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from study.analysis import cost_figures, cost_tables, grid, projections
from study.analysis.claims import Finding, Registry
from study.analysis.figures import PAPER_FIGURES, accuracy
from study.analysis.load import MISSING, measured
from study.analysis.questions import Answer
from study.analysis.reference import PAPER_TABLES, PARAMETERS, Study
from study.analysis.statistics import Verdict
from study.analysis.tables import markdown

INTRODUCTION = """\
Three papers say that most of a neural network's weights can be removed without loss: by training, pruning and starting
again from the first weights (lottery tickets, Frankle & Carbin 2019), or before any training, by the loss's
sensitivity to each weight (SNIP, Lee et al. 2019) or by the flow of gradients (GraSP, Wang et al. 2020). Here stand
their statements and printed figures beside what this study measured, each with a test that was written down before
the measurement (where it was not, the claim says so). A verdict on part of the planned seeds says so; with more seeds
it may change."""

METHOD = """\
Accuracy is the test accuracy of the last iteration or, where a paper means that, of the lowest validation loss; never
the best on the test set. A network whose training diverged has none: no comparison rests on it, and a printed figure
is not reproduced where it happens to most seeds. Comparisons are of differences within a seed, by one-sided t tests:
one for a difference; one with a margin for "at least as good" (non-inferiority); two for "as much as" (TOST). The
margin is the paper's own spread, or 0.3 points where it gives none, and stands in the column "test". A claim about
several sparsities is reproduced where it holds at all of them, and not reproduced where it fails at one. A printed
figure is reproduced where ours is within the paper's own standard deviation of it or, where the paper prints none,
within 0.3 points. Claims that rest on the same experiments, and the rows of a table, are corrected together (Holm), at
a family-wise error of 5 %. Measured are mean differences, by the percentage of weights remaining; in brackets stand
95 % intervals by the BCa bootstrap. They decide nothing: with few seeds they are too narrow. Seeds to decide are those
that one claim takes alone, for a power of 80 %, were the mean and spread found the true ones. Figures that were
recalled, and not read, are marked † in the tables and decide nothing. Numbers of parameters stand in the tables too;
they are counted, not measured, and no claim or count of printed figures has them."""

TO_RUN = """\
Every experiment is held to run by tests, on stand-in data: what these lack is time or, beyond MNIST, data that the
repository may not carry. Core-hours are those of one CPU core, from the mean time of an iteration in the records of the
missing cells' networks and batch sizes, at their sparsities or, where no record has these, over all; not
known where there are none. A training that diverges ends early. `make data` fetches
CIFAR-10, CIFAR-100 and Tiny-ImageNet; ImageNet takes an account of its own."""


def report(
    registry: Registry,
    findings: Sequence[Finding],
    answers: Sequence[Answer],
    compared: Mapping[str, pd.DataFrame],
    study: Study,
) -> str:
    """The report as Markdown; its links are relative to results/."""
    parts = [
        "# The papers' claims, and what was measured",
        INTRODUCTION,
        "Made from the records by `make figures`; `make verify` checks that it is what the published ones say; "
        "`make report` makes a page of it all to sort and to filter, results/report.html. "
        "[How to check a number](../docs/check-a-number.md), down to the computation behind it.",
        *(["## What readers asked", *map(_answer, answers)] if answers else []),
        "## Summary",
        *_summary(findings, study),
        "## How it is decided",
        METHOD,
        "## The claims",
        *(_claims(source, members) for source, members in _by_source(findings).items()),
        "## What it costs",
        *cost_tables.section(study),
        *projections.section(),
        f"![{projections.TITLE}](figures/projections-slide.png)",
        "## Tables",
        _tables(compared),
        "## Figures",
        _figures(study),
        "## Deviations from the papers",
        *(
            f"**{paper}**\n\n" + "\n".join(f"- {item}" for item in items)
            for paper, items in registry.deviations.items()
        ),
        "## Not yet run, and what it takes",
        _to_run(study),
    ]
    return "\n\n".join(parts) + "\n"


def _by_source(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    sources: dict[str, list[Finding]] = {}
    for finding in findings:
        sources.setdefault(finding.claim.source, []).append(finding)
    return sources


def _answer(answer: Answer) -> str:
    items = [f"- **{finding.told.capitalize()}**: {_statement(finding)}" for finding in answer.findings]
    return f"**{answer.question}** {answer.caption}\n\n{markdown(answer.table)}\n\n" + "\n".join(items)


def _summary(findings: Sequence[Finding], study: Study) -> list[str]:
    """Counts, then every claim that was measured."""
    table = pd.DataFrame(
        [
            {"source": source, **{str(v): str(sum(one.verdict == v for one in members)) for v in Verdict}}
            for source, members in _by_source(findings).items()
        ]
    )
    parts = [counts(findings, study), markdown(table)]
    for verdict in (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE):
        told = [finding for finding in findings if finding.verdict == verdict]
        if told:
            items = "\n".join(f"- {sentence(finding)}" for finding in told)
            parts.append(f"**{str(verdict).capitalize()}**\n\n{items}")
    return parts


def counts(findings: Sequence[Finding], study: Study) -> str:
    """How many claims there are by verdict, and on how many records they rest."""
    numbers = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in Verdict}
    total = ", ".join(f"{count} {verdict}" for verdict, count in numbers.items())
    cells = sum(len(measured(cells)) for cells in study.values())
    return f"Of {len(findings)} claims: {total}. They rest on {cells:,} records of {len(study)} experiments."


def sentence(finding: Finding) -> str:
    """A claim in one line: whose it is, what it says, what was measured."""
    return f"{finding.claim.source}: {finding.claim.statement} Measured: {finding.measured}."


def rule(finding: Finding) -> str:
    """The test of a claim: a comparison in signs, or the table whose figures are to be met."""
    return str(finding.claim.test or "")


def _statement(finding: Finding) -> str:
    return f"{finding.claim.statement} {finding.claim.note}".strip()


def _claims(source: str, findings: Sequence[Finding]) -> str:
    table = pd.DataFrame(
        [
            {
                "claim": finding.claim.id,
                "where": finding.claim.place,
                "statement": _statement(finding),
                "test": rule(finding),
                "paper": finding.claim.paper,
                "verdict": finding.told,
                "measured": finding.measured,
                "seeds to decide": "" if finding.needed is None else str(finding.needed),
                "experiment": ", ".join(finding.claim.experiments) or f"none: needs {finding.claim.needs}",
            }
            for finding in findings
        ]
    )
    return f"### {source}\n\n{markdown(table)}"


def _tables(compared: Mapping[str, pd.DataFrame]) -> str:
    """A row a table of the papers: how many of its figures are reproduced, counts of parameters apart."""
    rows = []
    for table in PAPER_TABLES:
        figures = compared[table.name]
        figures = figures[figures["metric"] != PARAMETERS]
        decided = figures[figures["verdict"] != ""]["verdict"].value_counts()
        row = {"table": f"[{table.title}](tables/{table.name}.md)", "printed figures": str(len(figures))}
        rows.append(row | {str(verdict): str(decided.get(verdict, 0)) for verdict in Verdict})
    return markdown(pd.DataFrame(rows))


def _figures(study: Study) -> str:
    """The figures that have records, the others by name."""
    parts = [
        f"![{figure.title}](figures/{figure.name}-slide.png)"
        for figure in PAPER_FIGURES
        if not figure.cells(study).empty
    ]
    parts += [f"![{name}](figures/{name}-slide.png)" for name, cells in study.items() if accuracy(measured(cells))]
    parts += [
        f"![{name}, costs](figures/{name}_cost-slide.png)"
        for name, cells in study.items()
        if cost_figures.panels(cost_tables.known(measured(cells)))
    ]
    waiting = [figure.title for figure in PAPER_FIGURES if figure.cells(study).empty]
    if waiting:
        parts.append("Not yet measured:\n\n" + "\n".join(f"- {title}" for title in waiting))
    return "\n\n".join(parts)


def _to_run(study: Study) -> str:
    waiting = to_run(study)
    return "Every experiment has all its records." if waiting.empty else f"{TO_RUN}\n\n{markdown(waiting)}"


def to_run(study: Study) -> pd.DataFrame:
    """A row an experiment with missing cells, as texts: what it takes in all, and the core-hours left where known."""
    speeds = seconds_per_iteration(study)
    rows = []
    for name in grid.experiments():
        cells, found = grid.expected(name), study.get(name)
        if found is None:
            missing = [(cell["model"]["name"], cell["recipe"]["batch_size"], cell["sparsity"]) for cell in cells]
        else:
            lacking = found[found["status"] == MISSING]
            missing = list(zip(lacking["model"], lacking["batch_size"], lacking["sparsity"], strict=True))
        if missing:
            cost = grid.head(name, "Cost")
            known = [speeds.get(kind, speeds.get(kind[:2])) for kind in missing]
            rows.append(
                {
                    "experiment": name,
                    "missing": f"{len(missing):,} of {len(cells):,} cells",
                    "cost of all": cost,
                    "core-hours left": "not known" if None in known else _hours(cost, len(missing) / len(cells), known),
                }
            )
    return pd.DataFrame(rows)


def seconds_per_iteration(study: Study) -> dict[tuple[Any, ...], float]:
    """Core seconds an iteration, evaluation included: means over the records.

    By network, batch size and sparsity, and by network and batch size alone.
    """
    if not study:
        return {}
    cells = pd.concat([measured(cells) for cells in study.values()])
    speeds: dict[tuple[Any, ...], float] = {}
    for kind in (["model", "batch_size"], ["model", "batch_size", "sparsity"]):
        means = cells.groupby(kind)["seconds_per_iteration"].mean().dropna()
        speeds.update(zip(means.index, means, strict=True))
    return speeds


def _hours(cost: str, fraction: float, speeds: list[Any]) -> str:
    """Core-hours of a fraction of an experiment, whose head says its cost, at the mean of those cells' speeds."""
    ((trainings, iterations),) = re.findall(r"([\d,]+) trainings of ([\d,]+)", cost)
    count = int(trainings.replace(",", "")) * int(iterations.replace(",", ""))
    hours = fraction * count * sum(speeds) / len(speeds) / 3600
    return f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"
