"""The fault campaign in brief: sweeps that are killed, and whose files are damaged, end like one that was not."""

import random
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts import faults
from scripts.faults import Failed, Row, Sweep, damages, kills, markdown

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    undisturbed = Sweep(tmp_path_factory.mktemp("undisturbed"))
    undisturbed.complete()
    return undisturbed.results()


@pytest.fixture
def chance() -> random.Random:
    seed = int(time.time())
    print(f"chosen with seed {seed}")
    return random.Random(seed)


def test_kills_lose_and_repeat_nothing(tmp_path: Path, expected: list[Row], chance: random.Random) -> None:
    assert kills(tmp_path, expected, chance, number=6)["sweeps"] >= 1


def test_what_is_damaged_is_found_and_made_anew(tmp_path: Path, expected: list[Row], chance: random.Random) -> None:
    assert damages(tmp_path / "out", expected, chance, rounds=2)["found when read"] >= 2


def test_the_campaign_sees_what_was_run_again_and_what_differs(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    result = tmp_path / "store" / "trainings" / "a" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text("1")
    sweep.expect_nothing_run_again()
    result.unlink()
    result.write_text("2")
    with pytest.raises(Failed, match="written again: store/trainings/a/result"):
        sweep.expect_nothing_run_again()
    with pytest.raises(Failed, match="differ"):
        sweep.expect([{"cell": "x"}])


def test_what_fails_or_cannot_be_tried_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> Row:
        raise Failed("records differ")

    def forbidden(*_: Any) -> Row:
        raise PermissionError("mounting needs root")

    for name in ("kills", "damages", "full_disk", "read_only", "clocks", "wandb_killed"):
        monkeypatch.setattr(faults, name, fails if name == "kills" else forbidden)
    monkeypatch.setattr(Sweep, "complete", lambda self: None)
    monkeypatch.setattr(Sweep, "results", lambda self: [])
    rows = faults.campaign(tmp_path, 1, 1, random.Random(0))
    assert rows[0]["outcome"] == "FAILED: records differ"
    assert {row["outcome"] for row in rows[1:]} == {"skipped: mounting needs root"}
    around = {"date": "today", "hardware": {"cores": 2, "cpu": "abacus", "system": "Linux"}}
    around["versions"] = {"python": "3", "torch": "2"}
    text = markdown({"circumstances": around, "rows": rows, "cells": 1, "trainings": 2, "seed": 0})
    assert "| kill -9" in text
    assert "FAILED: records differ" in text
    assert capsys.readouterr().out.count("\n") == 6
