"""SIGINT and SIGTERM as a flag that the training loop checks between steps, where it can save a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any


class Interrupt:
    """A context in which the first signal sets `received` and the second raises KeyboardInterrupt.

    Outside the main thread, where Python handles no signals, `received` stays None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
