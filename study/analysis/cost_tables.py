"""What it costs, as tables: to find, to train and to use each network; when it has paid; what to favour."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from study.analysis import cost
from study.analysis.load import METHODS, PLAIN, measured, rank
from study.analysis.reference import MARGIN, Study
from study.analysis.tables import markdown, percent, write_texts
from study.energy.carbon import Range, Region, footprint

BY = [*cost.GROUP, "method", "sparsity"]
DENSE = METHODS["dense"]
BUDGETS = {"at most one dense training": 1.0, "at most two": 2.0, "no limit": math.inf}
"""In dense trainings."""

EQUAL = 1.1
"""Costs within this factor are told apart by the day more than by the method."""

CHOICES = (
    "By how much of the network is removed, and by what finding and training it may cost together: the cheapest method "
    f"whose mean accuracy is within {MARGIN:g} points of the best in the budget, and others as good that cost as much; "
    "beside them accuracy, and energy in dense trainings. Costs within a tenth of each other, or of the budget, count "
    "as equal."
)
"""What the table of `choices` tells."""

PER = 1000
"""Carbon and money are told for so many such cells."""


def known(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells whose cost is recorded."""
    return cells[cells["total_joules"].notna()] if "total_joules" in cells else cells.iloc[:0]


def summary(cells: pd.DataFrame) -> pd.DataFrame:
    """Medians over n seeds, by network, method and sparsity, and the least and the most of the costs in percent.

    `saving` is the measured training beside `operations`, what the mask leaves to be done. `trainings_to_pay` and
    `inferences_to_pay` are how often a network must be trained anew, or used, until it has cost less than a dense one
    as often: what finding (or, for use, finding and training it) took beyond the dense, by what is saved each time.
    Trainings are with their evaluations, those on the way too. They are 0 where it never cost more, infinite where
    nothing is saved, and NaN for the dense itself.
    """
    priced = known(cells)
    table = (
        priced.assign(own_joules=priced["total_joules"] - priced["finding_joules"])
        .groupby(BY, as_index=False)
        .agg(
            n=("seed", "nunique"),
            remaining=("remaining", "first"),
            trainings=("trainings", "median"),
            accuracy=("test_accuracy", "mean"),
            finding=("finding_cost", "median"),
            finding_least=("finding_cost", "min"),
            finding_most=("finding_cost", "max"),
            training=("training_cost", "median"),
            training_least=("training_cost", "min"),
            training_most=("training_cost", "max"),
            total=("total_cost", "median"),
            finding_joules=("finding_joules", "median"),
            own_joules=("own_joules", "median"),
            evaluation_joules=("evaluation_joules", "median"),
            evaluated=("evaluated", "first"),
            joules=("total_joules", "median"),
            cpu=("total_cpu", "median"),
            operations=("operations", "mean"),
            engines=("engine", lambda names: "/".join(sorted(set(names)))),
            basis=("basis", lambda names: next(name for name in reversed(cost.BASES) if name in set(names))),
        )
    )
    dense = table[table["method"] == DENSE].set_index(cost.GROUP)
    columns = {"joules": "dense_total", "evaluation_joules": "dense_evaluation"}
    table = table.merge(dense[list(columns)].rename(columns=columns), on=cost.GROUP, how="left")
    saved = table["dense_total"] - table["own_joules"]
    per_inference = (table["dense_evaluation"] - table["evaluation_joules"]) / table["evaluated"]
    table["trainings_to_pay"] = _to_pay(table["finding_joules"], saved)
    table["inferences_to_pay"] = _to_pay(table["joules"] - table["dense_total"], per_inference)
    table.loc[table["method"] == DENSE, ["trainings_to_pay", "inferences_to_pay"]] = math.nan
    table = table.sort_values("sparsity").sort_values("method", key=lambda names: names.map(rank), kind="stable")
    return table.sort_values(cost.GROUP, kind="stable").reset_index(drop=True)


def _to_pay(extra: "pd.Series[float]", saved: "pd.Series[float]") -> "pd.Series[float]":
    paid = (extra / saved.where(saved > 0)).where(saved > 0, math.inf).clip(lower=0)
    return paid.where(saved.notna())


