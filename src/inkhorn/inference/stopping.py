"""From tokens to text that may be shown, and when a text is finished.

Shown text is never taken back: bytes wait until they are a whole character, and characters wait while they may yet turn
out to be the beginning of a stop string.
"""

import codecs
from collections.abc import Sequence
from typing import Literal

from inkhorn.config.sampling import SamplingParams

FinishReason = Literal["stop", "length"]
"""stop: a stop string, the end of a sentence or the end-of-text token; length: the limit of tokens, words or block."""

_SENTENCE_ENDS = ".!?"
_CLOSING = "'\")]\u2019\u201d"  # may stand between a sentence's end and the space after it


class TextStream:
    """The text of one sequence as it grows.

    A word is a run of characters without white space. Words are counted where they begin, so the rest of a word that
    the prompt left unfinished is no new word; the text ends with the last word that `max_words` allows, once a white
    space shows that it is complete.

    Args:
        params: the limits and stop strings.
        token_bytes: each token's text in UTF-8.
        prompt: the text before.

    Attributes:
        finish_reason: None as long as the text may go on.
        tokens: how many tokens came in.
        words: how many words were begun.

    """

    def __init__(self, params: SamplingParams, token_bytes: Sequence[bytes], prompt: str = "") -> None:
        self.params, self.token_bytes = params, token_bytes
        self.finish_reason: FinishReason | None = None
        self.tokens = self.words = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may be the beginning of a stop string
        self._in_word = prompt != "" and not prompt[-1].isspace()
        self._ends_sentence = False  # the last characters would end a sentence if a space followed

    def push(self, token: int) -> str:
        """Take in a token; returns the text that may now be shown."""
        self.tokens += 1
        shown = []
        for character in self._decoder.decode(self.token_bytes[token]):
            if self._ends_with(character):
                break
            if not self.params.stop or self.tokens < self.params.min_tokens:  # nothing to hold back for
                shown.append(character)
                continue
            self._held += character
            stop = self._stop_string()
            if stop:
                self._held = self._held[: -len(stop)]
                self.finish_reason = "stop"
                break
            waiting = self._may_become_stop()
            shown.append(self._held[: len(self._held) - waiting])
            self._held = self._held[len(self._held) - waiting :]
        if self.finish_reason is None and self.params.max_tokens == self.tokens:
            self.finish_reason = "length"
        if self.finish_reason is not None:
            shown.append(self._release())
        return "".join(shown)

    def finish(self, reason: FinishReason) -> str:
        """End the text from outside; returns what was held back. An unfinished character is dropped."""
        self.finish_reason = reason
        return self._release()

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held

    def _ends_with(self, character: str) -> bool:
        """Count words and sentences; True if the text ends before this character."""
        params = self.params
        if not character.isspace():
            self.words += not self._in_word
            self._in_word = True
            self._ends_sentence = character in _SENTENCE_ENDS or (self._ends_sentence and character in _CLOSING)
            return False
        enough = self._in_word and self.words >= (params.max_words or 0)
        sentence, self._in_word, self._ends_sentence = self._ends_sentence, False, False
        if not enough or (params.max_words is None and not params.end_at_sentence):
            return False
        if params.end_at_sentence and not sentence:
            return False
        self.finish_reason = "stop" if params.end_at_sentence else "length"
        return True

    def _stop_string(self) -> str:
        """The longest stop string that the held text ends with, or none."""
        return max((stop for stop in self.params.stop if self._held.endswith(stop)), key=len, default="")

    def _may_become_stop(self) -> int:
        """Length of the longest end of the held text that a stop string begins with."""
        longest = max((len(stop) for stop in self.params.stop), default=0)
        for length in range(min(len(self._held), longest - 1), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self.params.stop):
                return length
        return 0
