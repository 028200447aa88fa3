"""results/REPORT.md: every verdict on a page, then what stands behind it."""

from collections.abc import Mapping, Sequence

import pandas as pd

from study.analysis import cost_figures, cost_tables, grid, projections
from study.analysis.claims import Finding, Registry
from study.analysis.figures import PAPER_FIGURES, accuracy
from study.analysis.load import measured
from study.analysis.reference import PAPER_TABLES, Study
from study.analysis.statistics import Verdict
from study.analysis.tables import markdown

METHOD = """\
Accuracy is the test accuracy of the last iteration or, where a paper means that, of the lowest validation loss;
never the best on the test set. Comparisons are of differences within a seed, by one-sided t tests: one for a
difference, two for "as good as" (TOST; within 0.3 points unless stated). A claim about several sparsities is
reproduced where it holds at all of them, and not reproduced where it fails at one. A printed figure is reproduced
where ours is within the paper's own standard deviation of it or, where the paper prints none, within 0.3 points.
Claims that rest on the same experiments, and the rows of a table, are corrected together (Holm), at a family-wise
error of 5 %. Measured are mean differences, by the percentage of weights remaining; in brackets stand 95 % intervals
by the BCa bootstrap. They decide nothing: with few seeds they are too narrow. Seeds to decide are those that one
claim takes alone, for a power of 80 %, were the mean and spread found the true ones. Figures that were recalled, and
not read, are marked † in the tables and decide nothing."""


def report(registry: Registry, findings: Sequence[Finding], compared: Mapping[str, pd.DataFrame], study: Study) -> str:
    """The report as Markdown; its links are relative to results/."""
    parts = [
        "# The papers' claims, and what was measured",
        "Made from the records by `make figures`; `make verify` checks that it is what the published ones say.",
        "## Summary",
        *_summary(findings),
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


def _summary(findings: Sequence[Finding]) -> list[str]:
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in Verdict}
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    table = pd.DataFrame(
        [
            {"source": source, **{str(v): str(sum(one.verdict == v for one in members)) for v in Verdict}}
            for source, members in _by_source(findings).items()
        ]
    )
    parts = [f"Of {len(findings)} claims: {total}.", markdown(table)]
    for verdict in (Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE):
        told = [finding for finding in findings if finding.verdict == verdict]
        if told:
            items = "\n".join(f"- {_statement(finding)} Measured: {finding.measured}." for finding in told)
            parts.append(f"**{str(verdict).capitalize()}**\n\n{items}")
    return parts


def _statement(finding: Finding) -> str:
    return f"{finding.claim.statement} {finding.claim.note}".strip()


def _claims(source: str, findings: Sequence[Finding]) -> str:
    table = pd.DataFrame(
        [
            {
                "claim": finding.claim.id,
                "where": finding.claim.place,
                "statement": _statement(finding),
                "paper": finding.claim.paper,
                "verdict": str(finding.verdict),
                "measured": finding.measured,
                "seeds to decide": "" if finding.needed is None else str(finding.needed),
                "experiment": ", ".join(finding.claim.experiments) or f"none: needs {finding.claim.needs}",
            }
            for finding in findings
        ]
    )
    return f"### {source}\n\n{markdown(table)}"


def _tables(compared: Mapping[str, pd.DataFrame]) -> str:
    rows = []
    for table in PAPER_TABLES:
        figures = compared[table.name]
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
    masks = "Lee et al. 2019, figure 2 (kept connections as an image) and the overlap of masks"
    parts.append(f"{masks} cannot be drawn: records hold how many weights are kept, not which.")
    return "\n\n".join(parts)


def _to_run(study: Study) -> str:
    """Experiments with missing cells, and what their heads say that they cost."""
    rows = []
    for name in grid.experiments():
        planned = len(grid.expected(name))
        cells = study.get(name)
        missing = planned if cells is None else len(cells) - len(measured(cells))
        if missing:
            rows.append(
                {"experiment": name, "missing": f"{missing} of {planned} cells", "cost": grid.head(name, "Cost")}
            )
    return markdown(pd.DataFrame(rows)) if rows else "Every experiment has all its records."
