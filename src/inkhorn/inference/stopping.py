"""Incremental detokenization and stopping conditions.

Text that was returned is never revised: bytes are held back until they form a complete character, and characters while
they may be the beginning of a stop string.
"""

from collections.abc import Callable
from typing import Literal

from inkhorn.config.sampling import SamplingParams

FinishReason = Literal["stop", "length"]
"""stop: a stop string, a stop token or the end of a sentence; length: the limit of tokens, words or context."""

_SENTENCE_ENDS = ".!?"
_CLOSING = "'\")]\u2019\u201d"  # allowed between the end of a sentence and the space after it


class IncrementalDetokenizer:
    """Turns the tokens of one sequence into text, and checks the stopping conditions.

    Text that no condition concerns is passed on without a look at its characters.

    A word is a run of characters without whitespace. Words are counted where they begin, so the rest of a word that the
    prompt left unfinished is not a new word. With `max_words` the text ends once whitespace shows that the last allowed
    word is complete.

    Args:
        params: the limits and stop strings.
        decode: takes a token and returns the text that it completes (`Tokenizer.decode_stream`).
        prompt: the text before the first token.

    Attributes:
        finish_reason: None while the text may continue.
        num_tokens: tokens so far.
        num_words: words begun so far; counted if `params` has a limit of words or sentences.
    """

    def __init__(self, params: SamplingParams, decode: Callable[[int], str], prompt: str = "") -> None:
        self.params, self._decode = params, decode
        self.finish_reason: FinishReason | None = None
        self.num_tokens = self.num_words = 0
        self._max_tokens = params.max_tokens
        self._counts_words = params.max_words is not None or params.end_at_sentence
        self._stop_starts = frozenset(stop[0] for stop in params.stop)
        self._matchers = [_StopMatcher(stop) for stop in params.stop]
        self._held = ""  # may be the beginning of a stop string
        self._in_word = prompt != "" and not prompt[-1].isspace()
        self._ends_sentence = False  # whitespace after this would end a sentence

    def add(self, token_id: int) -> str:
        """Add a token; returns the new text."""
        self.num_tokens += 1
        text = self._decode(token_id)
        if self._counts_words or self._held or not self._stop_starts.isdisjoint(text):
            text = self._check_characters(text)
        if self.finish_reason is None:
            if self.num_tokens != self._max_tokens:
                return text
            self.finish_reason = "length"
        return text + self._release()

    def _check_characters(self, text: str) -> str:
        """Apply the stopping conditions to new text; returns the part that is ready."""
        ready = []
        for character in text:
            if self._counts_words and self._ends_with(character):
                break
            if not self.params.stop or self.num_tokens < self.params.min_tokens:  # no stop string to wait for
                ready.append(character)
                continue
            self._held += character
            for matcher in self._matchers:
                matcher.add(character)
            stop = max((len(each.stop) for each in self._matchers if each.is_complete), default=0)
            if stop:
                self._held = self._held[:-stop]
                self.finish_reason = "stop"
                break
            waiting = max(matcher.length for matcher in self._matchers)
            ready.append(self._held[: len(self._held) - waiting])
            self._held = self._held[len(self._held) - waiting :]
        return "".join(ready)

    def finish(self, reason: FinishReason) -> str:
        """End the text; returns what was held back. An incomplete character is dropped."""
        self.finish_reason = reason
        return self._release()

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held

    def _ends_with(self, character: str) -> bool:
        """Count words and sentences; True if the text ends before this character."""
        params = self.params
        if not character.isspace():
            self.num_words += not self._in_word
            self._in_word = True
            self._ends_sentence = character in _SENTENCE_ENDS or (self._ends_sentence and character in _CLOSING)
            return False
        enough = self._in_word and self.num_words >= (params.max_words or 0)
        sentence, self._in_word, self._ends_sentence = self._ends_sentence, False, False
        if not enough or (params.end_at_sentence and not sentence):
            return False
        self.finish_reason = "stop" if params.end_at_sentence else "length"
        return True


class _StopMatcher:
    """Finds a stop string in a text that comes character by character, in constant time for each on average.

    The algorithm of Knuth, Morris and Pratt (1977).

    Attributes:
        length: of the longest end of the text that is a beginning of the stop string.
    """

    def __init__(self, stop: str) -> None:
        self.stop, self.length = stop, 0
        # For each beginning of the stop string, the length of its longest shorter end that is a beginning, too.
        self._shorter = [0]
        length = 0
        for character in stop[1:]:
            while length and stop[length] != character:
                length = self._shorter[length - 1]
            length += stop[length] == character
            self._shorter.append(length)

    @property
    def is_complete(self) -> bool:
        """Whether the text ends with the stop string."""
        return self.length == len(self.stop)

    def add(self, character: str) -> None:
        length = self._shorter[-1] if self.is_complete else self.length
        while length and self.stop[length] != character:
            length = self._shorter[length - 1]
        self.length = length + (self.stop[length] == character)
