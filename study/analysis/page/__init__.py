"""results/report.html: the report as one page that needs no network, to sort and to filter.

The template is report.html.j2; report.css and report.js are put into it, and the figures as they are in results/.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from study.analysis import report, tables
from study.analysis.claims import Comparison, Drawings, Figures, Finding, Registry
from study.analysis.drawing import Panel
from study.analysis.figures import PAPER_FIGURES, accuracy, caption
from study.analysis.load import DIVERGED, METHODS, measured
from study.analysis.questions import Answer
from study.analysis.reference import METHODS as PRINTED_METHODS
from study.analysis.reference import PAPER_TABLES, PaperTable, Study
from study.analysis.statistics import Verdict

NOT_RUN = "not run here"
COLOURS = 64
"""Of a figure in the page: enough for its lines and the edges of its letters, and a third of the size."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what it sorts by (a number, where it is one), and a note in small letters."""

    text: str
    sort: str | float = ""
    note: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table, the values that it is filtered by, and the command that makes its numbers."""

    cells: list[Cell]
    command: str
    keys: Mapping[str, str]


@dataclass(frozen=True)
class Sheet:
    """A table to sort and to filter by `filters`, which are named in every row's keys."""

    name: str
    columns: list[str]
    filters: list[str]
    rows: list[Row] = field(default_factory=list)

    def choices(self, name: str) -> list[str]:
        """What a filter may be set to: the values of all rows, each once, several in one key counted apart."""
        return list(dict.fromkeys(part for row in self.rows for part in row.keys[name].split("|") if part))


@dataclass(frozen=True)
class Picture:
    """A figure as data URIs, for a wide window and for a phone, and the command that makes it."""

    name: str
    title: str
    wide: str
    narrow: str
    command: str


