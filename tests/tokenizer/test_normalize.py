"""Characters outside the vocabulary."""

import string
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.errors import TokenizerError
from inkhorn.tokenizer.normalize import UnknownCharacter, code_points, replace_unknown

# The alphabet of tiny Shakespeare.
KNOWN = frozenset("\n !$&',-.3:;?" + string.ascii_letters)

any_text = st.text(st.characters(codec=None), max_size=60)  # including surrogates: undecodable bytes


def replaced(text: str, known: frozenset[str] = KNOWN) -> str:
    return replace_unknown(text, known.__contains__, "replace")[0]


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("\u2018tis he\u2019s", "'tis he's"),
        ("\u201cHark!\u201d", "'Hark!'"),
        ('"Hark!"', "'Hark!'"),
        ("\u00abHark\u00bb", "'Hark'"),
        ("a\u2014b \u2013 c\u2010d\u2212e", "a--b -- c-d-e"),
        ("well\u2026", "well..."),
        ("café Æneas œuvre Straße", "cafe Aeneas oeuvre Strasse"),
        ("cafe\u0301", "cafe"),  # the accent as a character of its own
        ("ﬁnd the eﬀect ﬄ", "find the effect ffl"),
        ("a\tb", "a b"),
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("\r\r\n\r\n", "\n\n\n"),
        ("a\u00a0b\u2003c\u3000d", "a b c d"),
        ("ROMEO: 😀 I do 👩‍👩‍👧!", "ROMEO:  I do !"),
        ("[aside] (aside)", "aside aside"),
        ("x_y", "x y"),
        ("日本", ""),
        ("\x00\x07", ""),
        ("\ud800a\udcff", "a"),
        ("Ǽǿ", "Aeo"),
        ("", ""),
        ("Plain text, known.\n", "Plain text, known.\n"),
    ],
)
def test_replace(typed: str, written: str) -> None:
    assert replaced(typed) == written


def test_replace_prefers_the_closest_match() -> None:
    assert replaced("“a” — …", KNOWN | {'"'}) == '"a" -- ...'
    assert replaced("[a] (b) {c}", KNOWN | set("[]")) == "[a] [b] [c]"
    assert replaced("é", KNOWN | {"é"}) == "é"
    assert replaced("a…—", frozenset("a")) == "a"
    assert replaced("a\tb\nc", frozenset("abc")) == "abc"


def test_known_line_break_is_kept() -> None:
    """Unknown characters elsewhere do not change the line endings."""
    known = KNOWN | {"\r"}
    assert replaced("a\r\nb é", known) == "a\r\nb e"
    assert replace_unknown("a\r\nb é", known.__contains__, "drop")[0] == "a\r\nb "


def test_drop() -> None:
    normalized, found = replace_unknown("“é”\r\nx\ty", KNOWN.__contains__, "drop")
    assert normalized == "\nxy"
    assert {unknown.replacement for unknown in found} == {""}


def test_report_order_and_counts() -> None:
    normalized, found = replace_unknown("né Zoë né 😀!", KNOWN.__contains__, "replace")
    assert normalized == "ne Zoe ne !"
    assert found == [
        UnknownCharacter("é", 1, 2, "e"),
        UnknownCharacter("ë", 5, 1, "e"),
        UnknownCharacter("😀", 10, 1, ""),
    ]
    assert [str(unknown) for unknown in found] == [
        r"'\xe9' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) at character 1 (2 times): replaced by 'e'",
        r"'\xeb' (U+00EB LATIN SMALL LETTER E WITH DIAERESIS) at character 5: replaced by 'e'",
        r"'\U0001f600' (U+1F600 GRINNING FACE) at character 10: dropped",
    ]


def test_positions_are_those_of_the_input() -> None:
    text = "a\r\nb…c\u2014é"
    for unknown in replace_unknown(text, KNOWN.__contains__, "replace")[1]:
        assert text[unknown.position] == unknown.character


def test_report_is_printable_ascii() -> None:
    _, found = replace_unknown("\x1b[2J\u202e\ud800\x85:", "".__contains__, "drop")
    assert len(found) == 8
    for unknown in found:
        assert str(unknown).isascii()
        assert str(unknown).isprintable()


@pytest.mark.parametrize("policy", ["error", "drop", "replace"])
def test_known_text_is_unchanged(policy: str) -> None:
    text = "O Romeo, Romeo!\n"
    assert replace_unknown(text, KNOWN.__contains__, policy) == (text, [])  # type: ignore[arg-type]
    assert replace_unknown("", KNOWN.__contains__, policy) == ("", [])  # type: ignore[arg-type]


def test_error_names_one_character() -> None:
    with pytest.raises(TokenizerError) as caught:
        replace_unknown("caf\u00e9: caf\u00e9", KNOWN.__contains__, "error")
    name = r"'\xe9' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"
    assert str(caught.value) == f"the vocabulary lacks a character in the text: {name} at character 3 (2 times)"


def test_error_about_a_colon() -> None:
    with pytest.raises(TokenizerError, match=r"in the text: ':' \(U\+003A COLON\) at character 1$"):
        replace_unknown("a:", "a".__contains__, "error")


def test_error_about_many_characters() -> None:
    with pytest.raises(TokenizerError) as caught:
        replace_unknown("".join(chr(0x4E00 + i) for i in range(1000)), KNOWN.__contains__, "error")
    message = str(caught.value)
    assert message.startswith("the vocabulary lacks 1000 different characters in the text: ")
    assert message.endswith("; and 995 more")
    assert message.count("CJK UNIFIED IDEOGRAPH") == 5
    assert "at character 4;" in message
    assert len(message) < 500


def test_unknown_policy() -> None:
    with pytest.raises(TokenizerError, match="error, drop or replace, not 'skip'"):
        replace_unknown("x", KNOWN.__contains__, "skip")  # type: ignore[arg-type]


@given(any_text, st.frozensets(st.characters(codec=None), max_size=8), st.booleans())
def test_result_is_in_the_vocabulary(text: str, others: frozenset[str], latin: bool) -> None:
    known = others | (KNOWN if latin else frozenset())
    for policy in ("drop", "replace"):
        normalized, found = replace_unknown(text, known.__contains__, policy)
        assert set(normalized) <= known
        assert {unknown.character for unknown in found} == set(text) - known
        assert [unknown.position for unknown in found] == sorted(text.index(u.character) for u in found)
        assert all(unknown.count == text.count(unknown.character) for unknown in found)
    assert replace_unknown(text, known.__contains__, "drop")[0] == "".join(c for c in text if c in known)
    if set(text) <= known:
        assert replace_unknown(text, known.__contains__, "error") == (text, [])
    else:
        with pytest.raises(TokenizerError):
            replace_unknown(text, known.__contains__, "error")


def test_accented_latin_letters() -> None:
    for code in range(0xC0, 0x250):
        decomposed = unicodedata.normalize("NFKD", chr(code))
        base, accents = decomposed[0], decomposed[1:]
        if base in string.ascii_letters and all(map(unicodedata.combining, accents)):
            assert replaced(chr(code)) == base, hex(code)


@given(any_text)
def test_code_points(text: str) -> None:
    assert code_points(text).tolist() == [ord(character) for character in text]
    assert code_points(text).dtype == np.uint32
