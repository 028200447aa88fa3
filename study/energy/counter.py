"""Counters of energy that only go up, but for when they wrap or are reset."""

from collections.abc import Callable


class Counter:
    """A counter's growth since it was first read, in its own unit.

    `wraps_after` is the largest value that it shows before it begins again at zero. Where it is None, a value below
    the last is a reset, by a driver that was loaded anew: the energy between the last reading and the reset is lost.
    A counter must be read more often than it wraps.
    """

    def __init__(self, value: Callable[[], int], wraps_after: int | None = None) -> None:
        self._value, self._wraps_after = value, wraps_after
        self._last, self._grown = value(), 0

    def read(self) -> int:
        """What has been counted since the counter was made."""
        now = self._value()
        if now >= self._last:
            self._grown += now - self._last
        elif self._wraps_after is not None:
            self._grown += self._wraps_after + 1 - self._last + now
        else:
            self._grown += now
        self._last = now
        return self._grown
