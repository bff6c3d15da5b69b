"""The engine: prompts go in, texts come out piece by piece, of any length, many at once.

    engine = load()
    for piece in engine.stream(engine.prompt("ROMEO:"), SamplingParams(max_words=50)): ...

`loop.py` is the thread that runs it all, `scheduler.py` decides who runs next, a backend computes. Learned positions
cannot slide: when the block is full, the cache is worth nothing for a window that starts elsewhere. Where the window of
n tokens starts is a function of n alone (`window.py`), so a text may be taken up again at any point and goes on as if
it had never been interrupted.
"""

import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, require
from inkhorn.inference.backends.base import Backend
from inkhorn.inference.backends.select import SLOTS, load_backend
from inkhorn.inference.engine_loop import Loop
from inkhorn.inference.outputs import Completion, Piece, Prompt
from inkhorn.inference.request import Request
from inkhorn.inference.sampling import Sampler
from inkhorn.inference.scheduler import Limits, Scheduler
from inkhorn.inference.sequence_state import Writing
from inkhorn.inference.stopping import TextStream
from inkhorn.inference.stream import Handle
from inkhorn.inference.window import window_start
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer, check_vocab_size
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.tokenizer.normalize import UnknownPolicy

__all__ = ["Completion", "Engine", "Handle", "Piece", "Prompt", "generate", "load", "window_start"]


