"""The engine: a prompt goes in, text comes out piece by piece, of any length.

Learned positions cannot slide: when the block is full, the cache is worth nothing for a window that starts elsewhere.
Where the window of n tokens starts is a function of n alone, so a text may be taken up again at any point and goes on
as if it had never been interrupted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.checkpoint import resolve_checkpoint
from inkhorn.config import Overflow, SamplingParams, require
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.runtime.reference import Array, Cache, ReferenceModel
from inkhorn.runtime.sampling import Sampler
from inkhorn.runtime.stopping import FinishReason, TextStream
from inkhorn.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer, require_fit
from inkhorn.unknown import Unknown, UnknownPolicy

PREFILL_CHUNK = 128


@dataclass(frozen=True)
class Prompt:
    """A prompt that a model can start from.

    Attributes:
        text: in characters that the vocabulary has.
        ids: its tokens; never empty, for an empty prompt starts from the beginning-of-text token.
        unknown: characters that were replaced.

    """

    text: str
    ids: tuple[int, ...]
    unknown: tuple[Unknown, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a text being written.

    Attributes:
        text: new text, which may be empty.
        token: the token that was drawn, or None if the text ended without one.
        finish_reason: set on the last piece.

    """

    text: str
    token: int | None
    finish_reason: FinishReason | None


@dataclass(frozen=True)
class Completion:
    """A whole text.

    Attributes:
        text: what follows the prompt.
        tokens: how many tokens were drawn.
        finish_reason: why it ended.

    """

    text: str
    tokens: int
    finish_reason: FinishReason


def window_start(length: int, block_size: int, overflow: Overflow) -> int:
    """The first token that the model sees when a text has `length` tokens.

    `window` moves in strides of half a block, so that most tokens find the cache still good; `exact` keeps the last
    block_size tokens, as nanoGPT does; `stop` never moves.
    """
    beyond = length - block_size
    if beyond <= 0 or overflow == "stop":
        return 0
    stride = 1 if overflow == "exact" else max(1, block_size // 2)
    return -(-beyond // stride) * stride


class Engine:
    """A model and its tokenizer, ready to write.

    Args:
        model: the backend.
        tokenizer: the model's own.

    """

    def __init__(self, model: ReferenceModel, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        require_fit(tokenizer, model.config.vocab_size)
        self.eos = tokenizer.eos_id if model.config.eos_token_id is None else model.config.eos_token_id
        padding = range(tokenizer.vocab_size, model.config.vocab_size)
        self.never = frozenset(tokenizer.piece_ids) | frozenset(padding)

    def prompt(self, text: str, policy: UnknownPolicy = "nearest") -> Prompt:
        """Make a prompt fit the vocabulary; `policy` says what happens to characters that it lacks."""
        fitted, unknown = self.tokenizer.fit(text, policy)
        ids = tuple(self.tokenizer.encode(fitted).tolist())
        if not ids:
            start = self.eos if self.config.bos_token_id is None else self.config.bos_token_id
            if start is None:
                raise UsageError("this model names no token to start from: give a prompt of at least one character")
            ids = (start,)
        return Prompt(fitted, ids, tuple(unknown))

    def stream(self, prompt: Prompt, params: SamplingParams, choice: int = 0) -> Iterator[Piece]:
        """Write a text, one piece per token.

        Args:
            prompt: from `prompt()`.
            params: how, and how long.
            choice: which of several texts for this prompt; each has its own random numbers.

        Raises:
            UsageError: at once, for what this model cannot do.
            CheckpointError: while writing, if the weights are damaged so that no token can be drawn.

        """
        block, vocab = self.config.block_size, self.config.vocab_size
        if params.overflow == "stop" and len(prompt.ids) > block:
            raise UsageError(
                f"the prompt has {len(prompt.ids):,} tokens, the block {block}: with overflow stop it must fit; "
                "shorten it, or use overflow window"
            )
        for token in params.logit_bias:
            require(token < vocab, f"logit_bias: this model has no token {token}, its ids are 0 to {vocab - 1}")
        return self._write(prompt, params, choice)

    def _write(self, prompt: Prompt, params: SamplingParams, choice: int) -> Iterator[Piece]:
        block, eos = self.config.block_size, self.eos
        # Where the text may not end, the end-of-text token cannot be drawn at all: the odds go to the others.
        banned = self.never | ({eos} if params.ignore_eos and eos is not None else frozenset())
        sampler = Sampler(params, choice, prompt.ids, banned)
        stream = TextStream(params, self.tokenizer.token_bytes, prompt.text.rpartition(END_OF_TEXT)[2])
        ids, cache, start = list(prompt.ids), Cache(self.config), 0
        while stream.finish_reason is None:
            if params.overflow == "stop" and len(ids) > block:
                yield Piece(stream.finish("length"), None, "length")
                return
            first = window_start(len(ids), block, params.overflow)
            if first != start:
                start, cache.length = first, 0
            logits = self._take_in(ids[start + cache.length :], cache)
            try:
                token = sampler.draw(logits, len(ids))
            except ValueError as error:
                raise CheckpointError(f"the model's weights are damaged, at token {len(ids)}: {error}") from None
            ids.append(token)
            text = stream.finish("stop") if token == eos else stream.push(token)
            yield Piece(text, token, stream.finish_reason)

    def _take_in(self, ids: list[int], cache: Cache) -> Array:
        """The logits (V,) of what follows, after tokens that the cache does not have yet."""
        for first in range(0, len(ids), PREFILL_CHUNK):
            logits = self.model.forward(ids[first : first + PREFILL_CHUNK], cache)
        return logits[-1]

    def complete(self, prompt: str | Prompt, params: SamplingParams, choice: int = 0) -> Completion:
        """Write a text and return it whole."""
        pieces = list(self.stream(self.prompt(prompt) if isinstance(prompt, str) else prompt, params, choice))
        reason = pieces[-1].finish_reason
        assert reason is not None
        return Completion("".join(p.text for p in pieces), sum(p.token is not None for p in pieces), reason)


def load(model: str | Path = "shakespeare") -> Engine:
    """An engine for a shipped model by its name, a checkpoint folder, or the best checkpoint of a run's folder."""
    folder = resolve_checkpoint(model)
    return Engine(ReferenceModel.from_pretrained(folder), load_tokenizer(folder))


def generate(prompt: str = "", model: str | Path = "shakespeare", **params: Any) -> str:
    """Continue a prompt; `params` are the fields of SamplingParams. Without a limit, 200 tokens."""
    limits = (params.get("max_tokens"), params.get("max_words"), params.get("end_at_sentence") or None)
    if all(limit is None for limit in limits):  # a limit of 0 is refused, not left out
        params["max_tokens"] = 200
    return load(model).complete(prompt, SamplingParams(**params)).text
