"""Tables: aggregated over seeds or beside a paper's, written as Markdown, CSV and LaTeX."""

from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from study.analysis import statistics
from study.analysis.load import DIVERGED, MISSING, rank
from study.analysis.reference import PaperTable
from study.analysis.statistics import Verdict
from study.files import write_atomically

GROUP = ["model", "recipe", "method", "sparsity"]
MEASURES = ["remaining", "effective", "test_accuracy", "early_stop_test_accuracy", "early_stop_iteration"]

LATEX = str.maketrans(
    {"±": r"$\pm$", "≠": r"$\neq$", "−": "$-$", "†": r"\textsuperscript{\dag}", "|": "$|$", "–": "--"}
)

LEGEND = (
    "First the paper's figure, after the stroke ours. = reproduced: ours is within the margin of the paper's; ≠ not "
    "reproduced: it is outside; ? inconclusive: the seeds cannot tell. No sign: recalled, or not run here. Each by "
    "two one-sided t tests, at a family-wise error of 5 % over the table (Holm). The margin is the paper's own "
    "standard deviation, or 0.3 points where it prints none (1 % of a number of parameters). A figure is not "
    "reproduced either where most trainings diverged, which then have no accuracy, and where some did it is "
    "inconclusive. ± is the sample standard deviation over n seeds; the interval is the mean's, 95 % by the BCa "
    "bootstrap, too narrow for few seeds. Seeds to decide: for a power of 80 % at the mean and spread found."
)
RECALLED = "† recalled from memory, not read in the paper: shown, and never a verdict."
SIGNS = {Verdict.REPRODUCED: " =", Verdict.NOT_REPRODUCED: " ≠", Verdict.INCONCLUSIVE: " ?"}
COUNT = "parameters"
PRECISION = "%.10g"  # the last digits of a sum depend on the processor


