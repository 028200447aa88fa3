"""The report as a page, in a browser: sorted, filtered, searched, figures opened, and nothing fetched."""

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from study.analysis.load import load
from study.analysis.rebuild import PAGE, rebuild, rebuild_papers, write_page
from study.energy.carbon import read_region
from tests.conftest import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

PUBLISHED = ROOT / "results" / "records"
EXPERIMENTS = ["quickstart", "scoring_data", "snip_table_1"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, of some of the published records."""
    results = tmp_path_factory.mktemp("results")
    study = {name: load(PUBLISHED / name) for name in EXPERIMENTS}
    world = read_region("world")
    for name, cells in study.items():
        rebuild(name, cells, results, world)
    rebuild_papers(study, results, world)
    write_page(study, results, world)
    return results / PAGE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, written: Path) -> Iterator[Page]:
    """The page opened offline; at the end there must have been no error, no warning and no request elsewhere."""
    context = browser.new_context(offline=True, color_scheme="light", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on(
        "request", lambda request: told.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(written.as_uri())
    yield page
    context.close()
    assert told == []


def shown(sheet: Locator, column: str) -> list[str]:
    """The texts of a column in the rows that are shown."""
    cells = sheet.locator(f'tbody tr:not([hidden]) td[data-label="{column}"] > span')
    return [text.replace("\u00a0", " ") for text in cells.all_inner_texts()]


def means(sheet: Locator, column: str) -> list[float]:
    """The numbers of a column in the rows that are shown, without their spreads."""
    texts = shown(sheet, column)
    return [float(text.partition("±")[0].strip("†").replace(",", "").replace("−", "-")) for text in texts]


def test_a_table_is_sorted_up_and_down_with_numbers_as_numbers(page: Page) -> None:
    sheet = page.locator("#measured")
    sheet.get_by_label("experiment", exact=True).select_option("quickstart")
    sheet.get_by_text("Show all 21 rows").click()
    header = sheet.get_by_role("columnheader", name="accuracy, %", exact=True)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    ascending = means(sheet, "accuracy, %")
    assert len(ascending) == 21
    assert ascending == sorted(ascending)
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    assert means(sheet, "accuracy, %") == ascending[::-1]


def test_what_is_missing_sorts_last_either_way(page: Page) -> None:
    sheet = page.locator("#printed")
    sheet.get_by_label("paper", exact=True).select_option("Lee, Ajanthan & Torr 2019")
    sheet.get_by_role("button", name=re.compile("Show all")).click()
    for _ in range(2):
        sheet.get_by_role("columnheader", name="difference").get_by_role("button").click()
        present = [text != "" for text in shown(sheet, "difference")]
        assert present == sorted(present, reverse=True)
        assert any(present)


def test_claims_are_filtered_by_paper_method_and_verdict(page: Page) -> None:
    sheet = page.locator("#claims")
    whole = sheet.locator(".count").inner_text()
    sheet.get_by_label("paper", exact=True).select_option("The quickstart")
    assert len(shown(sheet, "claim")) == 4
    sheet.get_by_label("method", exact=True).select_option("GraSP")
    assert shown(sheet, "claim") == ["GraSP is above random pruning."]
    sheet.get_by_label("verdict", exact=True).select_option("not yet measured")
    assert shown(sheet, "claim") == []
    expect(sheet.get_by_text("Nothing matches.")).to_be_visible()
    sheet.get_by_role("button", name="Show everything").click()
    assert sheet.locator(".count").inner_text() == whole


def test_a_search_finds_words_in_any_order(page: Page) -> None:
    sheet = page.locator("#claims")
    sheet.get_by_label("search", exact=True).fill("random grasp is above")
    assert shown(sheet, "claim") == [
        "GraSP is above random pruning.",
        "GraSP is above random pruning (ResNet-20, CIFAR-10).",
    ]


def test_a_question_is_answered_by_its_table_and_its_claims(page: Page) -> None:
    """Of the experiment that there are records of; the others' questions are not there."""
    asked = page.locator("#asked")
    expect(asked.get_by_role("heading", level=3)).to_have_text(re.compile("of how much data"))
    examples = asked.locator('td[data-label="examples"]').all_inner_texts()
    assert examples == ["1", "10", "100", "1,000", "10,000", "55,000"]
    with (ROOT / "results" / "tables" / "scoring_data.csv").open() as file:
        measured = {(row["method"], float(row["sparsity"])): row for row in csv.DictReader(file)}
    of = measured["GraSP, scoring_examples 1000", 0.98]
    expect(asked.locator('td[data-label="GraSP at 98 %"]').nth(3)).to_have_text(
        f"{float(of['mean']):.2f}±{float(of['std']):.2f}"
    )
    expect(asked.locator(".sentences li").nth(1)).to_have_text(re.compile(r"reproduced\s+SNIP needs no gradients"))
    expect(asked.locator(".command")).to_have_attribute("data-command", "make sweep EXP=scoring_data")


def test_a_count_of_the_summary_leads_to_its_claims(page: Page) -> None:
    tile = page.locator(".tile.reproduced")
    tile.click()
    verdicts = page.locator("#claims tbody tr:not([hidden]) .chip").all_inner_texts()
    assert verdicts == ["reproduced"] * int(tile.locator("b").inner_text())


def test_every_number_carries_its_command(page: Page) -> None:
    for name, column in (("claims", "measured"), ("printed", "ours"), ("measured", "accuracy, %")):
        rows = page.locator(f"#{name} tbody tr").filter(has_not=page.get_by_text("not yet measured", exact=True))
        with_numbers = rows.filter(has=page.locator(f'td[data-label="{column}"] > span', has_text=re.compile(r"\d")))
        assert with_numbers.count() > 3
        commands = with_numbers.locator('.command[data-command^="make sweep EXP="]')
        assert commands.count() == with_numbers.count()
    assert page.locator("figure").count() == page.locator("figcaption .command").count() > 3


def test_a_figure_opens_large_by_keyboard_and_closes_again(page: Page) -> None:
    first = page.locator(".picture").first
    first.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog")
    expect(large).to_be_visible()
    image = large.locator("img")
    width = image.evaluate("image => image.naturalWidth")
    assert width == 2000
    before = image.get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert image.get_attribute("src") != before
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    expect(large).to_be_hidden()
    expect(first).to_be_focused()


def test_light_and_dark_follow_the_system_until_the_reader_chooses(page: Page) -> None:
    root = page.locator("html")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-theme", "dark")
    assert page.evaluate(background) != light
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.reload()
    expect(root).to_have_attribute("data-theme", "light")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    if width == 360:  # rows are cards there, sorted by a list
        sheet = page.locator("#printed")
        sheet.get_by_label("sort by", exact=True).select_option("paper")
        assert means(sheet, "paper") == sorted(means(sheet, "paper"))
