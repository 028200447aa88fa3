"""Whole sweeps through the command, with real workers, real MNIST and real W&B files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from study.record import Record, read, read_folder, reproducible
from study.store import Store
from tests.conftest import ROOT, SHORT, Command, command, environment

METHODS = "method=dense,random,magnitude,snip,grasp,lottery_ticket"
GRID = ["-m", METHODS, "sparsity=0.8,0.95", "seed=0,1", "name=trial", *SHORT]
CELLS = 2 + 5 * 2 * 2
# A seed: dense, 2 each of random, magnitude, SNIP and GraSP, and a ladder to 95 %: 0.8^14 < 0.05 < 0.8^13.
TRAININGS = 2 * (1 + 4 * 2 + 13 + 2)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, run_command: Command) -> Path:
    """A finished sweep's output folder. Tests that add to it copy it first."""
    output = tmp_path_factory.mktemp("sweep") / "out"
    callback = [f"+hydra.callbacks.t.path={output.parent}/returns.jsonl"]
    callback += ["+hydra.callbacks.t._target_=tests.callbacks.JobReturns"]
    done = run_command(*GRID, f"output={output}", *callback)
    assert done.returncode == 0, done.stderr
    assert f"{CELLS} cells, 0 done, {CELLS} to do" in done.stdout
    return output


@pytest.fixture
def copied(swept: Path, tmp_path: Path) -> Path:
    shutil.copytree(swept, tmp_path / "out")
    return tmp_path / "out"


def records(output: Path) -> dict[str, Record]:
    return {record.cell: record for record in read_folder(output / "records" / "trial")}


def trainings(output: Path) -> dict[str, Any]:
    """Finished trainings, with the time at which each was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in output.glob("store/trainings/*/result.json")}


def same(some: dict[str, Record], others: dict[str, Record]) -> bool:
    return {c: reproducible(r) for c, r in some.items()} == {c: reproducible(r) for c, r in others.items()}


def test_every_cell_has_a_whole_record(swept: Path) -> None:
    found = records(swept)
    assert len(found) == CELLS
    for record in found.values():
        results = record.results
        assert sum(results.kept.values()) == round(266_200 * (1 - record.settings["sparsity"]))
        assert results.curves["iteration"] == [0, 5, 10, 12]
        assert all(len(curve) == 4 for curve in results.curves.values())
        assert results.test_accuracy == results.curves["test_accuracy"][-1]
        assert {"torch", "python", "hydra-core"} <= set(record.run.versions)
        assert set(record.run.costs) == set(record.trainings)
        assert record.run.costs[record.trainings[-1]].iterations == 12
    rests_on = {record.settings["method"]["name"]: len(record.trainings) for record in found.values()}
    assert (rests_on["dense"], rests_on["snip"], rests_on["magnitude"]) == (1, 1, 2)


def test_trainings_are_shared(swept: Path) -> None:
    assert len(trainings(swept)) == TRAININGS
    dense = {record.trainings[0] for record in records(swept).values() if record.settings["method"]["name"] == "dense"}
    for record in records(swept).values():
        if record.settings["method"]["name"] in ("magnitude", "lottery_ticket"):
            assert record.trainings[0] in dense


def test_stored_weights_are_zero_where_pruned(swept: Path) -> None:
    store = Store(swept / "store")
    for record in records(swept).values():
        weights = store.weights(record.trainings[-1])
        for name, kept in record.results.kept.items():
            assert int((weights[name] != 0).sum()) <= kept


def test_a_lottery_ticket_mask_is_nested_in_the_shallower_one(swept: Path) -> None:
    store = Store(swept / "store")
    tickets = {
        record.settings["sparsity"]: store.weights(record.trainings[-2])
        for record in records(swept).values()
        if record.settings["method"]["name"] == "lottery_ticket" and record.settings["seed"] == 0
    }
    zero_before, zero_after = (tickets[s]["fc1.weight"] == 0 for s in (0.8, 0.95))
    assert bool((zero_after | ~zero_before).all())


def test_every_job_has_its_folder_and_its_return(swept: Path) -> None:
    lines = [json.loads(line) for line in (swept.parent / "returns.jsonl").read_text().splitlines()]
    assert len(lines) == 6 * 2 * 2
    accuracy = {record.cell: record.results.test_accuracy for record in records(swept).values()}
    for line in lines:
        assert line["status"] == "COMPLETED"
        folder = Path(line["folder"])
        assert line["value"] == accuracy[folder.name.rpartition("-")[2]]
        assert {p.name for p in (folder / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert len({line["folder"] for line in lines}) == CELLS


def inspect(log: Path, *options: str) -> str:
    """What W&B's own reader finds in a transaction log."""
    wandb = str(Path(sys.executable).with_name("wandb"))
    reader = [wandb, "leet", "inspect", "--json", *options, str(log)]
    return subprocess.run(reader, capture_output=True, text=True, check=True, env=environment()).stdout


