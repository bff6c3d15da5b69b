"""The engine's thread: schedule, run, postprocess, in a loop. It sleeps while there is nothing to do."""

import threading
import time

from inkhorn.errors import CheckpointError, InkhornError
from inkhorn.inference.backends.base import Backend, ModelOutput
from inkhorn.inference.request_handle import RequestHandle, wake_readers
from inkhorn.inference.scheduler import Scheduler, SchedulerOutput
from inkhorn.inference.sequence import Sequence


class EngineLoop:
    """Runs a backend for many sequences at once, in a thread that starts with the first one.

    Args:
        backend: computes one call at a time.
        scheduler: plans the calls.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self._backend, self._scheduler = backend, scheduler
        self._handles: dict[Sequence, RequestHandle] = {}
        self._changed = threading.Condition()  # guards the scheduler and all fields
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def submit(self, sequence: Sequence, handle: RequestHandle) -> None:
        """Queue a sequence. Raises QueueFullError, or the error that ended the loop."""
        with self._changed:
            if self._error is not None:
                raise self._error
            self._scheduler.add(sequence)
            self._handles[sequence] = handle
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="inkhorn", daemon=True)
                self._thread.start()
            self._changed.notify()

    def abort(self, sequence: Sequence) -> None:
        """Remove a sequence, unless it has finished. A call in progress is not interrupted."""
        with self._changed:
            handle = self._handles.pop(sequence, None)
            if handle is None:
                return
            self._scheduler.remove(sequence)
        handle.put(None, last=True)
        wake_readers([handle])

    @property
    def request_counts(self) -> tuple[int, int]:
        """How many sequences are running, and how many wait for a slot."""
        with self._changed:
            return len(self._scheduler.running), len(self._scheduler.waiting)

    def stop(self) -> None:
        """End the thread after the call in progress. Unfinished requests get an error."""
        with self._changed:
            self._error = self._error or InkhornError("the engine was closed")
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        try:
            while scheduled := self._schedule():
                self._postprocess(scheduled, self._run_model(scheduled))
        except BaseException as error:  # nothing else would report it to the readers
            with self._changed:
                self._error = error
        with self._changed:
            unfinished, end = list(self._handles.values()), self._error
            self._handles.clear()
        for handle in unfinished:
            handle.put(None, end, last=True)
        wake_readers(unfinished)

    def _schedule(self) -> SchedulerOutput | None:
        """Wait for the next call; None when the loop ends."""
        with self._changed:
            while self._error is None:
                scheduled = self._scheduler.schedule()
                if scheduled is not None:
                    return scheduled
                self._changed.wait()
        return None

    def _run_model(self, scheduled: SchedulerOutput) -> list[ModelOutput]:
        for source, target, length in scheduled.copies:
            self._backend.copy_prefix(source, target, length)
        start = time.perf_counter()
        outputs = self._backend.run(scheduled.inputs, scheduled.num_steps)
        self._scheduler.record_latency(scheduled, time.perf_counter() - start)
        return outputs

    def _postprocess(self, scheduled: SchedulerOutput, outputs: list[ModelOutput]) -> None:
        """Decode the tokens, then update the scheduler, then deliver the outputs and wake the readers."""
        processed = []
        for sequence, model_input, model_output in zip(scheduled.sequences, scheduled.inputs, outputs, strict=True):
            handle = self._handles.get(sequence)
            if handle is not None:  # not aborted during the call
                processed.append((sequence, model_input, handle, sequence.process_output(model_input, model_output)))
        with self._changed:
            for sequence, model_input, _, output in processed:
                self._scheduler.update(sequence, model_input, output.token_ids if output else [])
                if sequence.is_finished and self._handles.pop(sequence, None) is not None:
                    self._scheduler.remove(sequence)
        delivered = []
        for sequence, _, handle, output in processed:
            if output or sequence.is_finished:
                handle.prompt_logprobs = handle.prompt_logprobs or tuple(sequence.prompt_scores)
                error = None if sequence.error is None else CheckpointError(sequence.error)
                handle.put(output, error, last=sequence.is_finished)
                delivered.append(handle)
        wake_readers(delivered)
