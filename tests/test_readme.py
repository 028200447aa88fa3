"""What the README shows is what the repository does."""

import re

from study.analysis import tables
from study.analysis.load import load
from study.record import read_folder
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_table_is_that_of_the_published_records() -> None:
    (shown,) = blocks("text")
    wide = tables.by_method(tables.aggregate(load(ROOT / "results" / "records" / "quickstart")))
    for method, row in wide.iterrows():
        cells = " +".join(re.escape(text) for text in row if text)
        assert re.search(rf"^ *{method} +{cells} *$", shown, re.MULTILINE), method


def test_dense_passes_what_the_quickstart_promises() -> None:
    for record in read_folder(ROOT / "results" / "records" / "quickstart"):
        if record.settings["method"]["name"] == "dense":
            assert record.results.test_accuracy > 0.975
