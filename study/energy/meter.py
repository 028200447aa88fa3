"""The meter of this process: what it has used since the meter was started, as phases are timed by it.

A failing meter never fails a run: an estimate takes its place, and says so.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from study.energy.cpu import CORE_WATTS, CpuSource, Estimate, Rapl
from study.energy.gpu import Gpu

UNMETERED = "none"


@dataclass
class Spent:
    """What was used: seconds by the clock, CPU seconds (user and system), joules of the CPU and of the GPU, if any.

    `flops` are floating-point operations, where they were counted; the meter does not read them.
    """

    wall: float = 0.0
    cpu: float = 0.0
    cpu_joules: float = 0.0
    gpu_joules: float | None = None
    flops: int | None = None

    def __add__(self, other: "Spent") -> "Spent":
        gpu, flops = (self.gpu_joules, other.gpu_joules), (self.flops, other.flops)
        return Spent(
            self.wall + other.wall,
            self.cpu + other.cpu,
            self.cpu_joules + other.cpu_joules,
            None if gpu == (None, None) else (gpu[0] or 0.0) + (gpu[1] or 0.0),
            None if flops == (None, None) else (flops[0] or 0) + (flops[1] or 0),
        )

    def add(self, before: "Spent", after: "Spent", share: float = 1.0) -> None:
        """Add a share of what was used between two readings."""
        self.wall += share * (after.wall - before.wall)
        self.cpu += share * (after.cpu - before.cpu)
        self.cpu_joules += share * (after.cpu_joules - before.cpu_joules)
        if before.gpu_joules is not None and after.gpu_joules is not None:
            self.gpu_joules = (self.gpu_joules or 0.0) + share * (after.gpu_joules - before.gpu_joules)


class Meter:
    """Reads the clock, the CPU time and the energy of this process.

    `device` is torch's name. On a GPU the energy is the board's, with the process's own on the CPU beside it.
    """

    def __init__(
        self,
        device: str = "cpu",
        core_watts: float = CORE_WATTS,
        workers: int = 1,
        rapl: Callable[[], CpuSource] = Rapl,
        gpu: Callable[[str, int], Gpu] = Gpu,
    ) -> None:
        self._begun, self._cpu_begun = time.perf_counter(), time.process_time()
        self._core_watts, self._device = core_watts, device
        self._cpu: CpuSource
        try:
            self._cpu = rapl()
        except (OSError, ValueError):
            self._cpu = Estimate(core_watts)
        self._gpu: Gpu | None = None
        self._no_gpu = ""
        if device != "cpu":
            try:
                self._gpu = gpu(device, workers)
            except Exception as error:  # whatever NVML raises where there is none
                self._no_gpu = f"GPU not metered: {error}"
        self._last = 0.0

    def read(self) -> Spent:
        """What has been used since the meter was made."""
        wall, cpu = time.perf_counter() - self._begun, time.process_time() - self._cpu_begun
        try:
            self._last = self._cpu.joules(cpu)
        except (OSError, ValueError) as error:
            because = f", since {self._cpu.kind} failed: {error}"
            self._cpu = Estimate(self._core_watts, cpu, self._last, because)
        return Spent(wall, cpu, self._last, None if self._gpu is None else self._gpu.joules(wall))

    def described(self) -> dict[str, str]:
        """Kind, scope and note of what is metered, as the record keeps them."""
        gpu = self._gpu
        notes = [self._cpu.note, self._no_gpu if gpu is None else gpu.note]
        return {
            "cpu": self._cpu.kind,
            "gpu": UNMETERED if gpu is None else gpu.kind,
            "scope": "; ".join([f"CPU: {self._cpu.scope}", *([] if gpu is None else [f"GPU: {gpu.scope}"])]),
            "note": "; ".join(filter(None, notes)),
        }


_meter: Meter | None = None


def start(device: str = "cpu", core_watts: float = CORE_WATTS, workers: int = 1) -> Meter:
    """Start this process's meter anew."""
    global _meter
    _meter = Meter(device, core_watts, workers)
    return _meter


def current() -> Meter:
    """This process's meter; one of the CPU is started where there is none."""
    return _meter or start()
