"""Meters on counters that are files or a faked NVML: shares, wraps, resets, failures."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.energy.counter import Counter
from study.energy.cpu import Estimate, Rapl
from study.energy.gpu import Gpu
from study.energy.meter import Meter, Spent
from study.execute.worker import run_pack
from study.plan import plan_cell
from study.store import Store
from study.training.engines import kernels, sums
from tests.energy.nvml import Device, Nvml, NVMLError, sliced
from tests.test_engines import dispatchers
from tests.test_groups import settings as local
from tests.test_plan import cell

TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """RAPL's folder and /proc/stat, of one package with memory, written as the test has it."""

    def __init__(self, folder: Path, wraps_after: int = 10**12) -> None:
        self.powercap, self.statistics = folder / "powercap", folder / "stat"
        self.names = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram"}
        self.joules, self.busy, self.wraps_after = 0.0, 0.0, wraps_after
        for domain, name in self.names.items():
            (self.powercap / domain).mkdir(parents=True)
            (self.powercap / domain / "name").write_text(f"{name}\n")
            (self.powercap / domain / "max_energy_range_uj").write_text(f"{wraps_after}\n")
        self.runs(0, 0)

    def runs(self, joules: float, busy: float) -> None:
        """All processes together: so many joules, of which memory takes a quarter, in so many CPU seconds."""
        self.joules, self.busy = self.joules + joules, self.busy + busy
        for domain, part in zip(self.names, (0.75, 0.7, 0.25), strict=True):
            shown = round(1e6 * part * self.joules) % (self.wraps_after + 1)
            (self.powercap / domain / "energy_uj").write_text(f"{shown}\n")
        ticks = round(self.busy * TICKS)
        self.statistics.write_text(
            f"cpu  {ticks - ticks // 5} 0 {ticks // 5} 99999 7 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"
        )

    def rapl(self) -> Rapl:
        return Rapl(self.powercap, self.statistics)


def test_a_counter_that_wraps_goes_on() -> None:
    shown = iter([90, 95, 3, 3, 1])
    counter = Counter(lambda: next(shown), wraps_after=99)
    assert [counter.read() for _ in range(4)] == [5, 13, 13, 111]


def test_a_counter_that_is_reset_loses_no_more_than_was_unread() -> None:
    shown = iter([90, 95, 3, 10])
    counter = Counter(lambda: next(shown))
    assert [counter.read() for _ in range(3)] == [5, 8, 15]


@given(st.integers(0, 999), st.lists(st.integers(0, 999), max_size=20))
def test_a_wrapping_counter_counts_the_whole(first: int, steps: list[int]) -> None:
    """Steps smaller than its range, in whatever order."""
    total = [first]
    counter = Counter(lambda: total[0] % 1000, wraps_after=999)
    for step in steps:
        total[0] += step
        assert counter.read() == total[0] - first


TICK_COUNTS = st.lists(st.integers(0, 300), min_size=3, max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 500), TICK_COUNTS), max_size=10))
def test_processes_share_a_machine_s_energy_and_none_is_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, windows: list[tuple[float, list[int]]]
) -> None:
    """Three processes are all that runs: whatever they read in between, their joules sum to the machine's."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    shares = [machine.rapl() for _ in range(3)]
    used = [0.0] * 3
    for joules, ticks in [*windows, (100.0, [100, 200, 300])]:
        seconds = [count / TICKS for count in ticks]
        machine.runs(joules, sum(seconds))
        used = [before + now for before, now in zip(used, seconds, strict=True)]
        read = [share.joules(cpu) for share, cpu in zip(shares, used, strict=True)]
    assert sum(read) == pytest.approx(machine.joules, rel=1e-6)


def test_a_share_is_by_cpu_time_idle_power_included(tmp_path: Path) -> None:
    """100 J while all are busy for 4 s and this process for 1: a quarter. The core domain lies in the package's."""
    machine = Machine(tmp_path)
    rapl = machine.rapl()
    machine.runs(joules=100, busy=4)
    assert rapl.joules(1.0) == pytest.approx(25)
    machine.runs(joules=10, busy=1)
    assert rapl.joules(1.0) == pytest.approx(25)
    assert "dram, package-0" in rapl.note


def test_a_wrap_of_rapl_is_no_loss(tmp_path: Path) -> None:
    machine = Machine(tmp_path, wraps_after=40 * 10**6)
    rapl = machine.rapl()
    for cpu in range(1, 6):
        machine.runs(joules=20, busy=1)
        assert rapl.joules(float(cpu)) == pytest.approx(20 * cpu, rel=1e-3)


def test_without_counters_there_is_a_named_estimate(tmp_path: Path) -> None:
    meter = Meter(core_watts=5.0, rapl=lambda: Rapl(tmp_path / "none"))
    before = meter.read()
    sum(range(10**6))
    spent = Spent()
    spent.add(before, meter.read())
    assert spent.cpu > 0
    assert spent.cpu_joules == pytest.approx(5.0 * spent.cpu)
    assert spent.gpu_joules is None
    assert meter.described() | {"scope": ""} == {
        "cpu": "estimate",
        "gpu": "none",
        "scope": "",
        "note": "5 W for a busy core",
    }


