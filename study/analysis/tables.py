"""Tables: aggregated over seeds, written as Markdown and CSV."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from study.analysis.load import rank
from study.files import write_atomically

COLUMNS = {
    "method": "method",
    "sparsity": "sparsity, %",
    "n": "n",
    "mean": "test accuracy, mean %",
    "std": "std",
    "early_stop_mean": "at early stop, mean %",
    "early_stop_std": "std at early stop",
    "early_stop_iteration": "early-stop iteration, mean",
    "collapsed": "collapsed",
}


def aggregate(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean and sample standard deviation (n - 1) over seeds, by method and sparsity. Accuracies in percent."""
    grouped = cells.groupby(["method", "sparsity"], as_index=False).agg(
        n=("seed", "size"),
        remaining=("remaining", "mean"),
        mean=("test_accuracy", "mean"),
        std=("test_accuracy", "std"),
        early_stop_mean=("early_stop_test_accuracy", "mean"),
        early_stop_std=("early_stop_test_accuracy", "std"),
        early_stop_iteration=("early_stop_iteration", "mean"),
        collapsed=("status", lambda status: int((status == "collapsed").sum())),
    )
    return grouped.sort_values("sparsity").sort_values("method", key=lambda names: names.map(rank), kind="stable")


def by_method(table: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation of the test accuracy as text: a row a method, a column a sparsity."""
    text = [
        f"{mean:.2f}" if pd.isna(std) else f"{mean:.2f}±{std:.2f}"
        for mean, std in zip(table["mean"], table["std"], strict=True)
    ]
    wide = table.assign(text=text).pivot(index="method", columns="sparsity", values="text")
    return wide.reindex(table["method"].unique()).fillna("")


def write(table: pd.DataFrame, path: Path, caption: str) -> None:
    """Write PATH.md, for people, and PATH.csv, with full precision."""
    shown = pd.DataFrame({title: [_FORMATS[name](value) for value in table[name]] for name, title in COLUMNS.items()})
    markdown = shown.to_markdown(index=False, disable_numparse=True)
    write_atomically(path.with_suffix(".md"), f"{caption}\n\n{markdown}\n".encode())
    write_atomically(path.with_suffix(".csv"), table.to_csv(index=False).encode())


def _two_decimals(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


_FORMATS: dict[str, Callable[[Any], str]] = {
    "method": str,
    "sparsity": lambda sparsity: f"{100 * sparsity:g}",
    "n": str,
    "mean": _two_decimals,
    "std": _two_decimals,
    "early_stop_mean": _two_decimals,
    "early_stop_std": _two_decimals,
    "early_stop_iteration": lambda iteration: f"{iteration:.0f}",
    "collapsed": str,
}
