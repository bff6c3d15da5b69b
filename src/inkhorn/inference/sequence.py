"""A request and its state, from the prompt to the last token."""

import collections.abc

from inkhorn.config.sampling import ContextOverflow
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.backends.base import ModelInput, ModelOutput
from inkhorn.inference.edits import Edits
from inkhorn.inference.outputs import RequestOutput
from inkhorn.inference.sampling import NoTokenError, Sampler, TokenLogprobs
from inkhorn.inference.stopping import IncrementalDetokenizer

TokenIds = collections.abc.Sequence[int]


def window_start(length: int, block_size: int, context_overflow: ContextOverflow) -> int:
    """Index of the first token in the context window of a sequence of `length` tokens.

    `shift` moves the window in strides of half a block, so that the cache stays valid for most tokens; `recompute`
    keeps the last block_size tokens, as nanoGPT does; `stop` never moves the window. The result depends on the length
    alone, so a continued sequence sees the same window as one that was never interrupted.
    """
    excess = length - block_size
    if excess <= 0 or context_overflow == "stop":
        return 0
    stride = 1 if context_overflow == "recompute" else max(1, block_size // 2)
    return -(-excess // stride) * stride


class Sequence:
    """One sequence: its tokens, how far they are computed, and how to sample and decode the next ones.

    The scheduler reads and writes the counters; `model_input` and `process_output` are the engine's.

    Args:
        token_ids: the prompt, at least one token.
        block_size: the number of tokens a cache slot holds.
        sampler: samples the next tokens.
        detokenizer: turns them into text and checks the stopping conditions.
        logprobs: how many of the most likely tokens to return with each sampled token; None: no log-probabilities.
        prompt_logprobs: whether to return the log-probabilities of the prompt's tokens.
        edits: changes to activations.

    Attributes:
        window_start: index of the first token in the context window.
        num_cached: tokens of the window that are in the cache slot.
        slot: the cache slot; None while the sequence waits for one.
        admission_order: position among all sequences in order of admission to a slot.
        last_prefill: the call in which it last computed prompt tokens.
        prefix_source: an earlier sequence that is computing a prefix of this one, which this one waits for.
        shared_prefix: the length of that prefix in tokens.
        is_finished: no more tokens are needed.
        error: what ended it before its text was complete.
        prompt_scores: log-probabilities of the prompt's tokens so far.
    """

    def __init__(
        self,
        token_ids: TokenIds,
        block_size: int,
        sampler: Sampler,
        detokenizer: IncrementalDetokenizer,
        *,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        edits: Edits | None = None,
    ) -> None:
        self.token_ids = list(token_ids)
        self.num_prompt_tokens = len(self.token_ids)
        self.block_size = block_size
        self.sampler, self.detokenizer = sampler, detokenizer
        self._stop_ids = sampler.stop_ids
        self.context_overflow = sampler.params.context_overflow
        self.max_tokens = sampler.params.max_tokens
        self.logprobs, self.prompt_logprobs = logprobs, prompt_logprobs
        self.edits = edits
        self.window_start = window_start(len(self.token_ids), block_size, self.context_overflow)
        self.num_cached = self.last_prefill = self.admission_order = self.shared_prefix = 0
        self.slot: int | None = None
        self.prefix_source: Sequence | None = None
        self.is_finished = False
        self.error: Exception | None = None
        self.prompt_scores: list[TokenLogprobs | None] = [None] * (self.window_start + 1) if prompt_logprobs else []

    @property
    def num_uncomputed(self) -> int:
        """Tokens of the window that are not in the cache yet; at 1, the next token can be sampled."""
        return len(self.token_ids) - self.window_start - self.num_cached

    @property
    def is_prefill(self) -> bool:
        """Whether no token has been sampled yet."""
        return len(self.token_ids) == self.num_prompt_tokens

    @property
    def scores_prompt(self) -> bool:
        """Whether the next call scores prompt tokens."""
        return self.prompt_logprobs and self.is_prefill and self.num_uncomputed > 1

    @property
    def num_remaining(self) -> int | None:
        """Tokens that may still be sampled; None without a limit."""
        if self.max_tokens is None:
            return None
        return self.max_tokens - (len(self.token_ids) - self.num_prompt_tokens)

    @property
    def cache_key(self) -> tuple[str, int] | None:
        """Sequences share prefixes only if this is equal: what else than its tokens decides what the cache holds."""
        if self.edits is None:
            return None
        return self.edits.key, self.window_start if self.edits.are_local else 0

    @property
    def cached_ids(self) -> list[int]:
        """The tokens in the cache slot."""
        return self.token_ids[self.window_start : self.window_start + self.num_cached]

    def move_window(self) -> None:
        """Move the window if the sequence has outgrown it; the cache is then empty."""
        start = window_start(len(self.token_ids), self.block_size, self.context_overflow)
        if start != self.window_start:
            self.window_start, self.num_cached = start, 0

    def append(self, token_ids: TokenIds) -> None:
        """Add sampled tokens; all but the last are in the cache."""
        self.token_ids.extend(token_ids)
        self.num_cached = len(self.token_ids) - self.window_start - 1

    def model_input(self, max_tokens: int) -> ModelInput:
        """The next call's input: up to `max_tokens` of the uncomputed tokens."""
        # A sequence with prompt_logprobs has its prompt scored first, and samples in a later call.
        assert self.slot is not None
        scores_prompt = self.scores_prompt
        num_uncomputed = self.num_uncomputed - scores_prompt
        count = min(max_tokens, num_uncomputed)
        first = self.window_start + self.num_cached
        samples = count == num_uncomputed and not scores_prompt
        return ModelInput(
            slot=self.slot,
            position=self.num_cached,
            ids=self.token_ids[first : first + count],
            num_outputs=count if scores_prompt else int(samples),
            sampler=self.sampler if samples else None,
            targets=self.token_ids[first + 1 : first + 1 + count] if scores_prompt else (),
            sample_position=len(self.token_ids),
            logprobs=self.logprobs,
            edits=self.edits,
            window_start=self.window_start,
        )

    def process_output(self, model_input: ModelInput, output: ModelOutput) -> RequestOutput | None:
        """Decode the tokens of a call and apply the stopping conditions; None if there is nothing for the reader.

        Tokens after the end of the text are dropped. Sets `is_finished`, `error` and `prompt_scores`; the scheduler
        appends the tokens.
        """
        if model_input.targets and output.error is None:
            self.prompt_scores += output.logprobs
            return None
        detokenizer, texts = self.detokenizer, []
        for token_id in output.token_ids:
            texts.append(detokenizer.finish("stop") if token_id in self._stop_ids else detokenizer.add(token_id))
            if detokenizer.finish_reason is not None:
                break
        num_tokens = len(texts)
        length = len(self.token_ids) + num_tokens
        if detokenizer.finish_reason is None:
            if output.error is not None:
                self.error = output.error
                if isinstance(output.error, NoTokenError) and self.edits is not None:
                    self.error = UsageError(
                        "the interventions are too large: the logits are not finite; use smaller ones"
                    )
                elif isinstance(output.error, NoTokenError):
                    self.error = CheckpointError(f"the model's weights are damaged, at token {length}: {output.error}")
            elif texts and self.context_overflow == "stop" and length > self.block_size:
                texts.append(detokenizer.finish("length"))
        self.is_finished = self.error is not None or detokenizer.finish_reason is not None
        if not texts:
            return None
        token_ids, logprobs = output.token_ids[:num_tokens], output.logprobs[:num_tokens]
        return RequestOutput(texts, token_ids, detokenizer.finish_reason, logprobs)
