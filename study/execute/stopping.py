"""Asking a running sweep to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


class Stopped(Exception):
    """A sweep was asked to stop, and has: what was in hand is checkpointed. Its message says how to go on."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


@dataclass
class Stop:
    """What a sweep looks at: the signal that asked it to stop, if one did. May be set from a signal handler."""

    signal_number: int | None = None

    def ask(self, signal_number: int = signal.SIGTERM) -> None:
        self.signal_number = signal_number

    @property
    def is_asked(self) -> bool:
        return self.signal_number is not None


@contextmanager
def on_signals() -> Iterator[Stop]:
    """While the block lasts, the first SIGINT or SIGTERM asks to stop; a SIGINT after that is a KeyboardInterrupt.

    A signal that somebody handles already is left to them.
    """
    stop = Stop()

    def handle(number: int, _: Any) -> None:
        if stop.is_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.ask(number)

    defaults: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    taken = [number for number, default in defaults.items() if signal.getsignal(number) == default]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number in taken:
            signal.signal(number, defaults[number])
