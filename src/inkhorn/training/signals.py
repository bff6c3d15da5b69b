"""SIGINT, SIGTERM and SIGHUP as a flag that the training loop checks between steps, where it can save a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any, ClassVar

_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


class Interrupt:
    """A context in which the first signal sets `received` and the second raises KeyboardInterrupt.

    A closed terminal sends SIGHUP, often more than once: a repeated SIGHUP is ignored, so that the save completes.
    SIGHUP stays ignored under `nohup`. Outside the main thread, where Python handles no signals, only `requested` is
    received.
    """

    requested: ClassVar[signal.Signals | None] = None
    """The signal that another process received and has passed on to this one."""

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def received(self) -> signal.Signals | None:
        return self._received or Interrupt.requested

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            signals = [signal.SIGINT, signal.SIGTERM]
            if _HANGUP is not None and signal.getsignal(_HANGUP) != signal.SIG_IGN:
                signals.append(_HANGUP)
            for number in signals:
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self._received is not None:
            if number == _HANGUP:
                return
            raise KeyboardInterrupt
        self._received = signal.Signals(number)
