"""Incremental detokenization and stop conditions, against a definition that sees the complete text."""

import random
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.stopping import IncrementalDetokenizer
from inkhorn.tokenizer.base import utf8_stream


def run(
    params: SamplingParams, tokens: list[bytes], prompt: str = "", end: bool = True
) -> tuple[list[str], str | None]:
    """Add tokens until a stop condition; return the text released by each and the finish reason.

    Without a stop condition the text is finished as by an end-of-text token, unless `end` is false.
    """
    detokenizer, released = IncrementalDetokenizer(params, utf8_stream(tokens), prompt), []
    for token in range(len(tokens)):
        released.append(detokenizer.add(token))
        assert detokenizer.num_tokens == token + 1
        if detokenizer.finish_reason is not None:
            return released, detokenizer.finish_reason
    if not end:
        return released, None
    released.append(detokenizer.finish("stop"))
    return released, "end of text"


def char_tokens(text: str) -> list[bytes]:
    return [character.encode() for character in text]


def complete(params: SamplingParams, text: str, prompt: str = "") -> tuple[str, str | None]:
    released, reason = run(params, char_tokens(text), prompt)
    return "".join(released), reason


# Definition


def incomplete_bytes(data: bytes) -> int:
    """Number of bytes at the end that are an incomplete character."""
    for count in (1, 2, 3):
        try:
            data[-count:].decode()
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return count
    return 0


def definition(params: SamplingParams, tokens: list[bytes], prompt: str) -> tuple[str, str]:
    """The text and finish reason, found by applying every rule to each prefix of the complete text."""
    data = b"".join(tokens if params.max_tokens is None else tokens[: params.max_tokens])
    text = data[: len(data) - incomplete_bytes(data)].decode("utf-8", "replace")
    for n in range(1, len(text) + 1):
        before, last = text[: n - 1], text[n - 1]
        if last.isspace() and (params.max_words is not None or params.end_at_sentence):
            so_far = prompt + before
            in_word = so_far != "" and not so_far[-1].isspace()
            num_words = len(so_far.split()) - len(prompt.split())
            enough = in_word and num_words >= (params.max_words or 0)
            sentence = re.search(r"[.!?]['\")\]’”]*$", before) is not None
            if enough and (sentence or not params.end_at_sentence):
                return before, "stop" if params.end_at_sentence else "length"
        ending = [stop for stop in params.stop if text[:n].endswith(stop)]
        if ending:
            return text[: n - max(map(len, ending))], "stop"
    return text, "length" if params.max_tokens is not None and len(tokens) >= params.max_tokens else "end of text"


few = st.text("ab \n.'", max_size=40)
stops = st.lists(st.text("ab .'", min_size=1, max_size=5), max_size=4).map(tuple)
limits: dict[str, Any] = {
    "max_tokens": st.none() | st.integers(1, 30),
    "max_words": st.none() | st.integers(1, 6),
    "end_at_sentence": st.booleans(),
}


def random_tokens(data: bytes, seed: int) -> list[bytes]:
    """Split bytes into tokens of 1 to 4 bytes, also within characters."""
    rng, tokens = random.Random(seed), []
    while data:
        size = rng.randint(1, 4)
        tokens.append(data[:size])
        data = data[size:]
    return tokens


def check(params: SamplingParams, tokens: list[bytes], prompt: str) -> None:
    expected, expected_reason = definition(params, tokens, prompt)
    released, reason = run(params, tokens, prompt)
    assert ("".join(released), reason) == (expected, expected_reason)
    assert not any(stop in expected for stop in params.stop)
    so_far = ""
    for chunk in released:
        so_far += chunk
        assert expected.startswith(so_far), "released text is final"


@settings(max_examples=400)
@given(
    text=few,
    prompt=st.sampled_from(["", "a", "a ", "a.", "a\n"]),
    seed=st.integers(0, 9),
    params=st.builds(SamplingParams, stop=stops, **limits),
)
@example(text="aabaaabaaab", prompt="", seed=0, params=SamplingParams(stop=("aabaab", "aaab")))
@example(text="aaaa.' a", prompt="a", seed=0, params=SamplingParams(stop=("ab",), end_at_sentence=True))
def test_streaming_equals_definition(text: str, prompt: str, seed: int, params: SamplingParams) -> None:
    check(params, random_tokens(text.encode(), seed), prompt)


