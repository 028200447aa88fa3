import json
from pathlib import Path
from typing import Any

import pytest

from study.errors import StudyError
from study.files import checksum
from study.record import Phase, Record, read, read_folder, summarise, write


def training(
    kept: int = 5, effective: int = 4, losses: tuple[float | None, ...] = (2.0, 0.5, 0.25, 0.5)
) -> dict[str, Any]:
    points = len(losses)
    return {
        "kept": {"fc.weight": kept, "output.weight": 3},
        "effective": {"fc.weight": effective, "output.weight": 1},
        "prunable": {"fc.weight": 90, "output.weight": 10},
        "flops": {"fc.weight": 180, "output.weight": 20},
        "diverged_at": None,
        "curves": {
            "iteration": [10 * i for i in range(points)],
            "train_loss": [None, *[0.5] * (points - 1)],
            "validation_loss": list(losses),
            "validation_accuracy": [0.1 * i for i in range(points)],
            "test_loss": list(losses),
            "test_accuracy": [0.2 * i for i in range(points)],
        },
        "cost": {
            "engine": "dense",
            "iterations": 30,
            "mask": {"wall": 0.5, "cpu": 0.25},
            "training": {"wall": 1.0, "cpu": 1.0},
            "evaluation": {"wall": 0.5, "cpu": 0.25},
        },
        "circumstances": {
            "finished": "2026-01-01T00:00:00+00:00",
            "hardware": {"cpu": "abacus"},
            "versions": {"torch": "2"},
            "git": {"commit": None, "dirty": None},
        },
    }


def record(cell: str = "c0ffee", **changes: Any) -> Record:
    settings = {
        "method": {"name": "snip"},
        "sparsity": 0.92,
        "seed": 0,
        "model": {"name": "lenet_300_100"},
        "dataset": {"name": "mnist"},
        "recipe": {"label": "short", "batch_size": 60},
    }
    return summarise("trial", cell, settings, {"t0": training(90), "t1": training(**changes)})


def test_a_summary_takes_the_last_training_and_the_lowest_validation_loss() -> None:
    results = record().results
    assert results.status == "finished"
    assert results.test_accuracy == pytest.approx(0.6)
    assert results.early_stop_iteration == 20
    assert results.early_stop_test_accuracy == pytest.approx(0.4)
    assert record().sparsity == pytest.approx(0.92)
    assert record().trainings == ["t0", "t1"]
    assert list(record().run.costs) == ["t0", "t1"]


def test_of_equal_validation_losses_the_first_counts_and_none_never_wins() -> None:
    assert record(losses=(None, 0.5, 0.5, 1.0)).results.early_stop_iteration == 10


def test_an_empty_layer_is_a_collapse() -> None:
    assert record(kept=0).results.status == "collapsed"
    assert record(effective=1).results.status == "finished"
    assert record(effective=1).effective_sparsity == pytest.approx(0.98)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "r.json", record())
    assert read(tmp_path / "r.json") == record()
    assert read_folder(tmp_path) == [record()]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"checksum": "0", "cell": "x"}'])
def test_what_is_not_a_record_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(StudyError, match=r"bad\.json"):
        read_folder(tmp_path)


def test_an_altered_figure_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(path, record())
    path.write_text(path.read_text().replace('"early_stop_iteration": 20', '"early_stop_iteration": 10'))
    with pytest.raises(StudyError, match=r"r\.json was altered"):
        read(path)


def test_another_schema_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(path, record().model_copy(update={"schema_version": 99}))
    with pytest.raises(StudyError, match="record schema 99, not 4"):
        read(path)


def test_records_without_energy_are_still_read(tmp_path: Path) -> None:
    """Schema 3 as it is published: phases of seconds alone, no meter, no bytes."""
    path = tmp_path / "r.json"
    write(path, record())
    content = json.loads(path.read_text())
    del content["checksum"], content["results"]["bytes"]
    content["schema_version"] = 3
    for cost in content["run"]["costs"].values():
        del cost["meter"]
        for phase in ("mask", "training", "evaluation"):
            cost[phase] = {name: cost[phase][name] for name in ("wall", "cpu")}
    path.write_text(json.dumps({**content, "checksum": checksum(content)}))
    found = read(path)
    assert found.run.costs["t1"].training == Phase(wall=1.0, cpu=1.0)
    assert found.run.costs["t1"].meter is None


def test_a_foreign_record_is_an_error(tmp_path: Path) -> None:
    content: dict[str, Any] = {"schema_version": 3, "loss": 0.1}
    (tmp_path / "r.json").write_text(json.dumps({**content, "checksum": checksum(content)}))
    with pytest.raises(StudyError, match="is not a record"):
        read(tmp_path / "r.json")


def test_one_cell_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "a.json", record())
    write(tmp_path / "b.json", record())
    with pytest.raises(StudyError, match="same cell"):
        read_folder(tmp_path)