def page(
    registry: Registry,
    findings: Sequence[Finding],
    answers: Sequence[Answer],
    compared: Mapping[str, pd.DataFrame],
    study: Study,
    figures: Path,
) -> str:
    """The page as HTML. `figures` is the folder that the figures were written to."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"unbroken": _unbroken, "code": _code}
    counts = {str(verdict): sum(finding.verdict == verdict for finding in findings) for verdict in Verdict}
    return environment.get_template("report.html.j2").render(
        style=(folder / "report.css").read_text(),
        script=(folder / "report.js").read_text(),
        introduction=report.INTRODUCTION,
        method=report.METHOD,
        to_run_note=report.TO_RUN,
        answers=answers,
        counted=report.counts(findings, study),
        counts=counts,
        sources=_sources(findings),
        decided=[finding for finding in findings if finding.verdict != Verdict.NOT_MEASURED],
        sheets={
            "claims": _claims(findings),
            "printed": _printed(compared),
            "measured": _measured(study),
            "waiting": _waiting(study),
        },
        pictures=_pictures(study, figures),
        waiting_figures=[figure.title for figure in PAPER_FIGURES if figure.cells(study).empty],
        deviations=registry.deviations,
    )


def _unbroken(text: str) -> str:
    """Numbers kept on a line with their signs and units."""
    return re.sub(r"(?<=\d) (?=%|points)|(?<=n) (?== )|(?<==) (?=\d)|(?<=[<>]) (?=\S)", "\u00a0", text)


def _code(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sources(findings: Sequence[Finding]) -> dict[str, dict[str, int]]:
    """Counts of verdicts by paper."""
    sources: dict[str, dict[str, int]] = {}
    for finding in findings:
        of = sources.setdefault(finding.claim.source, {str(verdict): 0 for verdict in Verdict})
        of[str(finding.verdict)] += 1
    return sources


def _command(*experiments: str) -> str:
    return " && ".join(f"make sweep EXP={name}" for name in experiments)


def _claims(findings: Sequence[Finding]) -> Sheet:
    sheet = Sheet("claims", ["verdict", "claim", "test", "paper says", "measured", "seeds to decide"], _FILTERS)
    for finding in sorted(findings, key=lambda finding: list(Verdict).index(finding.verdict)):
        claim = finding.claim
        cells = [
            _verdict(finding.verdict, finding.partly),
            Cell(claim.statement, note=f"{claim.source}, {claim.place}. {claim.note}".strip()),
            Cell(report.rule(finding)),
            Cell(claim.paper),
            Cell(finding.measured.replace("; ", "\n") or (f"needs {claim.needs}" if claim.needs else "")),
            _number(finding.needed, 0),
        ]
        keys = {"paper": claim.source, "method": _methods(claim.test, claim.statement), "verdict": str(finding.verdict)}
        sheet.rows.append(Row(cells, _command(*claim.experiments), keys))
    return sheet


def _methods(test: Comparison | Figures | Drawings | None, statement: str) -> str:
    """The methods that a claim is about: those it compares but for dense, else those that its words name."""
    text = f"{test.of}, {test.against or ''}" if isinstance(test, Comparison) else statement
    words = (
        text.replace("one-shot ticket", "lottery ticket").replace("ickets", "icket").replace("Ticket", "lottery ticket")
    )
    found = [method for method in METHODS.values() if method != "dense" and method.lower() in words.lower()]
    if "magnitude pruning" in words:
        found.append(METHODS["magnitude"])
    return "|".join(found)


def _printed(compared: Mapping[str, pd.DataFrame]) -> Sheet:
    columns = ["verdict", "table", "network", "method", "sparsity, %", "paper", "ours", "seeds", "difference", "margin"]
    sheet = Sheet("printed", columns, _FILTERS)
    for table in PAPER_TABLES:
        experiments = {(network.dataset, network.name): network.experiment for network in table.networks}
        for figure in compared[table.name].to_dict("records"):
            experiment = experiments[figure["dataset"], figure["network"]]
            sheet.rows.append(_printed_row(table, figure, _command(experiment)))
    sheet.rows.sort(key=lambda row: [str(v) for v in (*Verdict, "recalled", NOT_RUN)].index(row.keys["verdict"]))
    return sheet


def _printed_row(table: PaperTable, figure: dict[Any, Any], command: str) -> Row:
    paper, _, title = table.title.partition(" (")
    name = title.partition(")")[2].lstrip(",: ").partition(":")[0]
    ours = PRINTED_METHODS.get(figure["method"], "").partition(",")[0]
    verdict = figure["verdict"] or ("recalled" if ours else NOT_RUN)
    partly = f"{figure['n']} of {figure['planned']} seeds" if 0 < figure["n"] < figure["planned"] else ""
    count = figure["metric"] == tables.COUNT
    cells = [
        _verdict(verdict, partly),
        Cell(name, note=figure["dataset"]),
        Cell(figure["network"]),
        Cell(figure["method"], note=figure["metric"].replace("_", " ")),
        _number(100 * figure["sparsity"], None),
        Cell(tables.printed(figure), figure["paper"], note="recalled, not read" if figure["recalled"] else ""),
        _mean(tables.ours(figure), figure["mean"], _interval(figure)) if figure["n"] or figure[DIVERGED] else Cell(""),
        Cell(f"{figure['n']} of {figure['planned']}", figure["n"]) if figure["planned"] else Cell(""),
        _number(figure["difference"], 0 if count else 2, "+"),
        _number(figure["margin"], 0 if count else 2) if ours else Cell(""),
    ]
    keys = {"paper": paper, "method": ours or figure["method"], "verdict": verdict}
    return Row(cells, command if ours else "", keys)


def _measured(study: Study) -> Sheet:
    columns = ["experiment", "network", "method", "sparsity, %", "seeds", "accuracy, %", "at early stop, %", "stops at"]
    sheet = Sheet("measured", columns, ["experiment", "method"])
    for name, cells in study.items():
        for group in tables.aggregate(cells).to_dict("records"):
            row = [
                Cell(name),
                Cell(group["model"]),
                Cell(group["method"]),
                _number(100 * group["sparsity"], None),
                Cell(f"{group['n']} of {group['planned']}", group["n"]),
                _mean(tables.accuracy(group), group["mean"], _interval(group)),
                _mean(tables.spread(group["early_stop_mean"], group["early_stop_std"]), group["early_stop_mean"]),
                _number(group["early_stop_iteration"], 0),
            ]
            keys = {"experiment": name, "method": group["method"].partition(",")[0]}
            sheet.rows.append(Row(row, _command(name), keys))
    return sheet


def _waiting(study: Study) -> Sheet:
    sheet = Sheet("waiting", ["experiment", "missing", "cost of all", "core-hours left"], [])
    for row in report.to_run(study).to_dict("records"):
        hours = row["core-hours left"]
        sort = float(hours.replace(",", "")) if hours[0].isdigit() else ""
        texts = [Cell(row[name]) for name in ("experiment", "missing", "cost of all")]
        sheet.rows.append(Row([*texts, Cell(hours, sort)], _command(row["experiment"]), {}))
    return sheet


_FILTERS = ["paper", "method", "verdict"]


def _verdict(verdict: str, partly: str) -> Cell:
    order = [str(v) for v in Verdict]
    sort = order.index(verdict) if verdict in order else len(order)
    return Cell(str(verdict), sort, f"on {partly}" if partly else "", str(verdict).replace(" ", "-"))


def _number(value: Any, decimals: int | None, sign: str = "") -> Cell:
    """A number, sorted by its value; without `decimals` in as few digits as it takes."""
    if value is None or pd.isna(value):
        return Cell("")
    text = f"{value:.4g}" if decimals is None else f"{value:{sign},.{decimals}f}"
    return Cell(text.replace("-", "−"), float(value))


def _mean(text: str, mean: float, note: str = "") -> Cell:
    """A text that tells a mean, sorted by it where there is one."""
    return Cell(text, "" if pd.isna(mean) else mean, note)


def _interval(row: dict[Any, Any]) -> str:
    return "" if pd.isna(row["low"]) else f"95 %: {row['low']:.2f} – {row['high']:.2f}"


def _pictures(study: Study, folder: Path) -> list[Picture]:
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for figure in PAPER_FIGURES:
        cells = figure.cells(study)
        if not cells.empty:
            run = tuple(name for name in figure.experiments if name in study)
            found.append((figure.name, caption(figure.title, cells), run))
    for name, cells in study.items():
        panels: list[Panel] = accuracy(measured(cells))
        if panels:
            found.append((name, f"{name}: test accuracy by method", (name,)))
    return [
        Picture(
            name,
            title[0].upper() + title[1:],
            _uri(folder / f"{name}-slide.png"),
            _uri(folder / f"{name}.png"),
            f"{_command(*run)} && make figures",
        )
        for name, title, run in found
    ]


def _uri(path: Path) -> str:
    """A PNG file as a data URI, in fewer colours."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