@settings(max_examples=200)
@given(
    text=st.text("aé日😀 .’\u3000", max_size=30),
    seed=st.integers(0, 9),
    params=st.builds(
        SamplingParams, stop=st.lists(st.text("aé日😀 ", min_size=1, max_size=3), max_size=3).map(tuple), **limits
    ),
)
def test_streaming_multibyte_equals_definition(text: str, seed: int, params: SamplingParams) -> None:
    check(params, random_tokens(text.encode(), seed), "")


@given(data=st.binary(max_size=20), seed=st.integers(0, 9), count=st.none() | st.integers(1, 12))
def test_invalid_utf8(data: bytes, seed: int, count: int | None) -> None:
    check(SamplingParams(max_tokens=count, stop=("\ufffd\ufffd",)), random_tokens(data, seed), "")


@given(text=few, stop=stops)
def test_characters_are_not_delayed(text: str, stop: tuple[str, ...]) -> None:
    """The text held back is the longest suffix that is a prefix of a stop string."""
    detokenizer = IncrementalDetokenizer(SamplingParams(stop=stop), utf8_stream(char_tokens(text)))
    seen = released = ""
    for token, character in enumerate(text):
        seen += character
        released += detokenizer.add(token)
        if detokenizer.finish_reason is not None:
            return
        held = seen[len(released) :]
        prefixes = [seen[-n:] for n in range(1, len(seen) + 1) if any(s.startswith(seen[-n:]) for s in stop)]
        assert held == max(prefixes, key=len, default="")