class Engine:
    """A model and its tokenizer, ready to write. Every method may be called from any thread.

    Args:
        backend: the model; closed with the engine.
        tokenizer: the model's own.
        max_queue: how many requests may wait for a slot.

    """

    def __init__(self, backend: Backend, tokenizer: Tokenizer, *, max_queue: int = 1024) -> None:
        require(max_queue >= 1, f"max_queue must be at least 1, not {max_queue}")
        self.backend, self.tokenizer, self.config = backend, tokenizer, backend.config
        check_vocab_size(tokenizer, self.config.vocab_size)
        self.eos = tokenizer.eos_id if self.config.eos_token_id is None else self.config.eos_token_id
        padding = range(tokenizer.vocab_size, self.config.vocab_size)
        self.never = frozenset(tokenizer.partial_ids) | frozenset(padding)
        self.limits = Limits(max_queue=max_queue)
        self._loop = Loop(backend, Scheduler(backend.slots, self.limits))
        # The thread knows the loop only, so an engine that nobody holds any more takes its thread with it. At the exit
        # of the process too: a kernel must not be running while the libraries that it uses are taken down.
        self._stop = weakref.finalize(self, self._loop.stop)

    def prompt(self, text: str, policy: UnknownPolicy = "replace") -> Prompt:
        """Make a prompt fit the vocabulary; `policy` says what happens to characters that it lacks."""
        fitted, unknown = self.tokenizer.normalize(text, policy)
        ids = tuple(self.tokenizer.encode(fitted).tolist())
        if not ids:
            start = self.eos if self.config.bos_token_id is None else self.config.bos_token_id
            if start is None:
                raise UsageError("this model names no token to start from: give a prompt of at least one character")
            ids = (start,)
        return Prompt(fitted, ids, tuple(unknown))

    def submit(
        self,
        prompt: str | Prompt,
        params: SamplingParams,
        choice: int = 0,
        *,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
    ) -> Handle:
        """Have a text written; returns at once.

        Args:
            prompt: text, or from `prompt()`.
            params: how, and how long.
            choice: which of several texts for this prompt; each has its own random numbers.
            logprobs: tell with each token how likely it was, and so many of the likeliest.
            prompt_logprobs: tell that of the prompt's tokens too.

        Returns:
            What to read the text from. While it is read, CheckpointError comes if the weights are damaged so that no
            token can be drawn.

        Raises:
            UsageError: for what this model cannot do.
            QueueFullError: too many requests wait.
            InkhornError: the engine is closed. A failure of the backend comes here too, once it has stopped the engine.

        """
        prompt = self.prompt(prompt) if isinstance(prompt, str) else prompt
        self._check(prompt, params, logprobs)
        # Where the text may not end, the end-of-text token cannot be drawn at all: the odds go to the others.
        banned = self.never | ({self.eos} if params.ignore_eos and self.eos is not None else frozenset())
        sampler = Sampler(params, choice, prompt.ids, banned, end_token=self.eos)
        request = Request(
            list(prompt.ids),
            self.config.block_size,
            params.context_overflow,
            params.max_tokens,
            plain=sampler.plain,
            scored=prompt_logprobs,
        )
        stream = TextStream(params, self.tokenizer.token_bytes, prompt.text.rpartition(END_OF_TEXT)[2])
        handle = Handle(lambda: self._loop.abort(request))
        self._loop.submit(Writing(request, sampler, stream, handle, logprobs))
        return handle

    def _check(self, prompt: Prompt, params: SamplingParams, logprobs: int | None) -> None:
        block, vocab = self.config.block_size, self.config.vocab_size
        if params.context_overflow == "stop" and len(prompt.ids) > block:
            raise UsageError(
                f"the prompt has {len(prompt.ids):,} tokens, the block {block}; shorten it, "
                "or use context_overflow=shift instead of stop"
            )
        for name, tokens in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
            for token in tokens:
                require(token < vocab, f"{name}: this model has no token {token}, its ids are 0 to {vocab - 1}")
        if logprobs is not None:
            require(0 <= logprobs <= vocab, f"logprobs must be from 0 to {vocab}, the vocabulary, not {logprobs}")

    @property
    def load(self) -> tuple[int, int]:
        """How many texts are being written, and how many wait for a slot."""
        return self._loop.load

    def abort(self, handle: Handle) -> None:
        """Give a text up: as `handle.abort()`."""
        handle.abort()

    def stream(self, prompt: str | Prompt, params: SamplingParams, choice: int = 0, **more: Any) -> Iterator[Piece]:
        """Write a text, one piece per token. Closing the iterator, or dropping it, gives the text up.

        Takes and raises what `submit` does.
        """
        pieces = self._read(self.submit(prompt, params, choice, **more))
        next(pieces)  # up to its `try`, for a generator that never ran would not clean up when it is dropped
        return pieces

    @staticmethod
    def _read(handle: Handle) -> Iterator[Piece]:
        try:
            yield Piece("", None, None)
            yield from handle
        finally:
            handle.abort()

    def complete(self, prompt: str | Prompt, params: SamplingParams, choice: int = 0, **more: Any) -> Completion:
        """Write a text and return it whole. Takes and raises what `submit` does."""
        handle = self.submit(prompt, params, choice, **more)
        try:
            return handle.result()
        finally:
            handle.abort()

    def submit_many(self, prompt: str | Prompt, params: SamplingParams, n: int, **more: Any) -> Iterator[Handle]:
        """Have n texts written for a prompt, choices 0 to n - 1, and give them in this order.

        They are written together, as many as there are slots, and some wait already; the prompt is read once. Read each
        before you ask for the next. Closing the iterator, or dropping it, gives up those that are not read.
        """
        prompt = self.prompt(prompt) if isinstance(prompt, str) else prompt
        choices, ahead = iter(range(n)), deque[Handle]()
        slots = self.backend.slots
        try:
            first = islice(choices, slots + min(slots, self.limits.max_queue))
            ahead.extend(self.submit(prompt, params, choice, **more) for choice in first)
            while ahead:
                yield ahead[0]
                ahead.popleft()
                ahead.extend(self.submit(prompt, params, choice, **more) for choice in islice(choices, 1))
        finally:
            for handle in ahead:
                handle.abort()

    def complete_many(self, prompt: str | Prompt, params: SamplingParams, n: int, **more: Any) -> list[Completion]:
        """Write n texts for a prompt and return them whole; the first is what `complete` writes."""
        return [handle.result() for handle in self.submit_many(prompt, params, n, **more)]

    async def astream(
        self, prompt: str | Prompt, params: SamplingParams, choice: int = 0, **more: Any
    ) -> AsyncIterator[Piece]:
        """As `stream`, for `async for`. Cancelling the task, or closing the generator, gives the text up."""
        handle = self.submit(prompt, params, choice, **more)
        try:
            async for piece in handle:
                yield piece
        finally:
            handle.abort()

    async def acomplete(self, prompt: str | Prompt, params: SamplingParams, choice: int = 0, **more: Any) -> Completion:
        """As `complete`, without holding up the event loop; cancelling the task gives the text up."""
        handle = self.submit(prompt, params, choice, **more)
        try:
            return await handle.aresult()
        finally:
            handle.abort()

    def close(self) -> None:
        """End the thread, once its call is done, and free the backend. Texts that are not finished get an error."""
        self._stop()
        self.backend.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def load(
    model: str | Path = "shakespeare",
    *,
    quantize: str | None = None,
    threads: int | None = None,
    slots: int = SLOTS,
    backend: str | None = None,
) -> Engine:
    """An engine for a shipped model by its name, a checkpoint folder, or the best checkpoint of a run's folder.

    `select.load_backend` says what the options mean and raise.
    """
    folder = resolve_checkpoint(model)
    found = load_backend(folder, quantize=quantize, threads=threads, slots=slots, backend=backend)
    return Engine(found, load_tokenizer(folder))


def generate(prompt: str = "", model: str | Path = "shakespeare", **params: Any) -> str:
    """Continue a prompt; `params` are the fields of SamplingParams. Without a limit, 200 tokens."""
    limits = (params.get("max_tokens"), params.get("max_words"), params.get("end_at_sentence") or None)
    if all(limit is None for limit in limits):  # a limit of 0 is refused, not left out
        params["max_tokens"] = 200
    return load(model).complete(prompt, SamplingParams(**params)).text
