"""The engine's thread: schedule, run, postprocess, in a loop. It sleeps while there is nothing to do.

An exception that one sequence causes, in the backend or while its output is processed, ends that sequence only. Any
other exception is a fault of the engine: it ends the loop, and every unfinished and later request gets an error.
"""

import threading
import time

from inkhorn.errors import InkhornError
from inkhorn.inference.backends.base import Backend, ModelInput, ModelOutput
from inkhorn.inference.request_handle import RequestHandle, wake_readers
from inkhorn.inference.scheduler import Scheduler, SchedulerOutput
from inkhorn.inference.sequence import Sequence


class EngineLoop:
    """Runs a backend for many sequences at once, in a thread that starts with the first one.

    Args:
        backend: computes one call at a time.
        scheduler: plans the calls.

    Attributes:
        failure: the exception that ended the loop; None while it works, and after `stop`.
    """

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self._backend, self._scheduler = backend, scheduler
        self._handles: dict[Sequence, RequestHandle] = {}
        self._changed = threading.Condition()  # guards the scheduler and all fields
        self._thread: threading.Thread | None = None
        self._error: InkhornError | None = None  # why no more sequences are accepted
        self.failure: BaseException | None = None

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

    def abort_all(self, error: InkhornError) -> None:
        """Remove all unfinished sequences; their readers get the error."""
        with self._changed:
            unfinished = dict(self._handles)
            self._handles.clear()
            for sequence in unfinished:
                self._scheduler.remove(sequence)
        for handle in unfinished.values():
            handle.put(None, error, last=True)
        wake_readers(unfinished.values())

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
                self.failure = error
                self._error = InkhornError(f"the engine has failed and must be restarted: {describe(error)}")
                self._error.__cause__ = error
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
        try:
            outputs = self._backend.run(scheduled.inputs, scheduled.num_steps)
        except Exception as error:
            if len(scheduled.inputs) == 1:
                return [ModelOutput(error=error)]
            return [self._run_alone(model_input, scheduled.num_steps) for model_input in scheduled.inputs]
        self._scheduler.record_latency(scheduled, time.perf_counter() - start)
        return outputs

    def _run_alone(self, model_input: ModelInput, num_steps: int) -> ModelOutput:
        """Run one input of a call that failed, to find out which inputs it failed for."""
        try:
            return self._backend.run([model_input], num_steps)[0]
        except Exception as error:
            return ModelOutput(error=error)

    def _postprocess(self, scheduled: SchedulerOutput, outputs: list[ModelOutput]) -> None:
        """Decode the tokens, then update the scheduler, then deliver the outputs and wake the readers."""
        processed = []
        for sequence, model_input, model_output in zip(scheduled.sequences, scheduled.inputs, outputs, strict=True):
            handle = self._handles.get(sequence)
            if handle is None:  # aborted during the call
                continue
            output = None
            try:
                output = sequence.process_output(model_input, model_output)
            except Exception as error:
                sequence.error, sequence.is_finished = error, True
            processed.append((sequence, model_input, handle, output))
        with self._changed:
            for sequence, model_input, _, output in processed:
                if output or sequence.error is None:
                    self._scheduler.update(sequence, model_input, output.token_ids if output else [])
                if sequence.is_finished and self._handles.pop(sequence, None) is not None:
                    self._scheduler.remove(sequence)
        delivered = []
        for sequence, _, handle, output in processed:
            if output or sequence.is_finished:
                handle.prompt_logprobs = handle.prompt_logprobs or tuple(sequence.prompt_scores)
                handle.put(output, sequence.error, last=sequence.is_finished)
                delivered.append(handle)
        wake_readers(delivered)


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message."""
    return " ".join(f"{type(error).__name__}: {error}".split())