# Stop strings


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one END two", ("END",), "one "),
        ("ENDone", ("END",), ""),
        ("EENDone", ("END",), "E"),
        ("ENEND", ("END",), "EN"),
        ("abababac", ("ababac",), "ab"),  # the stop string overlaps itself
        ("aaaab", ("aab",), "aa"),
        ("xabcd", ("abcd", "bc"), "xa"),  # the first complete match
        ("xabc", ("abc", "c", "bc"), "x"),  # complete at the same position: the longest
        ("xabc", ("abcd", "ab"), "x"),  # one is a prefix of the other
        ("xay", ("ab",), "xay"),
        ("xa", ("ab",), "xa"),  # held back until the end
        ("é日😀!", ("日😀",), "é"),
        ("A\n\nB", ("\n\n",), "A"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_stop_strings(text: str, stop: tuple[str, ...], expected: str, size: int) -> None:
    data = text.encode()
    tokens = [data[i : i + size] for i in range(0, len(data), size)]
    released, reason = run(SamplingParams(stop=stop), tokens)
    assert "".join(released) == expected
    assert reason == ("end of text" if expected == text else "stop")


def test_stop_string_in_the_prompt() -> None:
    assert complete(SamplingParams(stop=("ab",)), "bb", prompt="a") == ("bb", "end of text")


def test_partial_stop_string_is_held_back() -> None:
    released, reason = run(SamplingParams(stop=("\n\n",)), char_tokens("a\nb\n\nc"))
    assert released == ["a", "", "\nb", "", ""]
    assert reason == "stop"


def test_long_stop_string() -> None:
    text = "ab" * 10_000
    assert complete(SamplingParams(stop=("ab" * 50 + "c",)), text) == (text, "end of text")


# Characters


def test_multibyte_character() -> None:
    released, _ = run(SamplingParams(), [b"\xf0\x9f", b"\x98", b"\x80a\xc3", b"\xa9"])
    assert released == ["", "", "😀a", "é", ""]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_incomplete_character_is_dropped(reason: str) -> None:
    params = SamplingParams(max_tokens=2 if reason == "length" else None)
    released, _ = run(params, [b"a", b"\xf0\x9f\x98"])
    assert "".join(released) == "a"


# Words


def count_new(prompt: str, text: str) -> int:
    """Number of words that start in the text."""
    return len((prompt + text).split()) - len(prompt.split())


@pytest.mark.parametrize("prompt", ["", "ROMEO:", "ROMEO:\n", "to be or n", "  "])
@pytest.mark.parametrize("words", [1, 2, 3, 7])
def test_max_words(prompt: str, words: int) -> None:
    text = "ot to\nbe -- that's\n\n\tthe question:  whether 'tis nobler in the mind "
    got, reason = complete(SamplingParams(max_words=words), text, prompt)
    assert count_new(prompt, got) == words
    assert reason == "length"
    assert text.startswith(got)
    assert text[len(got)].isspace()
    assert not got[-1].isspace(), "the text ends after a complete word"


@pytest.mark.parametrize(
    ("prompt", "text", "words", "expected"),
    [
        ("", "one two three ", 2, "one two"),
        ("", "  one two ", 1, "  one"),
        ("to b", "e or not ", 1, "e or"),  # the rest of the prompt's last word is not counted
        ("to b", "e or not ", 2, "e or not"),
        ("to be", " or not ", 1, " or"),
        ("to be ", "or not ", 1, "or"),
        ("to be", "; ", 1, "; "),  # punctuation belongs to the prompt's last word
        ("", "one", 1, "one"),  # ends without white space after the word
        ("", "one\u00a0two\u2003three", 2, "one\u00a0two"),  # Unicode white space separates words
        ("", "a - b ", 2, "a -"),
    ],
)
def test_word_count(prompt: str, text: str, words: int, expected: str) -> None:
    assert complete(SamplingParams(max_words=words), text, prompt)[0] == expected


def test_no_word_limit() -> None:
    text = "one two. Three! " * 50
    assert complete(SamplingParams(), text) == (text, "end of text")


# Sentences


@pytest.mark.parametrize(
    ("prompt", "text", "words", "expected"),
    [
        ("", "Go. Come. ", None, "Go."),
        ("", "Go on\nnow! Come. ", None, "Go on\nnow!"),
        ("", "He said 'Go.' Then. ", None, "He said 'Go.'"),
        ("", "(Who?) Then. ", None, "(Who?)"),
        ("", "“Go.”\nThen. ", None, "“Go.”"),
        ("", "3.14 is it. Yes. ", None, "3.14 is it."),
        ("", "Stay... no. ", None, "Stay..."),
        ("", "What, ho: go; now, ' yes. No. ", None, "What, ho: go; now, ' yes."),
        ("", "One two. Three four five. Six. ", 1, "One two."),
        ("", "One two. Three four five. Six. ", 2, "One two."),
        ("", "One two. Three four five. Six. ", 3, "One two. Three four five."),
        ("", "One two. Three four five. Six. ", 6, "One two. Three four five. Six."),
        ("Who goes the", "re? I. ", None, "re?"),  # ends a sentence of the prompt
        ("Who goes the", "re? I. ", 1, "re? I."),
        ("Enough.", " Go. ", None, " Go."),  # the end of the prompt is not a sentence of the text
        ("Enough.", "' Go. ", None, "' Go."),
        ("", "Never ends ", None, "Never ends "),
    ],
)
def test_sentences(prompt: str, text: str, words: int | None, expected: str) -> None:
    got, reason = complete(SamplingParams(end_at_sentence=True, max_words=words), text, prompt)
    assert got == expected
    assert reason == ("end of text" if got == text else "stop")


# Tokens and finish


@pytest.mark.parametrize("count", [1, 2, 5])
def test_max_tokens(count: int) -> None:
    released, reason = run(SamplingParams(max_tokens=count), [b"to ", b"be", b" or", b" not", b" to", b" be"])
    assert len(released) == count
    assert reason == "length"
    assert "".join(released) == "to be or not to be"[: len("".join(released))]


def test_max_tokens_releases_held_back_text() -> None:
    assert run(SamplingParams(max_tokens=3, stop=("abcd",)), char_tokens("abcd")) == (["", "", "abc"], "length")


def test_stop_string_in_the_last_token() -> None:
    assert run(SamplingParams(max_tokens=2, stop=("b",)), char_tokens("abc")) == (["a", ""], "stop")


def test_text_after_the_stop_is_dropped() -> None:
    assert run(SamplingParams(max_words=2), [b"one two three four"]) == (["one two"], "length")
    assert run(SamplingParams(stop=("two",)), [b"one two three"]) == (["one "], "stop")


def test_finish_releases_held_back_text() -> None:
    detokenizer = IncrementalDetokenizer(SamplingParams(stop=("abc",)), utf8_stream(char_tokens("ab")))
    assert detokenizer.add(0) + detokenizer.add(1) == ""
    assert detokenizer.finish("stop") == "ab"
    assert detokenizer.finish_reason == "stop"


def test_num_words() -> None:
    detokenizer = IncrementalDetokenizer(SamplingParams(max_words=9), utf8_stream(char_tokens("e or not")), "to b")
    for token in range(8):
        detokenizer.add(token)
    assert detokenizer.num_words == 2
