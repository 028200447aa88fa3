"""A tree of GPUs, whole and sliced, that answers as NVML does. No machine of ours has one."""

from dataclasses import dataclass, field
from types import SimpleNamespace


class NVMLError(Exception):
    """What NVML raises for all that it cannot do."""


@dataclass(eq=False)
class Device:
    """A GPU, or a slice of one (then with its `board`). `millijoules` None: it has no counter."""

    uuid: str
    millijoules: int | None = 0
    limit: int | None = 300_000
    slices: int = 7
    board: "Device | None" = None
    pieces: list["Device"] = field(default_factory=list)


class Nvml:
    """The part of pynvml that the meter calls."""

    NVMLError = NVMLError
    NVML_DEVICE_MIG_ENABLE = 1

    def __init__(self, *devices: Device, driver: bool = True) -> None:
        self.devices, self.driver = devices, driver

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            raise NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:  # noqa: N802
        if index >= len(self.devices):
            raise NVMLError("Invalid Argument")
        return self.devices[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Device:  # noqa: N802
        for device in self.devices:
            for one in (device, *device.pieces):
                if one.uuid == uuid:
                    return one
        raise NVMLError("Not Found")

    def nvmlDeviceGetUUID(self, device: Device) -> str:  # noqa: N802
        return device.uuid

    def nvmlDeviceIsMigDeviceHandle(self, device: Device) -> bool:  # noqa: N802
        return device.board is not None

    def nvmlDeviceGetMigMode(self, device: Device) -> tuple[int, int]:  # noqa: N802
        return (int(bool(device.pieces)),) * 2

    def nvmlDeviceGetMigDeviceHandleByIndex(self, device: Device, index: int) -> Device:  # noqa: N802
        return device.pieces[index]

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, piece: Device) -> Device | None:  # noqa: N802
        return piece.board

    def nvmlDeviceGetAttributes(self, piece: Device) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpuInstanceSliceCount=piece.slices)

    def nvmlDeviceGetMaxMigDeviceCount(self, _: Device) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetEnforcedPowerLimit(self, device: Device) -> int:  # noqa: N802
        if device.limit is None:
            raise NVMLError("Not Supported")
        return device.limit

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Device) -> int:  # noqa: N802
        if device.millijoules is None or device.board is not None:
            raise NVMLError("Not Supported")
        return device.millijoules


def sliced(uuid: str, *pieces: tuple[str, int]) -> Device:
    """A GPU cut into slices of so many sevenths."""
    board = Device(uuid)
    board.pieces = [Device(name, None, None, slices, board) for name, slices in pieces]
    return board
