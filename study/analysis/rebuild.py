"""Rebuilding results/ from records: the experiments' tables and figures, the papers', the report, and its page."""

import tempfile
from concurrent.futures import Executor, wait
from pathlib import Path

import pandas as pd

from study.analysis import claims, cost_figures, cost_tables, drawing, figures, projections, tables
from study.analysis.claims import Finding, Registry
from study.analysis.load import DIVERGED, MISSING, measured
from study.analysis.page import page
from study.analysis.questions import answers
from study.analysis.reference import PAPER_TABLES, Study, compare
from study.analysis.report import report
from study.energy.carbon import Region
from study.errors import StudyError
from study.files import write_atomically

REPORT = "REPORT.md"
PAGE = "report.html"


def rebuild_all(study: Study, results: Path, region: Region, pool: Executor) -> None:
    """Rebuild every experiment, in the pool's processes, and beside them what the papers print. Ends when all have."""
    running = [pool.submit(rebuild, name, cells, results, region) for name, cells in study.items()]
    try:
        rebuild_papers(study, results, region)
    finally:
        wait(running)
    for one in running:
        one.result()


def rebuild(experiment: str, cells: pd.DataFrame, results: Path, region: Region) -> None:
    """Write an experiment's own tables and figures: of accuracy, and of what it costs."""
    told = caption(experiment, cells)
    tables.write(tables.aggregate(cells), results / "tables" / experiment, told)
    if panels := figures.accuracy(measured(cells)):
        drawing.save(panels, results / "figures" / experiment, told)
    if len(priced := cost_tables.known(measured(cells))):
        cost_tables.write(measured(cells), results / "tables" / f"{experiment}_cost", experiment, region)
        if panels := cost_figures.panels(priced):
            drawing.save(panels, results / "figures" / f"{experiment}_cost", cost_figures.caption(experiment, priced))


def rebuild_papers(study: Study, results: Path, region: Region) -> None:
    """Write the papers' tables, those of their figures that have records, and the report."""
    registry, findings, compared = judge(study)
    for table in PAPER_TABLES:
        tables.write_comparison(table, compared[table.name], results / "tables")
    for figure in figures.PAPER_FIGURES:
        cells = figure.cells(study)
        if not cells.empty:
            drawing.save(figure.panels(cells), results / "figures" / figure.name, figures.caption(figure.title, cells))
    drawing.save(projections.panels(), results / "figures" / "projections", projections.TITLE)
    answered = answers(findings, study, region)
    write_atomically(results / REPORT, report(registry, findings, answered, compared, study).encode())


def write_page(study: Study, results: Path, region: Region) -> None:
    """Write the report as a page, with the figures that were written before."""
    registry, findings, compared = judge(study)
    answered = answers(findings, study, region)
    whole = page(registry, findings, answered, compared, study, results / "figures")
    write_atomically(results / PAGE, whole.encode())


def judge(study: Study) -> tuple[Registry, list[Finding], dict[str, pd.DataFrame]]:
    """The papers' claims, what the records say of each, and the papers' tables beside ours."""
    registry = claims.read()
    compared = {table.name: compare(table, study) for table in PAPER_TABLES}
    return registry, claims.judge(registry.claims, study, compared), compared


def verify(study: Study, results: Path, region: Region, pool: Executor) -> int:
    """Rebuild elsewhere: how many files are as committed. Raises StudyError that names those that are not."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        rebuild_all(study, fresh, region, pool)
        made, committed = _generated(fresh), _generated(results)
    if different := sorted(name for name in made | committed if made.get(name) != committed.get(name)):
        raise StudyError(f"{', '.join(different)} in {results} are not what the records give: run `make figures`")
    return len(made)


def _generated(results: Path) -> dict[str, bytes]:
    paths = [path for part in ("tables", "figures") for path in (results / part).glob("*")] + [results / REPORT]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths if path.exists()}


def caption(experiment: str, cells: pd.DataFrame) -> str:
    """What heads an experiment's table and figure: its networks, data and recipe, its seeds, and what it lacks."""
    model, dataset, recipe = ("/".join(sorted(cells[name].unique())) for name in ("model", "dataset", "recipe"))
    counts = cells["status"].value_counts()
    told = {MISSING: "are missing", DIVERGED: "diverged"}
    gaps = [f"{counts[status]} of {len(cells)} cells {what}" for status, what in told.items() if status in counts]
    seeds = figures.seeds(measured(cells))
    spread = seeds if seeds == "1 seed" else f"mean ± standard deviation, {seeds}"
    return "; ".join([f"{experiment}: {model} on {dataset}, recipe {recipe}", spread, *gaps])