def test_a_counter_that_fails_on_the_way_is_followed_by_an_estimate(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    meter = Meter(core_watts=5.0, rapl=machine.rapl)
    machine.runs(joules=100, busy=4)
    before = meter.read()
    assert before.cpu_joules > 0
    (machine.powercap / "intel-rapl:0" / "energy_uj").unlink()
    machine.statistics.unlink()
    after = meter.read()
    later = meter.read()
    assert before.cpu_joules <= after.cpu_joules < later.cpu_joules
    described = meter.described()
    assert described["cpu"] == "estimate"
    assert "since RAPL failed" in described["note"]


def test_a_pack_s_shares_sum_to_the_whole() -> None:
    begun, ended = Spent(1.0, 2.0, 10.0, 100.0), Spent(4.0, 5.0, 40.0, 700.0)
    phases = [Spent() for _ in range(7)]
    for phase in phases:
        phase.add(begun, ended, 1 / 7)
    assert sum(phase.wall for phase in phases) == pytest.approx(3)
    assert sum(phase.cpu_joules for phase in phases) == pytest.approx(30)
    assert sum(phase.gpu_joules or 0 for phase in phases) == pytest.approx(600)


def test_an_estimate_has_no_idle_power() -> None:
    estimate = Estimate(4.0)
    assert estimate.joules(0.0) == 0
    assert estimate.joules(2.5) == 10


@pytest.mark.parametrize(
    ("visible", "device", "taken"),
    [
        (None, "cuda", "GPU-aaaa-0"),
        (None, "cuda:1", "GPU-bbbb-1"),
        ("2,0", "cuda:0", "GPU-bbcc-2"),
        ("2,0", "cuda:1", "GPU-aaaa-0"),
        ("GPU-bbcc", "cuda", "GPU-bbcc-2"),
        ("GPU-bbbb-1, GPU-aaaa-0", "cuda:1", "GPU-aaaa-0"),
    ],
)
def test_the_gpu_is_the_one_that_torch_means(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, device: str, taken: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    devices = [Device("GPU-aaaa-0"), Device("GPU-bbbb-1"), Device("GPU-bbcc-2")]
    gpu = Gpu(device, nvml=Nvml(*devices))
    for one in devices:
        one.millijoules = 5000 if one.uuid == taken else 70_000
    assert gpu.joules(1.0) == 5
    assert gpu.kind == "NVML"


@pytest.mark.parametrize(("visible", "part"), [("MIG-small", 1 / 7), ("MIG-large", 3 / 7), ("0", 3 / 7), (None, 3 / 7)])
def test_a_slice_takes_its_part_of_the_board_s_counter(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, part: float
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    board = sliced("GPU-aaaa-0", ("MIG-large", 3), ("MIG-small", 1))
    gpu = Gpu("cuda", nvml=Nvml(board))
    board.millijoules = 70_000
    assert gpu.joules(1.0) == pytest.approx(70 * part)
    assert "slice" in gpu.scope


def test_workers_on_one_gpu_share_it() -> None:
    device = Device("GPU-aaaa-0", millijoules=1000)
    shares = [Gpu("cuda", workers=3, nvml=Nvml(device)) for _ in range(3)]
    device.millijoules = 31_000
    assert sum(share.joules(1.0) for share in shares) == pytest.approx(30)


def test_a_gpu_without_a_counter_is_estimated_from_its_power_limit() -> None:
    gpu = Gpu("cuda", nvml=Nvml(Device("GPU-aaaa-0", millijoules=None, limit=250_000)))
    assert gpu.kind == "estimate"
    assert "250 W" in gpu.note
    assert gpu.joules(2.0) == 500


def test_a_gpu_s_counter_that_fails_on_the_way_is_followed_by_an_estimate() -> None:
    device = Device("GPU-aaaa-0", limit=100_000)
    gpu = Gpu("cuda", nvml=Nvml(device))
    device.millijoules = 7000
    assert gpu.joules(3.0) == 7
    device.millijoules = None
    assert gpu.joules(4.0) == 7
    assert gpu.joules(5.0) == 107
    assert gpu.kind == "estimate"


def test_a_reset_of_a_gpu_s_counter_never_gives_negative_energy() -> None:
    device = Device("GPU-aaaa-0", millijoules=9000)
    gpu = Gpu("cuda", nvml=Nvml(device))
    device.millijoules = 10_000
    assert gpu.joules(1.0) == 1
    device.millijoules = 500
    assert gpu.joules(2.0) == 1.5


@pytest.mark.parametrize("nvml", [Nvml(driver=False), Nvml(), Nvml(Device("GPU-a", millijoules=None, limit=None))])
def test_a_gpu_that_cannot_be_metered_is_said_to_be_so(nvml: Nvml) -> None:
    with pytest.raises(NVMLError):
        Gpu("cuda", nvml=nvml)
    meter = Meter("cuda", gpu=lambda device, workers: Gpu(device, workers, nvml))
    assert meter.read().gpu_joules is None
    assert meter.described()["gpu"] == "none"
    assert "GPU not metered" in meter.described()["note"]


def compiled_at_each_reading(folder: Path) -> list[int]:
    """How many kernels are compiled whenever a worker, which has run nothing before, reads its meter."""
    seen, read = [], Meter.read

    def watched(self: Meter) -> Spent:
        seen.append(sum(len(kernel.signatures) for module in (kernels, sums) for kernel in dispatchers(module)))
        return read(self)

    reported, stopping = multiprocessing.RawValue("Q", 0), multiprocessing.RawValue("b", 0)
    with patch.object(Meter, "read", watched):
        cluster = local("local", device="cpu", workers=1)
        assert run_pack(plan_cell(cell("snip")).trainings, Store(folder), cluster, reported, stopping) == {}
    return seen


def test_compilation_is_metered_with_no_training(tmp_path: Path) -> None:
    """The first two readings are of the mask, which takes no kernel; all others, of the training, find them made."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        before, masked, *training = pool.submit(compiled_at_each_reading, tmp_path).result()
    assert before == masked < training[0]
    assert len(training) > 4
    assert set(training) == {training[0]}
