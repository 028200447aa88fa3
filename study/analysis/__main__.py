"""The command: python -m study.analysis [EXPERIMENT ...]. Tables, figures, claims and the report from records alone."""

import argparse
import gc
import sys
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from study.analysis import figures, tables
from study.analysis.claims import Finding
from study.analysis.load import experiments, find, load, measured
from study.analysis.rebuild import PAGE, REPORT, caption, judge, rebuild, rebuild_all, verify, write_page
from study.analysis.reference import Study
from study.analysis.statistics import Verdict
from study.energy.carbon import read_region, regions
from study.errors import StudyError
from study.life import life

PUBLISHED = Path("results/records")
OWN = Path("outputs/records")


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
    try:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            _run(arguments, pool)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _run(arguments: argparse.Namespace, pool: Executor) -> None:
    folders = [arguments.records] if arguments.records else [OWN, PUBLISHED]
    region = read_region(arguments.energy, arguments.factor)
    with life("reading records"):
        found = {name: find(name, folders) for name in arguments.experiment or experiments(folders)}
        study = _load(found, folders, pool)
    gc.freeze()  # statsmodels collects garbage at each call, which the records' millions of objects are not
    if arguments.claims:
        with life("judging claims"):
            findings = judge(study)[1]
        _print_claims(findings)
    elif arguments.verify:
        with life("making tables and figures anew"):
            count = verify(study, arguments.results, region, pool)
        print(f"{count} files in {arguments.results} are what the records give")
    else:
        with life("making tables and figures"):
            if arguments.experiment:
                for name, cells in study.items():
                    rebuild(name, cells, arguments.results, region)
            else:
                rebuild_all(study, arguments.results, region, pool)
        for name, cells in study.items():
            _print_table(name, cells, found[name], arguments.results)
        if not arguments.experiment:
            print(f"wrote {arguments.results}/{REPORT}, the papers' tables and figures")
        if arguments.page:
            with life("writing the page"):
                write_page(study, arguments.results, region)
            print(f"wrote {arguments.results}/{PAGE}: open it in a browser, it needs no network")


def _load(found: dict[str, Path], folders: list[Path], pool: Executor) -> Study:
    """The experiments' cells, in processes of their own where there are several."""
    each = pool.map if len(found) > 1 else map
    cells = each(load, found.values(), *([folder / name for name in found] for folder in folders))
    return dict(zip(found, cells, strict=True))


def _print_table(experiment: str, cells: pd.DataFrame, records: Path, results: Path) -> None:
    console = Console(highlight=False)
    console.print(f"Test accuracy, %. {caption(experiment, cells)}", soft_wrap=True)
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
