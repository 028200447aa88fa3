"""Signs of life in a terminal, for steps before the progress bar. It imports nothing: imports are such a step."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SILENCE_SECONDS = 1.0


@contextmanager
def life(step: str) -> Iterator[None]:
    """Show on a terminal what is going on and for how long, once it takes longer than a second; then remove it.

    It goes to standard error, and nowhere where that is no terminal.
    """
    if not sys.stderr.isatty():
        yield
        return
    done, begun = threading.Event(), time.monotonic()

    def show() -> None:
        while not done.wait(SILENCE_SECONDS):
            print(f"\r{step} ... {time.monotonic() - begun:.0f} s ", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        if time.monotonic() - begun > SILENCE_SECONDS:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
