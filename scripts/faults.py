"""A fault campaign over small real sweeps: python -m scripts.faults, from the repository's root, on Linux.

Sweeps are killed, starved of disk, damaged, shut out, told wrong times; each must end with the records of an
undisturbed one, times and circumstances apart, and must not run again what was finished and sound.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.benchmark.measure import circumstances
from study.config import ROOT
from study.files import json_bytes, write_atomically
from study.record import read_folder, reproducible

GRID = ["-m", "method=dense,snip,magnitude,lottery_ticket", "sparsity=0.5,0.8", "seed=0", "name=trial"]
GRID += ["recipe.iterations=300", "recipe.evaluate_every=200", "recipe.batch_size=50", "cluster.checkpoint=0.2"]
QUIET = "wandb.mode=disabled"

Row = dict[str, Any]


class Failed(Exception):
    """A sweep did not end as an undisturbed one, or ran something again."""


class Sweep:
    """A sweep in an output folder, run by the command as users run it."""

    def __init__(self, output: Path, *settings: str) -> None:
        self.output = output
        self.words = [sys.executable, "-m", "study.train", *GRID, *(settings or [QUIET]), f"output={output}"]
        self._finished: dict[str, Any] = {}

    def start(self, *before: str) -> "subprocess.Popen[str]":
        """Begin it; `before` are words of a command that runs it."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "HYDRA"))}
        return subprocess.Popen(
            [*before, *self.words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self) -> tuple[int, str, str]:
        """Its exit status and what it printed."""
        process = self.start()
        output, errors = process.communicate()
        return process.returncode, output, errors

    def complete(self) -> None:
        """Run it to its end. Raises Failed where that is none."""
        status, _, errors = self.run()
        if status:
            raise Failed(f"exit status {status}: {errors}")

    def results(self) -> list[Row]:
        return [reproducible(record) for record in read_folder(self.output / "records" / "trial")]

    def finished(self) -> dict[str, Any]:
        """When each training was stored, and each record's bytes: of two drivers both may write the same."""
        trainings = {path: path.stat().st_mtime_ns for path in self.output.glob("store/trainings/[!.]*/result.json")}
        records = {path: path.read_bytes() for path in self.output.glob("records/trial/[!.]*.json")}
        everything = {**trainings, **records}
        return {str(p.relative_to(self.output)): is_as for p, is_as in everything.items() if ".damaged-" not in str(p)}

    def expect_nothing_run_again(self) -> None:
        """Raises Failed where something that was finished when this was last asked was written anew or is gone."""
        now = self.finished()
        again = {name for name, was in self._finished.items() if now.get(name) != was}
        self._finished = now
        if again:
            raise Failed(f"finished and yet written again: {', '.join(sorted(again))}")

    def expect(self, expected: list[Row]) -> None:
        if self.results() != expected:
            raise Failed("its records differ from those of an undisturbed sweep")


def descendants(process: int) -> dict[int, tuple[int, str]]:
    """The processes below one: the parent of each and its name."""
    found: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                head, _, tail = (entry / "stat").read_text().rpartition(")")
                found[int(entry.name)] = int(tail.split()[1]), head.partition("(")[2]
    below: dict[int, tuple[int, str]] = {}
    new = {process}
    while new:
        new = {child for child, (parent, _) in found.items() if parent in new}
        below |= {child: found[child] for child in new}
    return below


def workers_of(driver: int) -> list[int]:
    """The workers of a driver: children of its fork server, which is its child."""
    below = descendants(driver)
    return [child for child, (parent, _) in below.items() if parent in below and below[parent][0] == driver]


def kills(folder: Path, expected: list[Row], chance: random.Random, number: int) -> Row:
    """SIGKILLs at random moments to a driver or to one of its workers; a killed driver is started again at once."""
    killed: Counter[str] = Counter()
    sweep, sweeps, given_up = Sweep(folder / "0"), 0, 0
    driver, at_start = sweep.start(), False
    while sum(killed.values()) < number:
        time.sleep(chance.uniform(0, 3.0))
        workers = workers_of(driver.pid)
        if driver.poll() == 1:  # a training whose worker was killed three times was given up
            given_up += 1
            driver = sweep.start()
        elif driver.poll() is not None:  # finished between two kills
            if driver.returncode:
                raise Failed(f"exit status {driver.returncode}: {driver.communicate()[1]}")
            sweep.expect_nothing_run_again()
            sweep.expect(expected)
            sweeps += 1
            shutil.rmtree(sweep.output)
            sweep = Sweep(folder / str(sweeps))
            driver = sweep.start()
        elif workers and chance.random() < 0.75:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed["workers"] += 1
        elif workers or at_start:
            driver.kill()
            driver.communicate()
            killed["drivers"] += 1
            driver, at_start = sweep.start(), chance.random() < 0.2  # else only once it works
        sweep.expect_nothing_run_again()
    driver.communicate()
    sweep.complete()
    sweep.expect_nothing_run_again()
    sweep.expect(expected)
    told = f"{killed['drivers']} drivers and {killed['workers']} workers killed"
    return {"faults": told, "sweeps": sweeps + 1, "given up and started again": given_up}


def damage(path: Path, chance: random.Random) -> str:
    """Flip a bit of a file or cut it short, anywhere."""
    content = bytearray(path.read_bytes())
    if chance.random() < 0.5:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        return "flipped"
    path.write_bytes(content[: chance.randrange(len(content))])
    return "truncated"


def damages(folder: Path, expected: list[Row], chance: random.Random, rounds: int) -> Row:
    """A file of each kind damaged at a time, and others deleted so that damaged ones are read; then an interrupted
    sweep's checkpoints."""
    counts: Counter[str] = Counter()
    sweep = Sweep(folder)
    for round_number in range(rounds):
        interrupted = round_number % 2 == 1
        if interrupted:
            shutil.rmtree(folder)
            counts["checkpoints"] += _damaged_checkpoints(sweep, chance)
        else:
            sweep.complete()
            counts.update(_damaged_entries(sweep, chance))
        before = sweep.finished()
        sweep.complete()
        now = sweep.finished()
        if again := {name for name, was in before.items() if name in now and now[name] != was}:
            spared = {path.name.partition(".damaged")[0] for path in folder.rglob("*.damaged-*")}
            if unsound := {name for name in again if not any(part in spared for part in Path(name).parts)}:
                raise Failed(f"sound and yet run again: {', '.join(sorted(unsound))}")
        sweep.expect(expected)
        counts["found"] += len(list(folder.rglob("*.damaged-*")))
        for aside in folder.rglob("*.damaged-*"):
            shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    found = counts.pop("found")
    return {"faults": ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())), "found when read": found}


