"""The inference engine: continuous batching of requests over one model.

`engine_loop.py` runs it in a thread, `scheduler.py` plans each call, and a backend computes it. `api.py` is the public
interface on top.
"""

import weakref
from collections import deque
from collections.abc import Collection, Generator, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Unpack

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_eos_token_ids
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import InkhornError, UsageError, require
from inkhorn.inference import sequence
from inkhorn.inference.backends.base import Backend
from inkhorn.inference.backends.select import BackendOptions, load_backend
from inkhorn.inference.edits import Edits
from inkhorn.inference.engine_loop import EngineLoop
from inkhorn.inference.outputs import Prompt
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.inference.sampling import Sampler
from inkhorn.inference.scheduler import Scheduler, SchedulerConfig
from inkhorn.inference.stopping import IncrementalDetokenizer
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer, check_vocab_size
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.tokenizer.normalize import UnknownPolicy

MAX_SCORED_LOGITS = 1 << 19
"""Logits of the positions that one call scores: with 50,000 tokens 10 positions, which take about 10 ms of CPU time."""


class Engine:
    """A loaded model and its tokenizer. Every method may be called from any thread.

    Args:
        backend: the model; closed with the engine.
        max_queued: how many requests may wait for a slot.
        eos_token_ids: the tokens that end a text, if other than the config's and the tokenizer's.

    Attributes:
        eos_id: the end-of-text token; None if the model has none.
        other_eos_ids: further tokens that end a text.
        banned_ids: tokens that are never sampled: parts of characters, and ids beyond the tokenizer's vocabulary.
    """

    def __init__(
        self, backend: Backend, tokenizer: Tokenizer, *, max_queued: int = 1024, eos_token_ids: Collection[int] = ()
    ) -> None:
        require(max_queued >= 1, f"max_queued must be at least 1, not {max_queued}")
        self.backend, self.tokenizer, self.config = backend, tokenizer, backend.config
        check_vocab_size(tokenizer, self.config.vocab_size)
        self.eos_id = tokenizer.eos_id if self.config.eos_token_id is None else self.config.eos_token_id
        if eos_token_ids and self.eos_id not in eos_token_ids:
            self.eos_id = next(iter(eos_token_ids))
        self.other_eos_ids = tuple(i for i in eos_token_ids if i != self.eos_id)
        padding_ids = range(tokenizer.vocab_size, self.config.vocab_size)
        self.banned_ids = frozenset(tokenizer.partial_ids) | frozenset(padding_ids)
        self.max_queued = max_queued
        max_scored_tokens = max(1, min(MAX_SCORED_LOGITS // self.config.vocab_size, SchedulerConfig.max_scored_tokens))
        config = SchedulerConfig(max_queued=max_queued, max_scored_tokens=max_scored_tokens)
        scheduler = Scheduler(backend.max_num_seqs, config)
        self._loop = EngineLoop(backend, scheduler)
        # The thread references the loop only, so that an engine that is no longer referenced ends its thread. It also
        # ends at exit: the kernel must not run while the libraries that it uses are unloaded.
        self._stop = weakref.finalize(self, self._loop.stop)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "shakespeare", *, max_queued: int = 1024, **options: Unpack[BackendOptions]
    ) -> "Engine":
        """Load a shipped model by name, a checkpoint folder, or the best checkpoint of a run folder."""
        folder = resolve_checkpoint(name_or_path)
        backend = load_backend(folder, **options)
        ends = read_eos_token_ids(folder, backend.config)
        return cls(backend, load_tokenizer(folder), max_queued=max_queued, eos_token_ids=ends)

    def encode_prompt(self, text: str, on_unknown: UnknownPolicy = "replace") -> Prompt:
        """Encode a prompt; `on_unknown` says what to do with characters outside the vocabulary.

        Raises:
            TokenizerError: with `on_unknown="error"`, there are such characters.
            UsageError: the prompt is empty, and the model has no token to start from.
        """
        normalized, unknown = self.tokenizer.normalize(text, on_unknown)
        token_ids = tuple(self.tokenizer.encode(normalized).tolist())
        if not token_ids:
            start = self.eos_id if self.config.bos_token_id is None else self.config.bos_token_id
            if start is None:
                raise UsageError("the prompt is empty, and this model has no beginning-of-text token: give some text")
            token_ids = (start,)
        return Prompt(normalized, token_ids, tuple(unknown))

    def submit(
        self,
        prompt: str | Prompt,
        params: SamplingParams,
        sample_index: int = 0,
        *,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        edits: Edits | None = None,
    ) -> RequestHandle:
        """Start a request; returns at once.

        Args:
            prompt: a text, or the result of `encode_prompt`.
            params: the sampling parameters.
            sample_index: index among several samples of one prompt; each has its own random numbers.
            logprobs: return the log-probability of each sampled token, and so many of the most likely tokens.
            prompt_logprobs: return the same for the prompt's tokens.
            edits: changes to activations (`inference/interventions.py`).

        Returns:
            The handle to read the result from. Reading raises CheckpointError if the weights are damaged, so that no
            token can be sampled.

        Raises:
            UsageError: the model cannot do this.
            QueueFullError: the queue is full.
            InkhornError: the engine is closed, or its thread has failed; see `failure`.
        """
        prompt = self.encode_prompt(prompt) if isinstance(prompt, str) else prompt
        self._check(prompt, params, logprobs)
        # With ignore_eos the end-of-text token cannot be sampled: its probability goes to the others.
        banned_ids = self.banned_ids
        if params.ignore_eos:
            banned_ids |= {i for i in (self.eos_id, *self.other_eos_ids) if i is not None}
        sampler = Sampler(
            params,
            sample_index,
            prompt.token_ids,
            banned_ids,
            eos_id=self.eos_id,
            other_eos_ids=() if params.ignore_eos else self.other_eos_ids,
        )
        if params.min_tokens:
            message = "min_tokens: these stop_token_ids leave no token that may be sampled before them"
            require(len(banned_ids | sampler.stop_ids) < self.config.vocab_size, message)
        request = sequence.Sequence(
            prompt.token_ids,
            self.config.block_size,
            sampler,
            IncrementalDetokenizer(
                params, self.tokenizer.decode_stream(prompt.token_ids), prompt.text.rpartition(END_OF_TEXT)[2]
            ),
            logprobs=logprobs,
            prompt_logprobs=prompt_logprobs,
            edits=edits,
        )
        handle = RequestHandle(lambda: self._loop.abort(request))  # keeps the engine alive until it is read
        self._loop.submit(request, handle)
        return handle

    def submit_many(
        self,
        prompts: str | Prompt | Sequence[str | Prompt],
        params: SamplingParams,
        num_samples: int = 1,
        *,
        logprobs: int | None = None,
        edits: Sequence[Edits | None] = (),
    ) -> Generator[RequestHandle, None, None]:
        """Start `num_samples` requests for each prompt; yields their handles in order.

        They run together, as many as there are slots, and no more are queued than the queue holds. Read each before you
        ask for the next. Closing or dropping the iterator aborts those that were not read. `edits` has those of each
        prompt; none if it is empty.
        """
        if isinstance(prompts, str | Prompt):
            prompts = [prompts]
        encoded = (self.encode_prompt(each) if isinstance(each, str) else each for each in prompts)
        requests = (
            self.submit(prompt, params, sample_index, logprobs=logprobs, edits=each)
            for prompt, each in zip(encoded, edits or repeat(None), strict=False)
            for sample_index in range(num_samples)
        )
        max_num_seqs, ahead = self.backend.max_num_seqs, deque[RequestHandle]()
        try:
            ahead.extend(islice(requests, max_num_seqs + min(max_num_seqs, self.max_queued)))
            while ahead:
                yield ahead[0]
                ahead.popleft()
                ahead.extend(islice(requests, 1))
        finally:
            for handle in ahead:
                handle.abort()

    def _check(self, prompt: Prompt, params: SamplingParams, logprobs: int | None) -> None:
        block_size, vocab_size = self.config.block_size, self.config.vocab_size
        last = vocab_size - 1
        if params.context_overflow == "stop" and len(prompt.token_ids) > block_size:
            raise UsageError(
                f"the prompt has {len(prompt.token_ids):,} tokens, more than the block size of {block_size}: with "
                "context_overflow stop it must fit; shorten it, or use context_overflow shift"
            )
        for name, token_ids in (("logit_bias", params.logit_bias), ("stop_token_ids", params.stop_token_ids)):
            for token_id in token_ids:
                require(token_id <= last, f"{name}: token ids of this model are 0 to {last}, not {token_id}")
        message = f"logprobs must be from 0 to {vocab_size}, the vocabulary, not {logprobs}"
        require(logprobs is None or 0 <= logprobs <= vocab_size, message)

    @property
    def request_counts(self) -> tuple[int, int]:
        """How many requests are running, and how many wait for a slot."""
        return self._loop.request_counts

    @property
    def failure(self) -> BaseException | None:
        """What ended the engine's thread; None while it works. A failed engine stays failed."""
        return self._loop.failure

    def abort_all(self, reason: str) -> None:
        """End all unfinished requests with an error that gives the reason."""
        self._loop.abort_all(InkhornError(reason))

    def close(self) -> None:
        """End the thread after the call in progress, and free the backend. Unfinished requests get an error."""
        self._stop()
        self.backend.close()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