def write(cells: pd.DataFrame, path: Path, caption: str, region: Region) -> None:
    """Write PATH.md, .csv and .tex: what each network of an experiment costs, alone; the notes tell of the study."""
    table = summary(cells)
    elsewhere = cells[cells["total_joules"].isna()]["processor"].dropna()
    alone, together = cost.shared(known(cells))
    codes = known(cells)["commit"].nunique()
    notes = [
        f"Medians over n seeds, in brackets the least and the most. Each cell is counted as if it were alone, with all "
        f"trainings that it rests on: together {alone:,.0f} J; shared, the study took {together:,.0f} J. "
        f"In percent of the median dense training, its evaluations included; training of a dense one's, without.",
        f"Energy: {cost.explained(table['basis'])}. Of {_names(known(cells)['processor'])}."
        + (f" Run on several occasions, by code of {codes} commits, which costs differ by too." if codes > 1 else "")
        + (f" Cells left out, since they ran on {_names(elsewhere)}: {len(elsewhere)}." if len(elsewhere) else ""),
        _factors(region),
        "Measured: training on the engine named, beside the theoretical share of the operations that the mask leaves.",
        "To pay: how many more trainings, evaluated alike, or inferences, until finding the network has cost less than "
        "being dense.",
    ]
    write_texts(path, table, f"{caption}: what each network costs", [shown(table, region)], notes)


def _names(processors: "pd.Series[str]") -> str:
    return " and ".join(sorted(processors.unique()))


def shown(table: pd.DataFrame, region: Region) -> pd.DataFrame:
    """What `summary` gives, as texts."""
    prints = [footprint(PER * joules, region) for joules in table["joules"]]
    return pd.DataFrame(
        {
            **({"network": table["model"]} if table["model"].nunique() > 1 else {}),
            "method": table["method"],
            "sparsity": table["sparsity"].map(percent),
            "n": table["n"].map(str),
            "trainings": table["trainings"].map(lambda value: f"{value:.0f}"),
            "to find, %": _with_ends(table, "finding"),
            "to train, %": _with_ends(table, "training"),
            "operations left, %": [_figure(100 * value) for value in table["operations"]],
            "engine": table["engines"],
            "total, %": table["total"].map(_figure),
            "total, J": table["joules"].map(_figure),
            f"CO2e of {PER:,}, g": [_range(one.kilograms * 1000.0) for one in prints],
            f"electricity of {PER:,}, USD": [_range(one.dollars) for one in prints],
            "trainings to pay": table["trainings_to_pay"].map(_times),
            "inferences to pay": table["inferences_to_pay"].map(_times),
        }
    )