def _damaged_entries(sweep: Sweep, chance: random.Random) -> Counter[str]:
    """Damage a result, weights, a mask and a record; delete other records and trainings, so that much is read."""
    done: Counter[str] = Counter()
    files = {
        "results": "store/trainings/*/result.json",
        "weights": "store/trainings/*/weights.safetensors",
        "masks": "store/masks/*.safetensors",
        "records": "records/trial/*.json",
    }
    chosen = {kind: chance.choice(sorted(sweep.output.glob(pattern))) for kind, pattern in files.items()}
    for kind, path in chosen.items():
        done[f"{kind} {damage(path, chance)}"] += 1
    for path in sweep.output.glob("records/trial/*.json"):
        if path not in chosen.values():
            path.unlink()
    sound = [path for path in sweep.output.glob("store/trainings/*") if path not in {c.parent for c in chosen.values()}]
    for path in chance.sample(sorted(sound), len(sound) // 2):
        shutil.rmtree(path)
    return done


def _damaged_checkpoints(sweep: Sweep, chance: random.Random) -> int:
    """Kill a sweep as soon as it has a checkpoint; damage all that it left. How many these were."""
    process = sweep.start()
    while process.poll() is None and not list(sweep.output.glob("store/checkpoints/[!.]*")):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    left = sorted(sweep.output.glob("store/checkpoints/[!.]*"))
    for path in left:
        damage(path, chance)
    return len(left)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system mounted at a folder. Raises PermissionError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(f"mounting needs root and its capabilities ({done.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(folder: Path, expected: list[Row], chance: random.Random) -> Row:
    """A disk of a few MiB that fills up, is given room, fills up again, until the sweep is done."""
    sweep, size, failed = Sweep(folder), 3, 0
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}m", "tmpfs"):
        while (ended := sweep.run())[0]:
            failed += 1
            sweep.expect_nothing_run_again()
            if not (ended[0] == 2 and ended[2].startswith("error: ") and ended[2].count("\n") == 1):
                raise Failed(f"a full disk ended it with {ended[0]} and {ended[2]!r}")
            size += chance.randrange(4, 12)
            subprocess.run(["mount", "-o", f"remount,size={size}m", str(folder)], check=True)
        sweep.expect_nothing_run_again()
        sweep.expect(expected)
    return {"faults": f"{failed} times no space left", "last size, MiB": size}


def read_only(folder: Path, expected: list[Row], chance: random.Random) -> Row:
    """A store that can be read and not written, with a training lost: one error, nothing changed, then all is well."""
    sweep = Sweep(folder)
    sweep.complete()
    lost = chance.choice(sorted(folder.glob("store/trainings/*")))
    shutil.rmtree(lost)
    for path in folder.glob("records/trial/*.json"):
        path.unlink()
    with mounted(folder / "store", "--bind", str(folder / "store")):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder / "store")], check=True)
        status, _, errors = sweep.run()
    if status != 2 or errors.count("\n") != 1 or "Read-only file system" not in errors:
        raise Failed(f"a read-only store ended it with {status} and {errors!r}")
    sweep.expect_nothing_run_again()
    sweep.complete()
    sweep.expect_nothing_run_again()
    sweep.expect(expected)
    return {"faults": "1 store mounted read-only"}


