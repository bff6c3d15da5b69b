"""The engine's thread: schedule, run, deliver, again and again. It reads texts between calls; without any it sleeps."""

import threading
import time
from collections.abc import Sequence

from inkhorn.errors import InkhornError
from inkhorn.inference.backends.base import Backend, Result, Work
from inkhorn.inference.request import Request
from inkhorn.inference.scheduler import Plan, Scheduler
from inkhorn.inference.sequence_state import Writing


class Loop:
    """Runs a backend for many requests at once, in a thread that starts with the first of them.

    Args:
        backend: computes, one call at a time.
        scheduler: decides what.

    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self._backend, self._scheduler = backend, scheduler
        self._writings: dict[Request, Writing] = {}
        self._changed = threading.Condition()  # guards the scheduler, the writings and the two below
        self._thread: threading.Thread | None = None
        self._end: BaseException | None = None

    def submit(self, writing: Writing) -> None:
        """Queue a text; QueueFullError if too many wait, or the error that the loop has ended with."""
        with self._changed:
            if self._end is not None:
                raise self._end
            self._scheduler.add(writing.request)
            self._writings[writing.request] = writing
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="inkhorn", daemon=True)
                self._thread.start()
            self._changed.notify()

    def abort(self, request: Request) -> None:
        """Give a text up, unless it has ended. A call under way goes on without it."""
        with self._changed:
            writing = self._writings.pop(request, None)
            if writing is None:
                return
            self._scheduler.drop(request)
        writing.handle.put([], last=True)

    @property
    def load(self) -> tuple[int, int]:
        """How many texts are being written, and how many wait for a slot."""
        with self._changed:
            return len(self._scheduler.running), len(self._scheduler.waiting)

    def stop(self) -> None:
        """End the thread after the call under way. Texts that are not finished get an error."""
        with self._changed:
            self._end = self._end or InkhornError("the engine was closed")
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _serve(self) -> None:
        try:
            while call := self._schedule():
                plan, work = call
                self._deliver(plan, self._run(plan, work))
        except BaseException as error:  # a bug or a lack of memory: who waits must hear of it, and nobody else would
            with self._changed:
                self._end = error
        with self._changed:
            left, end = list(self._writings.values()), self._end
            self._writings.clear()
        for writing in left:
            writing.handle.put([], end, last=True)

    def _schedule(self) -> tuple[Plan, list[Work]] | None:
        """Wait until there is something to do; None at the end."""
        with self._changed:
            while self._end is None:
                plan = self._scheduler.plan()
                if plan is not None:
                    return plan, [self._writings[turn.request].work(turn) for turn in plan.turns]
                self._changed.wait()
        return None

    def _run(self, plan: Plan, work: Sequence[Work]) -> list[Result]:
        for source, target, length in plan.copies:
            self._backend.copy(source, target, length)
        start = time.perf_counter()
        results = self._backend.run(work, plan.steps)
        self._scheduler.lasted(plan, time.perf_counter() - start)
        return results

    def _deliver(self, plan: Plan, results: Sequence[Result]) -> None:
        """Make text of what came, then tell the scheduler and the readers."""
        taken = []
        for turn, result in zip(plan.turns, results, strict=True):
            writing = self._writings.get(turn.request)
            if writing is not None:  # else it was given up during the call
                taken.append((turn, writing, writing.take(turn, result)))
        with self._changed:
            for turn, writing, tokens in taken:
                self._scheduler.took(turn, tokens)
                if writing.ended and self._writings.pop(turn.request, None) is not None:
                    self._scheduler.drop(turn.request)
        for _, writing, _ in taken:
            writing.deliver()