def favoured(cells: pd.DataFrame) -> pd.DataFrame:
    """What to favour, by sparsity and budget: of the methods within it that are as good as the best, the cheapest ones.

    As good is a mean accuracy within 0.3 points of the best method's. The budget is what finding and training the
    network costs, in dense trainings; costs are equal within a factor of `EQUAL`. Rows of "model", "recipe",
    "sparsity", "budget", "method", "accuracy", "total", one for each method to favour.
    """
    parts = []
    # Controls ask what a mask is worth; nobody would deploy one.
    plain = summary(cells).query("sparsity > 0").pipe(lambda table: table[table["method"].isin(PLAIN)])
    for _, part in plain.groupby(["model", "recipe", "sparsity"]):
        for budget, most in BUDGETS.items():
            within = part[part["total"] <= 100 * most * EQUAL]
            good = within[within["accuracy"] >= within["accuracy"].max() - MARGIN]
            if part["method"].nunique() > 1:
                parts.append(good[good["total"] <= good["total"].min() * EQUAL].assign(budget=budget))
    columns = ["model", "recipe", "sparsity", "budget", "method", "accuracy", "total"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def choices(cells: pd.DataFrame) -> pd.DataFrame:
    """What `favoured` gives, as texts: a row a sparsity, a column a budget. Empty where there is nothing to choose."""
    table = favoured(cells)
    if table.empty:
        return table
    wide = pd.Series(
        {
            key: f"{_either(part['method'])}: {_from_to(part['accuracy'], '.2f')} %, "
            f"{_from_to(part['total'] / 100, '.2g')}"
            for key, part in table.groupby(["sparsity", "budget"])
        }
    ).unstack(fill_value="none")
    wide = wide[[budget for budget in BUDGETS if budget in wide]]
    wide.insert(0, "removed", [percent(sparsity) for sparsity in wide.index])
    return wide


def to_find(cells: pd.DataFrame, method: str) -> pd.DataFrame:
    """What it takes to find a method's networks, and what they are worth, as texts: a row a sparsity."""
    table = summary(cells)
    table = table[(table["method"] == method) & (table["sparsity"] > 0)]
    return pd.DataFrame(
        {
            "removed": table["sparsity"].map(percent),
            "trainings to find it": [f"{trainings - 1:.0f}" for trainings in table["trainings"]],
            "energy, dense trainings": [_figure(cost / 100) for cost in table["finding"]],
            "accuracy": [f"{accuracy:.2f} %" for accuracy in table["accuracy"]],
            "trainings to pay": table["trainings_to_pay"].map(_times),
        }
    )


def saved(cells: pd.DataFrame, region: Region, methods: Sequence[str], sparsities: Sequence[float]) -> pd.DataFrame:
    """What PER networks take to find and to train, as texts: a row a method and sparsity, and the dense network's."""
    table = summary(cells)
    table = table[table["method"].isin(methods) & table["sparsity"].isin([0.0, *sparsities])]
    prints = [footprint(PER * joules, region) for joules in table["joules"]]
    return pd.DataFrame(
        {
            "method": table["method"],
            "removed": table["sparsity"].map(percent),
            "accuracy": [f"{accuracy:.2f} %" for accuracy in table["accuracy"]],
            "energy, % of dense": table["total"].map(_figure),
            "kWh": [_range(one.metered_kwh) for one in prints],
            "kg CO2e": [_range(one.kilograms) for one in prints],
        }
    )


def section(study: Study) -> list[str]:
    """What the report says of cost, in Markdown; its links are relative to results/."""
    priced = {name: known(measured(cells)) for name, cells in study.items()}
    priced = {name: cells for name, cells in priced.items() if len(cells)}
    if not priced:
        return ["No record says what it cost."]
    parts = [_to_find(priced)]
    favour = {name: table for name, cells in priced.items() if len(table := choices(cells))}
    parts += [f"What to favour. {CHOICES}"] if favour else []
    for name, table in favour.items():
        parts += [f"From {name}:", markdown(table)]
    links = ", ".join(f"[{name}](tables/{name}_cost.md)" for name in priced)
    return [*parts, f"Every network's cost, its carbon and money, and when it has paid: {links}."]


def _to_find(priced: Mapping[str, pd.DataFrame]) -> str:
    """A row an experiment and method: what finding takes, from the least sparsity to the most."""
    rows = []
    for name, cells in priced.items():
        table = summary(cells)
        pruned = table[(table["sparsity"] > 0) & table["finding"].notna() & table["method"].isin(PLAIN)]
        for (model, method), part in pruned.groupby(["model", "method"], sort=False):
            ends = part.sort_values("sparsity").iloc[[0, -1]]
            least, most = ends.to_dict("records")
            rows.append(
                {
                    "experiment": name,
                    "network": model,
                    "method": method,
                    "weights remaining": f"{_ends(least['remaining'], most['remaining'], 'g')} %",
                    "to find, dense trainings": _ends(least["finding"] / 100, most["finding"] / 100, ".2g"),
                    "in all, dense trainings": _ends(least["total"] / 100, most["total"] / 100, ".2g"),
                    "training, % of dense": _ends(least["training"], most["training"], ".3g"),
                    "engine": most["engines"],
                    "of operations left": f"{_ends(100 * least['operations'], 100 * most['operations'], '.3g')} %",
                    "n": str(min(least["n"], most["n"])),
                    "energy": most["basis"],
                }
            )
    return markdown(pd.DataFrame(rows))


def _either(names: Iterable[str]) -> str:
    """As a sentence lists them: "a, b or c"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _from_to(values: "pd.Series[float]", number: str) -> str:
    return _ends(values.min(), values.max(), number)


def _ends(first: float, last: float, number: str) -> str:
    one, other = f"{first:{number}}", f"{last:{number}}"
    return one if one == other else f"{one} to {other}"


def _factors(region: Region) -> str:
    parts = (("kg CO2e per kWh", region.intensity), ("PUE", region.pue), ("USD per kWh", region.price))
    texts = [f"{name} {one.low:g} / {one.mid:g} / {one.high:g} ({one.year}; {one.source})" for name, one in parts]
    what = f"CO2e and money: of {PER:,} such cells, mid (low – high), by these factors for {region.region}"
    return f"{what}, low / mid / high: {'; '.join(texts)}."


def _with_ends(table: pd.DataFrame, name: str) -> list[str]:
    rows = zip(table[name], table[f"{name}_least"], table[f"{name}_most"], strict=True)
    return [
        "" if pd.isna(mid) else _figure(mid) if low == high else f"{_figure(mid)} ({_figure(low)} – {_figure(high)})"
        for mid, low, high in rows
    ]


def _range(amount: Range) -> str:
    return f"{_figure(amount.mid)} ({_figure(amount.low)} – {_figure(amount.high)})"


def _times(value: float) -> str:
    if pd.isna(value):
        return ""
    return "never" if math.isinf(value) else "at once" if value == 0 else f"{math.ceil(value):,}"


def _figure(value: float) -> str:
    """Three digits that count."""
    if pd.isna(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
