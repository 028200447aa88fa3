"""What the documentation shows is what the repository does."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import methods
from study.analysis.load import METHODS
from tests.conftest import ROOT, SHORT, environment, run_in

DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "results").rglob("*.md")]
FOLDERS = ("study/", "conf/", "tests/", "results/", "scripts/", "docs/", "hydra_plugins/")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert not list(broken_links(page))


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = {word for word in re.findall(r"`([\w./*-]+)`", page.read_text()) if word.startswith(FOLDERS)}
    made = {"study/methods/scaled_magnitude.py", "conf/method/scaled_magnitude.yaml"}
    made |= {"tests/methods/test_scaled_magnitude.py", "results/report.html"}
    missing = [word for word in named - made if not re.search("[A-Z]{4}|[*]", word) and not (ROOT / word).exists()]
    assert not missing


def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "-n", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_page_has_its_settings_with_their_defaults(method: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", (DOCS / "methods" / f"{method}.md").read_text(), re.MULTILINE)
    defaults = methods.settings_schema(method)(name=method).model_dump(exclude={"name"})
    assert dict(rows) == {setting: str(default) for setting, default in defaults.items()}


def test_the_python_page_runs_from_top_to_bottom() -> None:
    page = DOCS / "python.md"
    script = "\n".join(blocks(page, "python"))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (shown,) = blocks(page, "text")
    assert done.stdout.startswith(shown)


def test_a_number_is_checked_as_the_page_says(copied_tree: Path) -> None:
    page = DOCS / "check-a-number.md"
    first, second = blocks(page, "python")
    (command,) = blocks(page, "sh")
    shutil.copytree(ROOT / "results/records/quickstart", copied_tree / "results/records/quickstart")
    told = ""
    for words in (command.split()[1:], ["-c", first + second]):
        done = subprocess.run(
            [sys.executable, *words], cwd=copied_tree, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told = done.stdout
    published, again = re.findall(r"(?:published|again) ([\d.]+)%", told)
    assert float(again) == pytest.approx(float(published), abs=1.0)


def test_a_method_is_added_as_the_page_says(copied_tree: Path) -> None:
    page = DOCS / "add-a-method.md"
    texts = [*blocks(page, "python"), *blocks(page, "yaml")]
    method, test, yaml = texts
    (copied_tree / "study/methods/scaled_magnitude.py").write_text(method)
    (copied_tree / "conf/method/scaled_magnitude.yaml").write_text(yaml)
    (copied_tree / "test_scaled_magnitude.py").write_text(test)
    assert sum(bool(line.strip()) for text in texts for line in text.splitlines()) <= 30
    pytest_words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_scaled_magnitude.py"]
    tested = subprocess.run(pytest_words, cwd=copied_tree, env=environment(), capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    command = next(line for line in blocks(page, "sh")[0].splitlines() if "study.train" in line)
    done = run_in(copied_tree, *command.split()[3:], *SHORT)
    assert done.returncode == 0, done.stderr
    assert len(list((copied_tree / "out/records/adhoc").glob("scaled_magnitude-*.json"))) == 2