def test_wandbs_own_reader_finds_every_cell(swept: Path) -> None:
    found = records(swept)
    logs = sorted(swept.glob("wandb/offline-run-*/*.wandb"))
    assert len(logs) == CELLS
    for log in logs:
        entries = [json.loads(line) for line in inspect(log).splitlines()]
        (run,) = (entry["run"] for entry in entries if entry["type"] == "run")
        record = found.pop(run["run_id"].removeprefix("trial-"))
        method = record.settings["method"]["name"]
        assert (run["project"], run["run_group"], run["job_type"]) == ("pruning-study", "trial", method)
        assert method in run["tags"]
        assert run["resume"]
        assert {name: run["config"]["update"][name] for name in record.settings} == record.settings
        history = [entry["history"]["item"] for entry in entries if entry["type"] == "history"]
        assert [step["_step"] for step in history] == record.results.curves["iteration"]
        assert [step["test_accuracy"] for step in history] == record.results.curves["test_accuracy"]
        summary = json.loads(inspect(log, "--summary"))["summary"]
        assert summary["test_accuracy"] == record.results.test_accuracy
        assert summary["early_stop_iteration"] == record.results.early_stop_iteration
    assert not found


def test_run_again_it_does_nothing_and_says_so(copied: Path, run_command: Command) -> None:
    before = trainings(copied)
    files = {path: path.stat().st_mtime_ns for path in (copied / "records").rglob("*.json")}
    again = run_command(*GRID, f"output={copied}")
    assert again.returncode == 0, again.stderr
    assert f"nothing to do: {CELLS} cells recorded" in again.stdout
    assert trainings(copied) == before
    assert {path: path.stat().st_mtime_ns for path in (copied / "records").rglob("*.json")} == files
    assert len(list(copied.glob("wandb/offline-run-*"))) == CELLS


def test_one_more_sparsity_runs_only_what_is_new(copied: Path, run_command: Command) -> None:
    before = trainings(copied)
    wider = [argument.replace("0.8,0.95", "0.8,0.9,0.95") for argument in GRID]
    done = run_command(*wider, f"output={copied}", "wandb.mode=disabled")
    assert done.returncode == 0, done.stderr
    after = trainings(copied)
    assert {training: after[training] for training in before} == before
    assert len(after) == TRAININGS + 2 * 5  # a seed: one for each pruning method, the ticket's a branch off its ladder


def test_a_lost_record_is_rebuilt_from_the_store(copied: Path, run_command: Command) -> None:
    path = next((copied / "records" / "trial").glob("grasp-*.json"))
    whole, before = path.read_bytes(), trainings(copied)
    path.unlink()
    assert run_command(*GRID, f"output={copied}").returncode == 0
    assert path.read_bytes() == whole
    assert trainings(copied) == before


def test_layers_stand_in_the_networks_order(copied: Path, run_command: Command) -> None:
    """Also where masks were read from their files, which keep none."""
    shutil.rmtree(copied / "store" / "trainings")
    shutil.rmtree(copied / "records")
    assert run_command(*GRID, f"output={copied}").returncode == 0
    for record in records(copied).values():
        for by_layer in (record.results.prunable, record.results.kept):
            assert list(by_layer) == ["fc1.weight", "fc2.weight", "output.weight"]


def test_a_lost_training_is_run_again_alone(copied: Path, run_command: Command) -> None:
    """Dense lies under the ladder: tickets are not run again for it, but their records wait for its cost."""
    whole, before = records(copied), trainings(copied)
    (ticket,) = (copied / "records" / "trial").glob("lottery_ticket-0.95-seed0-*.json")
    dense = read(ticket).trainings[0]
    ticket.unlink()
    shutil.rmtree(copied / "store" / "trainings" / dense)
    assert run_command(*GRID, f"output={copied}").returncode == 0
    assert same(records(copied), whole)
    after = trainings(copied)
    assert after.pop(dense) > before.pop(dense)
    assert after == before