def clocks(folder: Path, expected: list[Row], chance: random.Random) -> Row:
    """Two drivers on one store, as of two hosts where namespaces can be had; heartbeats are moved by up to a day."""
    sweep = Sweep(folder)
    other_host = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*other_host, "true"], capture_output=True, check=False).returncode:
        other_host = []
    drivers = [sweep.start(), sweep.start(*other_host)]
    jumps = 0
    while any(driver.poll() is None for driver in drivers):
        time.sleep(chance.uniform(0, 0.2))
        for lease in folder.glob("store/leases/[!.]*"):
            with suppress(FileNotFoundError):
                moment = time.time() + chance.choice((-1, 1)) * chance.uniform(0, 86_400)
                os.utime(lease, (moment, moment))
                jumps += 1
        sweep.expect_nothing_run_again()
    for driver in drivers:
        _, errors = driver.communicate()
        if driver.returncode:
            raise Failed(f"exit status {driver.returncode}: {errors}")
    sweep.expect(expected)
    return {"faults": f"{jumps} heartbeats moved", "hosts": 2 if other_host else 1}


def wandb_killed(folder: Path, expected: list[Row], chance: random.Random) -> Row:
    """W&B's own process killed as often as it is met, up to five times."""
    sweep, killed = Sweep(folder, "wandb.mode=offline"), 0
    driver = sweep.start()
    while driver.poll() is None:
        time.sleep(chance.uniform(0, 0.5))
        for process, (_, name) in descendants(driver.pid).items():
            if "wandb" in name and killed < 5:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    killed += 1
    _, errors = driver.communicate()
    if driver.returncode or not killed:
        raise Failed(f"exit status {driver.returncode}, {killed} killed: {errors}")
    sweep.expect(expected)
    return {"faults": f"{killed} times W&B's process killed"}


Fault = Callable[[Path, list[Row], random.Random], Row]


def faults(kills_wanted: int, rounds: int) -> dict[str, Fault]:
    return {
        "full disk": full_disk,
        "read-only store": read_only,
        "clock jumps": clocks,
        "W&B killed": wandb_killed,
        "damaged files": partial(damages, rounds=rounds),
        "kill -9": partial(kills, number=kills_wanted),
    }


def campaign(folder: Path, chosen: dict[str, Fault], chance: random.Random) -> list[Row]:
    """Faults in turn. A row each: what was done, and whether all ended as it must."""
    undisturbed = Sweep(folder / "undisturbed")
    undisturbed.complete()
    expected = undisturbed.results()
    rows = []
    for number, (name, fault) in enumerate(chosen.items()):
        begun = time.monotonic()
        try:
            told = {"outcome": "as undisturbed", **fault(folder / str(number), expected, chance)}
        except PermissionError as error:
            told = {"outcome": f"skipped: {error}"}
        except Failed as error:
            told = {"outcome": f"FAILED: {error}"}
        seconds, date = round(time.monotonic() - begun), datetime.now(UTC).isoformat(timespec="seconds")
        rows.append({"fault": name, **told, "seconds": seconds, "date": date})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def markdown(content: Row) -> str:
    """The campaign for people, from its JSON file."""
    around = content["circumstances"]
    hardware, versions = around["hardware"], around["versions"]
    rows = [{"fault": row["fault"], "faults": row.get("faults", ""), **row} for row in content["rows"]]
    parts = [
        "# Faults",
        f"Sweeps of {content['cells']} cells on {content['trainings']} trainings of 300 iterations. Each must end with "
        "the records of an undisturbed sweep, times and circumstances apart, and run nothing again that was finished "
        "and sound.",
        f"{hardware['cores']} cores of {hardware['cpu']}, {hardware['system']}; Python {versions['python']}, torch "
        f"{versions['torch']}; random seed {content['seed']}. Made by `python -m scripts.faults`.",
        pd.DataFrame(rows, dtype=object).fillna("").astype(str).to_markdown(index=False, disable_numparse=True),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Run the campaign and write what came of it. Exit status 1 where something failed."""
    names = list(faults(0, 0))
    parser = argparse.ArgumentParser(prog="python -m scripts.faults", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(names)} (default all); others stay")
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs (default 100)")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of damage (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="of what is chosen at random (default 0)")
    parser.add_argument("--output", type=Path, default=Path("results/faults"), help="where faults.json and .md go")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(names):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(names)}")
    chosen = {n: f for n, f in faults(options.kills, options.rounds).items() if n in (options.faults or names)}
    path = options.output / "faults.json"
    with tempfile.TemporaryDirectory() as place:
        rows = campaign(Path(place), chosen, random.Random(options.seed))
        undisturbed = Path(place, "undisturbed")
        told = {row["fault"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
        told |= {row["fault"]: row for row in rows}
        content = {
            "seed": options.seed,
            "cells": len(list(undisturbed.glob("records/trial/*.json"))),
            "trainings": len(list(undisturbed.glob("store/trainings/*"))),
            "circumstances": circumstances(),
            "rows": [told[name] for name in names if name in told],
        }
    write_atomically(path, json_bytes(content))
    write_atomically(options.output / "faults.md", markdown(content).encode())
    return int(any(row["outcome"].startswith("FAILED") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
