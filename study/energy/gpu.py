"""The energy of a GPU by NVML: its counter (since Volta), else an estimate from its power limit."""

import os
from contextlib import suppress
from typing import Any

import pynvml

from study.energy.counter import Counter


class Gpu:
    """What the board has drawn since this was made, in joules; each of several workers on it is given an equal part.

    `device` is torch's name, "cuda" or "cuda:N", counted as CUDA_VISIBLE_DEVICES has it. A slice of a GPU (MIG) has no
    counter of its own: it is given its part of the board's. Raises NVMLError where there is no such GPU or no NVML, and
    where neither its counter nor its power limit can be read.
    """

    def __init__(self, device: str, workers: int = 1, nvml: Any = pynvml) -> None:
        nvml.nvmlInit()
        handle = _handle(nvml, device, os.environ.get("CUDA_VISIBLE_DEVICES"))
        self._board, part = _board(nvml, handle)
        self._share = part / workers
        whole = "the GPU's board" if part == 1 else f"{part:.3g} of the GPU's board, as is its slice"
        self.scope = whole if workers == 1 else f"{whole}, an equal part of it to each of {workers} workers"
        self._limit: float | None = None
        with suppress(nvml.NVMLError):
            self._limit = nvml.nvmlDeviceGetEnforcedPowerLimit(self._board) / 1000
        self._counter: Counter | None = None
        self._before, self._since, self._last = 0.0, 0.0, 0.0
        try:
            self._counter = Counter(lambda: int(nvml.nvmlDeviceGetTotalEnergyConsumption(self._board)))
            self.kind, self.note = "NVML", ""
        except nvml.NVMLError as error:
            if self._limit is None:
                raise
            self._estimate(error)
        self._error = nvml.NVMLError

    def joules(self, wall: float) -> float:
        """At a moment in seconds by the clock, counted from when this was made."""
        if self._counter is not None:
            try:
                self._last = self._counter.read() / 1000 * self._share
            except self._error as error:
                self._counter, self._before, self._since = None, self._last, wall
                self._estimate(error)
        if self._counter is None:
            self._last = self._before + (self._limit or 0.0) * (wall - self._since) * self._share
        return self._last

    def _estimate(self, error: Exception) -> None:
        limit = "no power limit known, so nothing" if self._limit is None else f"the power limit, {self._limit:g} W,"
        self.kind, self.note = "estimate", f"{limit} for all of the time, as the counter says: {error}"


def _handle(nvml: Any, device: str, visible: str | None) -> Any:
    """The GPU, or slice of one, that a name of torch's means. NVML numbers GPUs by their place on the bus."""
    ordinal = int(device.partition(":")[2] or 0)
    names = visible.split(",") if visible else []
    name = names[ordinal].strip() if ordinal < len(names) else str(ordinal)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    if name.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    # CUDA takes a GPU's UUID by its first letters, NVML the whole.
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    found = [handle for handle in handles if nvml.nvmlDeviceGetUUID(handle).startswith(name)]
    return found[0] if found else nvml.nvmlDeviceGetHandleByUUID(name)


def _board(nvml: Any, handle: Any) -> tuple[Any, float]:
    """The board that a GPU or slice is on, and the part of it that the slice is; CUDA takes the first of several."""
    try:
        if nvml.nvmlDeviceIsMigDeviceHandle(handle):
            board, piece = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle), handle
        elif nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
            board, piece = handle, nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, 0)
        else:
            return handle, 1.0
    except nvml.NVMLError:  # a GPU that cannot be sliced, or a driver that knows no slices
        return handle, 1.0
    slices = nvml.nvmlDeviceGetAttributes(piece).gpuInstanceSliceCount
    return board, slices / nvml.nvmlDeviceGetMaxMigDeviceCount(board)
