"""The energy of this process on the processor: RAPL's counters where they can be read, else a named estimate."""

import os
from pathlib import Path
from typing import Protocol

from study.energy.counter import Counter

POWERCAP = Path("/sys/class/powercap")
STATISTICS = Path("/proc/stat")

CORE_WATTS = 4.0
"""What a busy core takes where nothing is known of the processor, W: codecarbon's figure for a thread of such
(codecarbon 3.3, core/cpu.py, DEFAULT_POWER_PER_CORE)."""

WINDOW_SECONDS = 0.5
"""CPU seconds of all processes together after which their price is found anew; /proc/stat counts in hundredths."""


class CpuSource(Protocol):
    """Joules of this process since some moment, asked for with the CPU seconds that it has used."""

    kind: str
    scope: str
    note: str

    def joules(self, cpu: float) -> float: ...


class Estimate:
    """Power of a busy core x CPU seconds. A core that idles costs nothing here, so no idle power counts twice."""

    kind = "estimate"
    scope = "this process's CPU seconds; no idle power, no memory"

    def __init__(self, watts: float, since: float = 0.0, before: float = 0.0, because: str = "") -> None:
        self._watts, self._since, self._before = watts, since, before
        self.note = f"{watts:g} W for a busy core{because}"

    def joules(self, cpu: float) -> float:
        return self._before + self._watts * (cpu - self._since)


class Rapl:
    """The packages' and the memory's counters, shared among all processes of the machine by CPU time.

    Idle power is in them and is shared likewise, so that the processes' shares sum to what the machine took.
    Raises OSError where there are no counters that this user may read.
    """

    kind = "RAPL"
    scope = "this process's share, by CPU time, of the processors' and the memory's energy; idle power included"

    def __init__(self, folder: Path = POWERCAP, statistics: Path = STATISTICS) -> None:
        self._statistics = statistics
        domains = [path for path in sorted(folder.glob("intel-rapl:*")) if _is_counted(path)]
        if not domains:
            raise FileNotFoundError(f"no RAPL counters in {folder}")
        self._counters = [
            Counter(lambda path=path: _number(path / "energy_uj"), _number(path / "max_energy_range_uj"))  # type: ignore[misc]
            for path in domains
        ]
        names = ", ".join(sorted({(path / "name").read_text().strip() for path in domains}))
        self.note = f"counters of {names}"
        self._machine, self._busy = self._read()
        self._settled, self._at = 0.0, 0.0
        self._price: float | None = None

    def joules(self, cpu: float) -> float:
        """What this process has taken, at the price of a CPU second over the last window."""
        busy = _busy_seconds(self._statistics)
        if self._price is None or busy - self._busy >= WINDOW_SECONDS:
            machine, busy = self._read()
            if busy > self._busy:
                self._price = (machine - self._machine) / max(busy - self._busy, cpu - self._at)
                self._settled += self._price * (cpu - self._at)
                self._machine, self._busy, self._at = machine, busy, cpu
        return self._settled + (self._price or 0.0) * (cpu - self._at)

    def _read(self) -> tuple[float, float]:
        return sum(counter.read() for counter in self._counters) / 1e6, _busy_seconds(self._statistics)


def _is_counted(path: Path) -> bool:
    """Whether a domain is one of those that overlap with no other: packages, and memory beside them."""
    return (path / "name").read_text().strip().startswith(("package", "dram"))


def _number(path: Path) -> int:
    return int(path.read_text())


def _busy_seconds(statistics: Path) -> float:
    """CPU seconds that all processes of the machine have used since it started, by the first line of /proc/stat."""
    user, nice, system, _, _, interrupts, soft, *_ = map(int, statistics.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
