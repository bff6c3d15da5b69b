"""What may be shown of a text as it grows, and where it ends: against a definition that sees the whole text at once."""

import random
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.stopping import IncrementalDetokenizer


def run(
    params: SamplingParams, tokens: list[bytes], prompt: str = "", end: bool = True
) -> tuple[list[str], str | None]:
    """Push tokens until the text ends; returns what was shown after each, and why it ended.

    A text that goes on is ended from outside, as an end-of-text token would.
    """
    detokenizer, shown = IncrementalDetokenizer(params, tokens, prompt), []
    for token in range(len(tokens)):
        shown.append(detokenizer.add(token))
        assert detokenizer.num_tokens == token + 1
        if detokenizer.finish_reason is not None:
            return shown, detokenizer.finish_reason
    if not end:
        return shown, None
    shown.append(detokenizer.finish("stop"))
    return shown, "end of text"


def bytes_of(text: str) -> list[bytes]:
    return [character.encode() for character in text]


def text_of(params: SamplingParams, text: str, prompt: str = "") -> tuple[str, str | None]:
    shown, reason = run(params, bytes_of(text), prompt)
    return "".join(shown), reason


# The definition


def unfinished(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character."""
    for count in (1, 2, 3):
        try:
            data[-count:].decode()
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return count
    return 0


def naive(params: SamplingParams, tokens: list[bytes], prompt: str) -> tuple[str, str]:
    """The whole text is there; every rule is tried on each beginning of it, from the shortest on."""
    data = b"".join(tokens if params.max_tokens is None else tokens[: params.max_tokens])
    text = data[: len(data) - unfinished(data)].decode("utf-8", "replace")
    for n in range(1, len(text) + 1):
        before, last = text[: n - 1], text[n - 1]
        if last.isspace() and (params.max_words is not None or params.end_at_sentence):
            here = prompt + before
            in_word = here != "" and not here[-1].isspace()
            begun = re.findall(r"\S+", here)
            old = re.findall(r"\S+", prompt)
            enough = in_word and len(begun) - len(old) >= (params.max_words or 0)
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


def cut(data: bytes, seed: int) -> list[bytes]:
    """The same bytes in tokens of one to four, wherever characters begin."""
    rng, tokens = random.Random(seed), []
    while data:
        size = rng.randint(1, 4)
        tokens.append(data[:size])
        data = data[size:]
    return tokens


def check(params: SamplingParams, tokens: list[bytes], prompt: str) -> None:
    expected, expected_reason = naive(params, tokens, prompt)
    shown, reason = run(params, tokens, prompt)
    assert ("".join(shown), reason) == (expected, expected_reason)
    assert not any(stop in expected for stop in params.stop)
    so_far = ""
    for chunk in shown:
        so_far += chunk
        assert expected.startswith(so_far), "something was shown that had to be taken back"


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
    check(params, cut(text.encode(), seed), prompt)


@settings(max_examples=200)
@given(
    text=st.text("aé日😀 .’\u3000", max_size=30),
    seed=st.integers(0, 9),
    params=st.builds(
        SamplingParams, stop=st.lists(st.text("aé日😀 ", min_size=1, max_size=3), max_size=3).map(tuple), **limits
    ),
)
def test_streaming_multibyte_equals_definition(text: str, seed: int, params: SamplingParams) -> None:
    check(params, cut(text.encode(), seed), "")


@given(data=st.binary(max_size=20), seed=st.integers(0, 9), count=st.none() | st.integers(1, 12))
def test_invalid_utf8(data: bytes, seed: int, count: int | None) -> None:
    check(SamplingParams(max_tokens=count, stop=("\ufffd\ufffd",)), cut(data, seed), "")


@given(text=few, stop=stops)
def test_characters_are_not_delayed(text: str, stop: tuple[str, ...]) -> None:
    """What is held back is always the beginning of a stop string, and the longest there is."""
    detokenizer = IncrementalDetokenizer(SamplingParams(stop=stop), bytes_of(text))
    seen = shown = ""
    for token, character in enumerate(text):
        seen += character
        shown += detokenizer.add(token)
        if detokenizer.finish_reason is not None:
            return
        held = seen[len(shown) :]
        beginnings = [seen[-n:] for n in range(1, len(seen) + 1) if any(s.startswith(seen[-n:]) for s in stop)]
        assert held == max(beginnings, key=len, default="")


# Stop strings


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one END two", ("END",), "one "),
        ("ENDone", ("END",), ""),
        ("EENDone", ("END",), "E"),
        ("ENEND", ("END",), "EN"),
        ("abababac", ("ababac",), "ab"),  # overlaps itself: a matcher that starts over would miss it
        ("aaaab", ("aab",), "aa"),
        ("xabcd", ("abcd", "bc"), "xa"),  # the one that is whole first
        ("xabc", ("abc", "c", "bc"), "x"),  # all whole at once: the longest
        ("xabc", ("abcd", "ab"), "x"),  # one the beginning of the other
        ("xay", ("ab",), "xay"),
        ("xa", ("ab",), "xa"),  # held until the end, and then shown
        ("é日😀!", ("日😀",), "é"),
        ("A\n\nB", ("\n\n",), "A"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_stop_strings(text: str, stop: tuple[str, ...], expected: str, size: int) -> None:
    data = text.encode()
    tokens = [data[i : i + size] for i in range(0, len(data), size)]
    shown, reason = run(SamplingParams(stop=stop), tokens)
    assert "".join(shown) == expected
    assert reason == ("end of text" if expected == text else "stop")


def test_stop_string_in_the_prompt() -> None:
    assert text_of(SamplingParams(stop=("ab",)), "bb", prompt="a") == ("bb", "end of text")


def test_partial_stop_string_is_held_back() -> None:
    shown, reason = run(SamplingParams(stop=("\n\n",)), bytes_of("a\nb\n\nc"))
    assert shown == ["a", "", "\nb", "", ""]
    assert reason == "stop"


def test_long_stop_string() -> None:
    text = "ab" * 10_000
    assert text_of(SamplingParams(stop=("ab" * 50 + "c",)), text) == (text, "end of text")


# Characters


def test_multibyte_character() -> None:
    shown, _ = run(SamplingParams(), [b"\xf0\x9f", b"\x98", b"\x80a\xc3", b"\xa9"])
    assert shown == ["", "", "😀a", "é", ""]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_incomplete_character_is_dropped(reason: str) -> None:
    params = SamplingParams(max_tokens=2 if reason == "length" else None)
    shown, _ = run(params, [b"a", b"\xf0\x9f\x98"])
    assert "".join(shown) == "a"


# Words


def count_new(prompt: str, text: str) -> int:
    """Words that begin in the text."""
    return len((prompt + text).split()) - len(prompt.split())


@pytest.mark.parametrize("prompt", ["", "ROMEO:", "ROMEO:\n", "to be or n", "  "])
@pytest.mark.parametrize("words", [1, 2, 3, 7])
def test_max_words(prompt: str, words: int) -> None:
    text = "ot to\nbe -- that's\n\n\tthe question:  whether 'tis nobler in the mind "
    got, reason = text_of(SamplingParams(max_words=words), text, prompt)
    assert count_new(prompt, got) == words
    assert reason == "length"
    assert text.startswith(got)
    assert text[len(got)].isspace()
    assert not got[-1].isspace(), "the last word is whole, and nothing follows it"


@pytest.mark.parametrize(
    ("prompt", "text", "words", "expected"),
    [
        ("", "one two three ", 2, "one two"),
        ("", "  one two ", 1, "  one"),
        ("to b", "e or not ", 1, "e or"),  # the rest of the prompt's word is no new word
        ("to b", "e or not ", 2, "e or not"),
        ("to be", " or not ", 1, " or"),
        ("to be ", "or not ", 1, "or"),
        ("to be", "; ", 1, "; "),  # only marks: they belong to the prompt's word
        ("", "one", 1, "one"),  # ended before a space could show that the word is whole
        ("", "one\u00a0two\u2003three", 2, "one\u00a0two"),  # every white space of Unicode parts words
        ("", "a - b ", 2, "a -"),
    ],
)
def test_word_count(prompt: str, text: str, words: int, expected: str) -> None:
    assert text_of(SamplingParams(max_words=words), text, prompt)[0] == expected


def test_no_word_limit() -> None:
    text = "one two. Three! " * 50
    assert text_of(SamplingParams(), text) == (text, "end of text")


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
        ("Who goes the", "re? I. ", None, "re?"),  # it ends the sentence that the prompt began
        ("Who goes the", "re? I. ", 1, "re? I."),
        ("Enough.", " Go. ", None, " Go."),  # the prompt's own end does not count
        ("Enough.", "' Go. ", None, "' Go."),
        ("", "Never ends ", None, "Never ends "),
    ],
)
def test_sentences(prompt: str, text: str, words: int | None, expected: str) -> None:
    got, reason = text_of(SamplingParams(end_at_sentence=True, max_words=words), text, prompt)
    assert got == expected
    assert reason == ("end of text" if got == text else "stop")


# Tokens, and the end from outside


@pytest.mark.parametrize("count", [1, 2, 5])
def test_max_tokens(count: int) -> None:
    shown, reason = run(SamplingParams(max_tokens=count), [b"to ", b"be", b" or", b" not", b" to", b" be"])
    assert len(shown) == count
    assert reason == "length"
    assert "".join(shown) == "to be or not to be"[: len("".join(shown))]


def test_max_tokens_releases_held_back_text() -> None:
    assert run(SamplingParams(max_tokens=3, stop=("abcd",)), bytes_of("abcd")) == (["", "", "abc"], "length")


def test_stop_string_in_the_last_token() -> None:
    assert run(SamplingParams(max_tokens=2, stop=("b",)), bytes_of("abc")) == (["a", ""], "stop")


def test_text_after_the_stop_is_dropped() -> None:
    assert run(SamplingParams(max_words=2), [b"one two three four"]) == (["one two"], "length")
    assert run(SamplingParams(stop=("two",)), [b"one two three"]) == (["one "], "stop")


def test_finish_releases_held_back_text() -> None:
    detokenizer = IncrementalDetokenizer(SamplingParams(stop=("abc",)), bytes_of("ab"))
    assert detokenizer.add(0) + detokenizer.add(1) == ""
    assert detokenizer.finish("stop") == "ab"
    assert detokenizer.finish_reason == "stop"


def test_num_words() -> None:
    detokenizer = IncrementalDetokenizer(SamplingParams(), bytes_of("e or not"), "to b")
    for token in range(8):
        detokenizer.add(token)
    assert detokenizer.num_words == 2
