"""What goes into the engine and what comes out: a prompt, pieces of text, a whole text."""

from collections.abc import Sequence
from dataclasses import dataclass

from inkhorn.inference.backends.base import TokenLogprobs
from inkhorn.inference.stopping import FinishReason
from inkhorn.tokenizer.normalize import UnknownCharacter


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
    unknown: tuple[UnknownCharacter, ...]


@dataclass(frozen=True)
class Piece:
    """A piece of a text being written.

    Attributes:
        text: new text, which may be empty.
        token: the token that was drawn, or None if the text ended without one.
        finish_reason: set on the last piece.
        logprobs: of the token, if asked for.

    """

    text: str
    token: int | None
    finish_reason: FinishReason | None
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True)
class Completion:
    """A whole text.

    Attributes:
        text: what follows the prompt.
        tokens: how many tokens were drawn.
        finish_reason: why it ended.
        ids: the tokens that were drawn.
        logprobs: of each of them, if asked for.
        prompt_logprobs: of each of the prompt's tokens, if asked for; None where there is none to tell: for the first
            token that the model sees, and those before it.

    """

    text: str
    tokens: int
    finish_reason: FinishReason
    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()

    @classmethod
    def of(
        cls,
        pieces: Sequence[Piece],
        finish_reason: FinishReason,
        prompt_logprobs: tuple[TokenLogprobs | None, ...] = (),
    ) -> "Completion":
        """Join the pieces of a text."""
        ids = tuple(piece.token for piece in pieces if piece.token is not None)
        logprobs = tuple(piece.logprobs for piece in pieces if piece.logprobs is not None)
        text = "".join(piece.text for piece in pieces)
        return cls(text, len(ids), finish_reason, ids, logprobs, prompt_logprobs)
