"""Claims: statements of the papers, each with the test that decides it, and what the measurements say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from study.analysis import statistics
from study.analysis.likeness import drawn_class, scored_class
from study.analysis.load import METHODS, MISSING
from study.analysis.reference import PARAMETERS, Study, by_seed, diverged, select
from study.analysis.statistics import Evidence, Values, Verdict
from study.errors import StudyError

REGISTRY = Path(__file__).parents[2] / "results" / "claims.yaml"
DENSE = METHODS["dense"]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(Part):
    """A test of differences paired by seed, `of` minus `against`, at each of the percentages of weights remaining.

    With nothing to hold it against, it is of the measure itself.

    Above, below: the mean difference is on that side of `bound`. Within: it is no further than `margin` from `bound`,
    for "as much as". Not below, not above: it is less than `margin` on the wrong side of zero, for "at least as good"
    (non-inferiority). Accuracies and errors are compared in percentage points, iterations in percent of those of
    `against`, costs (energy to find a network, and in all: study/analysis/cost.py) in percent of a dense training. The
    claim is true where it is true at every percentage.
    """

    measure: Literal[
        "test_accuracy",
        "early_stop_test_accuracy",
        "test_error",
        "training_accuracy",
        "early_stop_iteration",
        "finding_cost",
        "total_cost",
    ]
    of: str
    against: str | None = None
    remaining: tuple[float, ...]
    relation: Literal["above", "below", "within", "not below", "not above"]
    bound: float = 0.0
    margin: float | None = None
    model: str | None = None
    recipe: str | None = None

    @model_validator(mode="after")
    def _states_its_margin(self) -> "Comparison":
        if (self.margin is None) != (self.relation in ("above", "below")):
            raise ValueError("give a margin for within, not below and not above, and none for above and below")
        if self.relation.startswith("not") and self.bound:
            raise ValueError("not below and not above are of zero: give no bound")
        return self

    @property
    def sign(self) -> str:
        """How numbers are formatted: differences with their sign."""
        return "" if self.against is None else "+"

    @property
    def unit(self) -> str:
        if self.measure.endswith("_cost"):
            return "% of a dense training"
        return "%" if self.against is None or self.measure == "early_stop_iteration" else "points"

    def __str__(self) -> str:
        """What is tested, in signs: "SNIP − random > 0", "ticket − dense > −0.3 points"."""
        number = f"{self.bound:{self.sign}g}"
        bound = f"{number} {self.unit}" if self.bound else "0"
        rule = {
            "above": f"> {bound}",
            "below": f"< {bound}",
            "within": f"= {number} ± {self.margin} {self.unit}",
            "not below": f"> -{self.margin} {self.unit}",
            "not above": f"< +{self.margin} {self.unit}",
        }[self.relation]
        tested = self.of if self.against is None else f"{self.of} − {self.against}"
        return f"{tested} {rule}".replace("-", "−").replace("one−shot", "one-shot")


class Figures(Part):
    """A test of printed figures: all those of a paper's table, or of some networks or methods in it, are reproduced.

    Numbers of parameters are none of them: they are counted, not measured.
    """

    table: str
    networks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"figures of {self.table}"


class Drawings(Part):
    """A test of masks that were scored on one class: more than half draw that class, at each percentage remaining.

    What a mask draws: study/analysis/likeness.py. The claim is true where it is true of every data set. Masks of the
    seeds that the measure was `chosen_on` decide nothing.
    """

    drawn_at: tuple[float, ...]
    chosen_on: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "masks that draw the class scored > half"


class Claim(Part):
    """A statement, its source and place, and its test on the records of some experiments; or what that `needs`.

    `paper` is the size that the paper gives to the effect, printed beside ours; it decides nothing. `note` says how
    our set-up differs from the one that the statement is about.
    """

    id: str
    source: str
    place: str
    statement: str
    experiments: tuple[str, ...] = ()
    test: Comparison | Figures | Drawings | None = None
    paper: str = ""
    note: str = ""
    needs: str = ""

    @model_validator(mode="after")
    def _is_tested_or_says_why_not(self) -> "Claim":
        tested = self.test is not None and len(self.experiments) > 0
        if tested == bool(self.needs):
            raise ValueError("give either experiments and a test, or what it needs")
        return self


class Registry(Part):
    """The claims, and how the study deviates from the papers, by paper."""

    deviations: dict[str, tuple[str, ...]]
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Finding:
    """A claim's verdict: `measured` says in words what was found, `needed` is the number of seeds that decide it.

    `partly` says of how many seeds the records are, where some of those planned are missing: "3 of 5 seeds".
    """

    claim: Claim
    verdict: Verdict
    measured: str = ""
    needed: int | None = None
    partly: str = ""

    @property
    def told(self) -> str:
        """The verdict, and what it rests on where that is not all that was planned."""
        return f"{self.verdict}, on {self.partly}" if self.partly else str(self.verdict)


def read(path: Path = REGISTRY) -> Registry:
    """The registry. Raises StudyError where it is not valid."""
    try:
        return Registry.model_validate(yaml.safe_load(path.read_text()))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise StudyError(f"{path} is not valid ({where}: {problem['msg']}): see study/analysis/claims.py") from None


def judge(claims: Sequence[Claim], study: Study, compared: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """A finding for each claim, from the cells of experiments and from the papers' tables compared with ours.

    Comparisons that rest on the same experiments are one family, their verdicts corrected together (Holm).
    """
    places = {claim.id: _places(claim, study) for claim in claims if isinstance(claim.test, Comparison)}
    measured = [claim for claim in claims if any(place.is_measured for place in places.get(claim.id, []))]
    verdicts: dict[str, Verdict] = {}
    for family in {claim.experiments: None for claim in measured}:
        members = [claim for claim in measured if claim.experiments == family]
        evidence = [statistics.everywhere([place.evidence for place in places[claim.id]]) for claim in members]
        verdicts |= dict(zip([claim.id for claim in members], statistics.verdicts(evidence), strict=True))
    return [_finding(claim, places.get(claim.id, []), verdicts, study, compared) for claim in claims]


@dataclass(frozen=True)
class _Place:
    """A comparison at one percentage of weights remaining: the differences by seed.

    `diverged` says which trainings did: those that did not are a choice among the seeds, so that they decide nothing.
    """

    test: Comparison
    remaining: float
    differences: Values
    planned: int
    diverged: tuple[str, ...]

    @property
    def is_measured(self) -> bool:
        return len(self.differences) > 0 or len(self.diverged) > 0

    @property
    def evidence(self) -> Evidence:
        if self.diverged:
            return statistics.NOTHING
        if self.test.relation == "within":
            return statistics.within(self._shifted, self.test.margin or 0)
        return statistics.above(self._shifted)

    @property
    def needed(self) -> int | None:
        if self.diverged:
            return None
        if self.test.relation == "within":
            return statistics.seeds_to_show_within(self._shifted, self.test.margin or 0)
        return statistics.seeds_to_show_above(self._shifted)

    @property
    def _shifted(self) -> Values:
        """What is above zero where the claim is true or, for "within", near it."""
        shifted = self.differences - self.test.bound
        if self.test.relation in ("below", "not above"):
            shifted = -shifted
        return shifted if self.test.relation == "within" else shifted + (self.test.margin or 0)

    @property
    def told(self) -> str:
        lost = " and ".join(self.diverged)
        if len(self.differences) == 0:
            return lost or MISSING
        low, high = statistics.interval(self.differences)
        number = f"{self.test.sign}.2f"
        spread = "" if pd.isna(low) else f" [{low:{number}}, {high:{number}}]"
        text = f"{self.differences.mean():{number}}{spread} {self.test.unit}, n = {self.seeds}"
        return (f"{lost}, of the others " if lost else "") + text.replace("-", "−")

    @property
    def seeds(self) -> str:
        n = len(self.differences)
        return f"{n}" if n == self.planned else f"{n} of {self.planned}"


def _told(places: list[_Place]) -> str:
    """What was measured, place by place; where these are many, from the least to the most."""
    if len(places) < 5 or any(place.diverged or not len(place.differences) for place in places):
        sizes: dict[str, list[str]] = {}
        for place in places:
            sizes.setdefault(place.told, []).append(f"{place.remaining:g}")
        return "; ".join(f"{', '.join(remaining)} %: {told}" for told, remaining in sizes.items())
    means = [place.differences.mean() for place in places]
    seeds = " or ".join(dict.fromkeys(place.seeds for place in places))
    test = places[0].test
    low, high = (f"{mean:{test.sign}.2f}" for mean in (min(means), max(means)))
    text = f"{low} to {high} {test.unit} at {len(places)} percentages, n = {seeds}"
    return text.replace("-", "−")


def _places(claim: Claim, study: Study) -> list[_Place]:
    """Where the claim is tested. Raises StudyError where it does not say which of several networks or recipes."""
    test = claim.test
    assert isinstance(test, Comparison)
    if (cells := _cells(claim, study)) is None:
        return []
    for column, value in (("model", test.model), ("recipe", test.recipe)):
        if value is not None:
            cells = select(cells, **{column: value})
        if cells[column].nunique() > 1:
            raise StudyError(
                f"claim {claim.id} must say which {column} of {' and '.join(claim.experiments)} it is about"
            )
    return [_place(test, cells, remaining) for remaining in test.remaining]


def _cells(claim: Claim, study: Study) -> pd.DataFrame | None:
    """The cells of all experiments that a claim rests on; None where one has no records."""
    if not all(name in study for name in claim.experiments):
        return None
    return pd.concat([study[name] for name in claim.experiments], ignore_index=True)


def _place(test: Comparison, cells: pd.DataFrame, remaining: float) -> _Place:
    def chosen(method: str) -> pd.DataFrame:
        return select(cells, method=method) if method == DENSE else select(cells, method=method, remaining=remaining)

    def lost(method: str) -> str:
        seeds = diverged(chosen(method), test.measure)
        return f"{method} diverged with {seeds.sum()} of {len(seeds)} seeds" if seeds.any() else ""

    differences = by_seed(chosen(test.of), test.measure)
    if test.against is not None:
        against = by_seed(chosen(test.against), test.measure)
        differences = statistics.paired(differences, against)
        if test.measure == "early_stop_iteration":
            differences = (100 * differences / against).dropna()
    found = tuple(filter(None, map(lost, filter(None, (test.of, test.against)))))
    return _Place(test, remaining, differences, chosen(test.of)["seed"].nunique(), found)


def _finding(
    claim: Claim,
    places: list[_Place],
    verdicts: Mapping[str, Verdict],
    study: Study,
    compared: Mapping[str, pd.DataFrame],
) -> Finding:
    if isinstance(claim.test, Figures):
        return _of_figures(claim, claim.test, compared[claim.test.table])
    if isinstance(claim.test, Drawings):
        return _of_drawings(claim, claim.test, study)
    if claim.id not in verdicts:
        return Finding(claim, Verdict.NOT_MEASURED)
    fewest = min(places, key=lambda place: len(place.differences) - place.planned)
    partly = f"{fewest.seeds} seeds" if len(fewest.differences) < fewest.planned and not fewest.diverged else ""
    return Finding(claim, verdicts[claim.id], _told(places), _needed(places), partly)


def _needed(places: list[_Place]) -> int | None:
    """Seeds that show the claim in all places or, where some speak against it, that refute it in the clearest."""
    against = [place.needed for place in places if place.evidence.fails < place.evidence.holds]
    known = [n for n in against or [place.needed for place in places] if n is not None]
    if against:
        return min(known, default=None)
    return max(known) if len(known) == len(places) else None


def _of_figures(claim: Claim, test: Figures, compared: pd.DataFrame) -> Finding:
    """Reproduced if all figures are, not reproduced if one is not; the table's verdicts are corrected already."""
    rows = compared[(compared["verdict"] != "") & (compared["metric"] != PARAMETERS)]
    for column, names in (("network", test.networks), ("method", test.methods)):
        rows = rows[rows[column].isin(names)] if names else rows
    counts = rows["verdict"].value_counts()
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if verdict in counts)
    if set(counts.index) == {Verdict.NOT_MEASURED}:
        return Finding(claim, Verdict.NOT_MEASURED)
    if Verdict.NOT_REPRODUCED in counts:
        verdict = Verdict.NOT_REPRODUCED
    else:
        verdict = Verdict.REPRODUCED if set(counts.index) == {Verdict.REPRODUCED} else Verdict.INCONCLUSIVE
    seeds = rows["needed"]
    needed = None if seeds.isna().any() else int(seeds.max())
    ran = rows["n"] + rows["diverged"]
    seen = zip(ran[ran > 0], rows["planned"][ran > 0], strict=True)
    n, planned = min(seen, key=lambda pair: pair[0] - pair[1])
    partly = f"{n} of {planned} seeds" if n < planned else ""
    measured = f"of {len(rows)} printed figures {told}" + (f", on {partly} at least" if partly else "")
    return Finding(claim, verdict, measured, needed, partly)