def test_a_damaged_record_is_set_aside_and_made_anew_from_the_store(copied: Path, run_command: Command) -> None:
    path = next((copied / "records" / "trial").glob("grasp-*.json"))
    whole, before = path.read_bytes(), trainings(copied)
    path.write_bytes(whole.replace(b'"collapsed"', b'"finished"', 1)[:-2])
    done = run_command(*GRID, f"output={copied}")
    assert done.returncode == 0, done.stderr
    assert f"{path} is damaged: set aside as {path.name}.damaged-1" in done.stdout + done.stderr
    assert path.read_bytes() == whole
    assert trainings(copied) == before


def test_a_damaged_training_is_set_aside_and_run_again_alone(copied: Path, run_command: Command) -> None:
    """Dense lies under the ladder, whose first rung is run again too: it needs the weights of dense."""
    whole, before = records(copied), trainings(copied)
    (ticket,) = (copied / "records" / "trial").glob("lottery_ticket-0.8-seed0-*.json")
    dense, rung, *_ = read(ticket).trainings
    shutil.rmtree(copied / "store" / "trainings" / rung)
    shutil.rmtree(copied / "store" / "masks")
    ticket.unlink()
    weights = copied / "store" / "trainings" / dense / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run_command(*GRID, f"output={copied}")
    assert done.returncode == 0, done.stderr
    assert f"{weights.parent} is damaged: set aside as {dense}.damaged-1" in done.stdout + done.stderr
    assert same(records(copied), whole)
    after = trainings(copied)
    assert after.pop(f"{dense}.damaged-1") == before[dense]
    assert {training for training in after if after[training] != before.get(training)} == {dense, rung}


def test_a_cell_alone_gives_the_same_numbers(swept: Path, tmp_path: Path, run_command: Command) -> None:
    alone = ["method=lottery_ticket", "sparsity=0.8", "seed=1", "name=trial", *SHORT, f"output={tmp_path}"]
    done = run_command(*alone, "wandb.mode=disabled")
    assert done.returncode == 0, done.stderr
    assert "53,240 of 266,200 weights kept" in done.stdout
    (cell,) = records(tmp_path)
    assert reproducible(records(tmp_path)[cell]) == reproducible(records(swept)[cell])


def test_order_workers_and_packs_change_nothing(swept: Path, tmp_path: Path, run_command: Command) -> None:
    order = ["-m", "seed=1,0", "sparsity=0.95,0.8", "method=snip,magnitude,random,grasp,dense", "name=trial", *SHORT]
    other = ["cluster.workers=3", "cluster.pack=4", f"output={tmp_path}", "wandb.mode=disabled"]
    done = run_command(*order, *other)
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert len(found) == 2 + 4 * 2 * 2
    assert same(found, {cell: record for cell, record in records(swept).items() if cell in found})


def test_hydras_basic_launcher_works_too(swept: Path, tmp_path: Path, run_command: Command) -> None:
    basic = ["-m", "hydra/launcher=basic", "method=snip,dense", "seed=0", "sparsity=0.8", "name=trial", *SHORT]
    done = run_command(*basic, f"output={tmp_path}", "wandb.mode=disabled")
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert len(found) == 2
    assert same(found, {cell: record for cell, record in records(swept).items() if cell in found})


def test_wandb_that_fails_loses_no_record(tmp_path: Path, run_command: Command) -> None:
    (tmp_path / "wandb").write_text("a file where W&B's folder should be")
    done = run_command("method=dense", "name=trial", *SHORT, f"output={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "W&B failed" in done.stdout + done.stderr
    assert len(records(tmp_path)) == 1


def test_without_wandb_there_are_records_all_the_same(tmp_path: Path, copied_tree: Path) -> None:
    (copied_tree / "wandb.py").write_text("raise ImportError('not installed')")
    words = command("method=dense", "name=trial", *SHORT, f"output={tmp_path}/out")
    done = subprocess.run(words, cwd=copied_tree, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "W&B failed (not installed)" in done.stdout + done.stderr
    assert len(records(tmp_path / "out")) == 1


def test_tables_and_figures_come_from_records_alone(swept: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from study.analysis.__main__ import main\n"
        f"sys.argv[1:] = ['trial', '--records', '{swept}/records', '--results', '{tmp_path}']\n"
        "main(); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"from {CELLS} records" in done.stdout
    assert (tmp_path / "figures" / "trial.png").read_bytes().startswith(b"\x89PNG")
    markdown = (tmp_path / "tables" / "trial.md").read_text()
    assert markdown.count("\n|") == 2 + 1 + 5 * 2


def test_the_plan_runs_nothing(tmp_path: Path, run_command: Command) -> None:
    done = run_command(*GRID, f"output={tmp_path}", "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert f"{TRAININGS} shared; 0 running, {TRAININGS} missing" in done.stdout
    assert not (tmp_path / "store").exists()