def aggregate(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation (n - 1) and interval over seeds, by network, recipe, method and sparsity.

    Accuracies are in percent. A seed counts once, by the mean of a control's draws. `n` of the `planned` seeds are
    measured; where none is, values are missing. `collapsed`, `diverged` and `missing` count cells.
    """
    by_seed = cells.groupby([*GROUP, "seed"], as_index=False)[MEASURES].mean()
    grouped = by_seed.groupby(GROUP, as_index=False).agg(
        n=("test_accuracy", "count"),
        planned=("seed", "size"),
        remaining=("remaining", "mean"),
        effective=("effective", "mean"),
        mean=("test_accuracy", "mean"),
        std=("test_accuracy", "std"),
        low=("test_accuracy", lambda values: statistics.interval(values.dropna())[0]),
        high=("test_accuracy", lambda values: statistics.interval(values.dropna())[1]),
        early_stop_mean=("early_stop_test_accuracy", "mean"),
        early_stop_std=("early_stop_test_accuracy", "std"),
        early_stop_iteration=("early_stop_iteration", "mean"),
    )
    for status in ("collapsed", DIVERGED, MISSING):
        counted = cells[cells["status"] == status].groupby(GROUP).size().rename(status).reset_index()
        grouped = grouped.merge(counted, on=GROUP, how="left").fillna({status: 0}).astype({status: int})
    grouped = grouped.sort_values("sparsity").sort_values("method", key=lambda names: names.map(rank), kind="stable")
    return grouped.sort_values(["model", "recipe"], kind="stable").reset_index(drop=True)


def by_method(table: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation of the test accuracy of one network as text: a row a method, a column a sparsity."""
    text = [accuracy(row) for row in table.to_dict("records")]
    wide = table.assign(text=text).pivot(index="method", columns="sparsity", values="text")
    return wide.reindex(table["method"].unique()).fillna("")


def write(table: pd.DataFrame, path: Path, caption: str) -> None:
    """Write what `aggregate` gives: PATH.md and PATH.tex, for people, and PATH.csv, with ten digits."""
    shown = pd.DataFrame(
        {
            **({"network": table["model"]} if table["model"].nunique() > 1 else {}),
            **({"recipe": table["recipe"]} if table["recipe"].nunique() > 1 else {}),
            "method": table["method"],
            "sparsity": [percent(sparsity) for sparsity in table["sparsity"]],
            "n": _seeds(table),
            "test accuracy, mean %": table["mean"].map(_number),
            "std": table["std"].map(_number),
            "95 % interval": _intervals(table),
            "at early stop, mean %": table["early_stop_mean"].map(_number),
            "std at early stop": table["early_stop_std"].map(_number),
            "early-stop iteration, mean": table["early_stop_iteration"].map(lambda value: _number(value, 0)),
            "collapsed": table["collapsed"].map(str),
            **_diverged(table),
        }
    )
    write_texts(path, table, caption, [shown], [])


def write_comparison(table: PaperTable, compared: pd.DataFrame, folder: Path) -> None:
    """Write a paper's table beside ours: in the paper's layout, then a row a figure; PATH.csv has ten digits."""
    notes = [LEGEND, *([RECALLED] if compared["recalled"].any() else [])]
    write_texts(folder / table.name, compared, table.title, [layout(table, compared), details(compared)], notes)


def layout(table: PaperTable, compared: pd.DataFrame) -> pd.DataFrame:
    """The paper's rows and columns; in each cell the paper's figure, then ours and the sign of the verdict."""
    levels = [*table.rows, *table.columns]
    texts = compared.assign(
        text=[_cell(row) for row in compared.to_dict("records")],
        sparsity=[percent(sparsity) for sparsity in compared["sparsity"]],
        pruned=[percent(sparsity) for sparsity in compared["pruned"]],
        metric=compared["metric"].str.replace("_", " "),
    )
    ascending = [percent(sparsity) for sparsity in sorted(compared["sparsity"].unique())]
    orders = {name: ascending if name == "sparsity" else texts[name].unique() for name in levels}
    ordered = texts.assign(**{name: pd.Categorical(texts[name], order) for name, order in orders.items()})
    wide = ordered.pivot(index=list(table.rows), columns=list(table.columns), values="text").fillna("")
    wide = wide.sort_index().sort_index(axis="columns")
    wide.columns = pd.Index([" ".join(filter(None, key)) if isinstance(key, tuple) else key for key in wide.columns])
    return wide.reset_index()


def details(compared: pd.DataFrame) -> pd.DataFrame:
    """A row a printed figure that we run: everything that stands behind the verdict."""
    table = compared[(compared["n"] > 0) | (compared["verdict"] != "")]
    metrics = table["metric"]
    return pd.DataFrame(
        {
            **({"data set": table["dataset"]} if table["dataset"].nunique() > 1 else {}),
            "network": table["network"],
            "method": table["method"],
            "sparsity": [percent(sparsity) for sparsity in table["sparsity"]],
            **({"figure": metrics.str.replace("_", " ")} if metrics.nunique() > 1 else {}),
            "paper": [printed(row) for row in table.to_dict("records")],
            "ours": [ours(row) for row in table.to_dict("records")],
            "n": _seeds(table),
            **_diverged(table),
            "95 % interval": _intervals(table),
            "difference": [
                _number(value, 0 if metric == COUNT else 2, "+")
                for value, metric in zip(table["difference"], metrics, strict=True)
            ],
            "margin": [
                _number(value, 0 if metric == COUNT else 2)
                for value, metric in zip(table["margin"], metrics, strict=True)
            ],
            "seeds to decide": table["needed"].map(lambda value: _number(value, 0)),
            "verdict": table["verdict"],
        }
    )


def markdown(table: pd.DataFrame) -> str:
    """A table of texts as Markdown."""
    return _tabulate(table.map(lambda text: str(text).replace("|", r"\|")), "pipe")


def _tabulate(table: pd.DataFrame, style: str) -> str:
    return tabulate(table.to_numpy().tolist(), list(table.columns), style, disable_numparse=True)


def write_texts(path: Path, values: pd.DataFrame, caption: str, shown: list[pd.DataFrame], notes: list[str]) -> None:
    """Write the texts `shown` with a caption and notes, PATH.md and PATH.tex, and the values, PATH.csv."""
    text = "\n\n".join([caption, *map(markdown, shown), *notes])
    write_atomically(path.with_suffix(".md"), f"{text}\n".encode())
    write_atomically(path.with_suffix(".csv"), values.to_csv(index=False, float_format=PRECISION).encode())
    *first, last = shown
    tex = "\n\n".join([*(_latex(table, caption, []) for table in first), _latex(last, caption, notes)])
    write_atomically(path.with_suffix(".tex"), f"% Needs the package booktabs.\n{tex}\n".encode())


def _latex(table: pd.DataFrame, caption: str, notes: list[str]) -> str:
    rows = _tabulate(table, "latex_booktabs")
    words = [text.replace("%", r"\%").replace("&", r"\&").replace("_", r"\_") for text in (caption, *notes)]
    parts = [r"\begin{table}", rf"\caption{{{words[0]}}}", rows, *(rf"\par\footnotesize {note}" for note in words[1:])]
    return "\n".join([*parts, r"\end{table}"]).translate(LATEX)


def _cell(row: dict[Any, Any]) -> str:
    return printed(row) + (f" / {ours(row)}{SIGNS.get(row['verdict'], '')}" if row["n"] or row[DIVERGED] else "")


def printed(row: dict[Any, Any]) -> str:
    """The paper's figure of a row of `compare`, with its spread, † where it was recalled."""
    mark = "†" if row["recalled"] else ""
    if row["metric"] == COUNT:
        return f"{row['paper']:,.0f}{mark}"
    return spread(row["paper"], row["paper_std"]) + mark


def ours(row: dict[Any, Any]) -> str:
    """Our mean and sample standard deviation beside it."""
    return f"{row['mean']:,.0f}" if row["n"] and row["metric"] == COUNT else accuracy(row)


def accuracy(row: dict[Any, Any]) -> str:
    """The mean and sample standard deviation of a row, or why it has none: its trainings diverged, or are missing."""
    return spread(row["mean"], row["std"]) if row["n"] else DIVERGED if row[DIVERGED] else MISSING


def _seeds(table: pd.DataFrame) -> list[str]:
    """How many seeds, and of how many where some are missing."""
    pairs = zip(table["n"], table["planned"], strict=True)
    return [str(n) if n == planned else f"{n} of {planned}" for n, planned in pairs]


def _diverged(table: pd.DataFrame) -> dict[str, "pd.Series[str]"]:
    """A column of how many trainings diverged, where any did."""
    return {DIVERGED: table[DIVERGED].map(str)} if table[DIVERGED].any() else {}


def _intervals(table: pd.DataFrame) -> list[str]:
    pairs = zip(table["low"], table["high"], strict=True)
    return ["" if pd.isna(low) else f"{low:.2f} – {high:.2f}" for low, high in pairs]


def spread(mean: float, std: float) -> str:
    """Mean ± standard deviation, which one value has not."""
    return _number(mean) if pd.isna(std) else f"{_number(mean)}±{_number(std)}"


def percent(sparsity: float) -> str:
    """A fraction that is removed, in percent, as tables print it."""
    return f"{100 * sparsity:.4g} %"


def _number(value: float | None, decimals: int = 2, sign: str = "") -> str:
    return "" if pd.isna(value) else f"{value:{sign},.{decimals}f}".replace("-", "−")
