"""The command: python -m study.analysis [EXPERIMENT ...]. Tables, figures, claims and the report from records alone."""

import argparse
import gc
import sys
import tempfile
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from study.analysis import claims, cost_figures, cost_tables, drawing, figures, projections, tables
from study.analysis.claims import Finding, Registry
from study.analysis.load import DIVERGED, MISSING, experiments, find, load, measured
from study.analysis.page import page
from study.analysis.questions import answers
from study.analysis.reference import PAPER_TABLES, Study, compare
from study.analysis.report import report
from study.analysis.statistics import Verdict
from study.energy.carbon import Region, read_region, regions
from study.errors import StudyError
from study.files import write_atomically

PUBLISHED = Path("results/records")
OWN = Path("outputs/records")
REPORT = "REPORT.md"
PAGE = "report.html"


def main() -> None:
    """Rebuild, verify or print what was asked for; a mistake is one line and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m study.analysis", description=__doc__)
    parser.add_argument(
        "experiment", nargs="*", help="default: all that have records, the papers' tables and the report"
    )
    parser.add_argument("--records", type=Path, help=f"folder of records; default: {OWN}, else {PUBLISHED}")
    parser.add_argument("--results", type=Path, default=Path("results"), help=f"folder of tables/, figures/, {REPORT}")
    parser.add_argument(
        "--energy", default="world", help=f"the grid for carbon and money, of conf/energy: {', '.join(regions())}"
    )
    parser.add_argument(
        "--factor", action="append", default=[], metavar="NAME=VALUE", help="an own figure in it: intensity.mid=0.3"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--claims", action="store_true", help="print the verdicts on the papers' claims; write nothing")
    what.add_argument(
        "--verify", action="store_true", help="rebuild elsewhere and compare with --results; write nothing"
    )
    what.add_argument("--page", action="store_true", help=f"rebuild all, and write a page to sort and filter: {PAGE}")
    arguments = parser.parse_args()
    if arguments.page and arguments.experiment:
        parser.error("--page is of all experiments: name none")
    folders = [arguments.records] if arguments.records else [OWN, PUBLISHED]
    try:
        region = read_region(arguments.energy, arguments.factor)
        found = {name: find(name, folders) for name in arguments.experiment or experiments(folders)}
        study = {name: load(path, *(folder / name for folder in folders)) for name, path in found.items()}
        gc.freeze()  # statsmodels collects garbage at each call, which the records' millions of objects are not
        if arguments.claims:
            _print_claims(_judge(study)[1])
        elif arguments.verify:
            _verify(study, arguments.results, region)
        else:
            for name, cells in study.items():
                rebuild(name, cells, arguments.results, region)
                _print_table(name, cells, found[name], arguments.results)
            if not arguments.experiment:
                rebuild_papers(study, arguments.results, region)
                print(f"wrote {arguments.results}/{REPORT}, the papers' tables and figures")
            if arguments.page:
                write_page(study, arguments.results, region)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def rebuild(experiment: str, cells: pd.DataFrame, results: Path, region: Region) -> None:
    """Write an experiment's own tables and figures: of accuracy, and of what it costs."""
    caption = _caption(experiment, cells)
    tables.write(tables.aggregate(cells), results / "tables" / experiment, caption)
    if panels := figures.accuracy(measured(cells)):
        drawing.save(panels, results / "figures" / experiment, caption)
    if len(priced := cost_tables.known(measured(cells))):
        cost_tables.write(priced, results / "tables" / f"{experiment}_cost", experiment, region)
        if panels := cost_figures.panels(priced):
            drawing.save(panels, results / "figures" / f"{experiment}_cost", cost_figures.caption(experiment, priced))


def rebuild_papers(study: Study, results: Path, region: Region) -> None:
    """Write the papers' tables, those of their figures that have records, and the report."""
    registry, findings, compared = _judge(study)
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
    registry, findings, compared = _judge(study)
    answered = answers(findings, study, region)
    whole = page(registry, findings, answered, compared, study, results / "figures")
    write_atomically(results / PAGE, whole.encode())
    print(f"wrote {results}/{PAGE}: open it in a browser, it needs no network")


def _judge(study: Study) -> tuple[Registry, list[Finding], dict[str, pd.DataFrame]]:
    registry = claims.read()
    compared = {table.name: compare(table, study) for table in PAPER_TABLES}
    return registry, claims.judge(registry.claims, study, compared), compared


def _verify(study: Study, results: Path, region: Region) -> None:
    """Raises StudyError that names the files that are not what the records give."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        for name, cells in study.items():
            rebuild(name, cells, fresh, region)
        rebuild_papers(study, fresh, region)
        made, committed = _generated(fresh), _generated(results)
    if different := sorted(name for name in made | committed if made.get(name) != committed.get(name)):
        raise StudyError(f"{', '.join(different)} in {results} are not what the records give: run `make figures`")
    print(f"{len(made)} files in {results} are what the records give")


def _generated(results: Path) -> dict[str, bytes]:
    paths = [path for part in ("tables", "figures") for path in (results / part).glob("*")] + [results / REPORT]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths if path.exists()}


def _caption(experiment: str, cells: pd.DataFrame) -> str:
    model, dataset, recipe = ("/".join(sorted(cells[name].unique())) for name in ("model", "dataset", "recipe"))
    counts = cells["status"].value_counts()
    told = {MISSING: "are missing", DIVERGED: "diverged"}
    gaps = [f"{counts[status]} of {len(cells)} cells {what}" for status, what in told.items() if status in counts]
    seeds = figures.seeds(measured(cells))
    spread = seeds if seeds == "1 seed" else f"mean ± standard deviation, {seeds}"
    return "; ".join([f"{experiment}: {model} on {dataset}, recipe {recipe}", spread, *gaps])


def _print_table(experiment: str, cells: pd.DataFrame, records: Path, results: Path) -> None:
    console = Console(highlight=False)
    console.print(f"Test accuracy, %. {_caption(experiment, cells)}", soft_wrap=True)
    table = tables.aggregate(cells)
    for (model, recipe), part in table.groupby(["model", "recipe"], sort=False):
        wide = tables.by_method(part)
        shown = Table("sparsity, %", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for sparsity in wide.columns:
            shown.add_column(f"{100 * sparsity:.4g}", justify="right", no_wrap=True)
        for method, row in wide.iterrows():
            shown.add_row(str(method), *row)
        if len(table.drop_duplicates(["model", "recipe"])) > 1:
            console.print(f"{model}, recipe {recipe}")
        console.print(shown)
    print(f"from {len(measured(cells))} records in {records}")
    figure = f"{results}/figures/{experiment}.png and .svg, " if figures.accuracy(measured(cells)) else ""
    print(f"wrote {figure}{results}/tables/{experiment}.md, .csv and .tex")


def _print_claims(findings: list[Finding]) -> None:
    """Verdict by verdict, the claims with their numbers."""
    console = Console(highlight=False)
    for verdict in Verdict:
        told = [finding for finding in findings if finding.verdict == verdict]
        console.print(f"[bold]{verdict}: {len(told)} of {len(findings)}[/bold]")
        for finding in told:
            console.print(Padding(f"{finding.claim.id}: {finding.claim.statement}", (0, 0, 0, 2)))
            if finding.measured:
                needed = "" if finding.needed is None else f"; {finding.needed} seeds decide it"
                console.print(Padding(escape(f"{finding.measured}{needed}"), (0, 0, 0, 6)))


if __name__ == "__main__":
    main()