def _of_drawings(claim: Claim, test: Drawings, study: Study) -> Finding:
    """By an exact test of the masks at each place; those that the records lack count as no evidence."""
    cells = _cells(claim, study)
    if cells is None:
        return Finding(claim, Verdict.NOT_MEASURED)
    chosen = cells[cells["remaining"].isin(test.drawn_at) & ~cells["seed"].isin(test.chosen_on)]
    drawn = {
        f"{dataset}, {remaining:g} %": _drawn(str(dataset), place)
        for (dataset, remaining), place in chosen.groupby(["dataset", "remaining"], sort=False)
    }
    (verdict,) = statistics.verdicts([statistics.everywhere([statistics.mostly(one) for one in drawn.values()])])
    told = "; ".join(f"{place}: {sum(one)} of {len(one)} masks" for place, one in drawn.items())
    n = sum(map(len, drawn.values()))
    if n == 0:
        return Finding(claim, Verdict.NOT_MEASURED)
    return Finding(claim, verdict, told, partly=f"{n} of {len(chosen)} masks" if n < len(chosen) else "")


def _drawn(dataset: str, cells: pd.DataFrame) -> list[bool]:
    """Of each mask that is there, whether it draws the class whose examples were scored."""
    known = cells[cells["mask"].notna()]
    return [
        drawn_class(mask, dataset) == scored for mask, scored in zip(known["mask"], scored_class(known), strict=True)
    ]
