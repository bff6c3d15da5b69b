"""The engine's inputs and outputs: a prompt, chunks of generated text, and a completion."""

from collections.abc import Sequence
from dataclasses import dataclass

from inkhorn.inference.sampling import TokenLogprobs
from inkhorn.inference.stopping import FinishReason
from inkhorn.tokenizer.normalize import UnknownCharacter


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt.

    Attributes:
        text: the text, after replacement of characters outside the vocabulary.
        token_ids: its tokens, at least one: an empty prompt becomes the beginning-of-text token.
        unknown: the characters that were replaced or dropped.
    """

    text: str
    token_ids: tuple[int, ...]
    unknown: tuple[UnknownCharacter, ...] = ()


@dataclass(frozen=True)
class TokenChunk:
    """One step of a streamed completion.

    Attributes:
        text: new text; empty while characters are held back, because they may belong to a stop string.
        token_id: the sampled token; None if the text ended without one.
        finish_reason: set on the last chunk.
        logprobs: log-probabilities at this token, if requested.
    """

    text: str
    token_id: int | None
    finish_reason: FinishReason | None
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True)
class Completion:
    """A generated text.

    Attributes:
        text: the text after the prompt.
        token_ids: the sampled tokens.
        finish_reason: "stop" (a stop string, stop token or end of sentence) or "length" (a limit was reached).
        logprobs: for each sampled token, if requested.
        prompt_logprobs: for each prompt token, if requested; None for the first token in the context window, which has
            no context, and for those before it.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Number of sampled tokens."""
        return len(self.token_ids)

    @classmethod
    def from_chunks(
        cls,
        chunks: Sequence[TokenChunk],
        finish_reason: FinishReason,
        prompt_logprobs: tuple[TokenLogprobs | None, ...] = (),
    ) -> "Completion":
        """Join the chunks of a text."""
        return cls(
            "".join(chunk.text for chunk in chunks),
            tuple(chunk.token_id for chunk in chunks if chunk.token_id is not None),
            finish_reason,
            tuple(chunk.logprobs for chunk in chunks if chunk.logprobs is not None),
            prompt_logprobs,
        )
