"""Layout and opening words of a training text."""

from pathlib import Path

import pytest

from inkhorn.data.dataset import Dataset, tokenize_to_disk
from inkhorn.data.openings import describe
from inkhorn.data.text import TextSource
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.bpe import train_bpe

NAMES = ["FIRST LORD", "SECOND LORD", "KING", "FOOL", "MESSENGER"]
PLAY = "".join(f"{NAMES[i * i % 5]}:\nSpeech number {i} is here,\nand it has two lines.\n\n" for i in range(600))
SENTENCES = ["Call me Ishmael, some years ago.", "It was the best of times, or so.", "All happy families are alike."]
SENTENCES += ["Once upon a time there was a fox.", "Marley was dead, to begin with."]
PROSE = "# Heading\n\n" + "".join(f"{SENTENCES[i % 5]} Line {i}\nand more of it.\n\n" for i in range(600))
CODE = "".join(f"def function_{i}(x):\n    return x + {i}\n\n\n" for i in range(600))
CHINESE = "汉字的文章没有空格。" * 40 + "\n\n" + "这是第二段，也没有空格。" * 40
LINES = "".join(f"{SENTENCES[i % 5]} Line {i}\n" for i in range(600))


def dataset(folder: Path, text: str, *, bpe: bool = False) -> Dataset:
    source = TextSource(name="text", pieces=lambda: (text,), val_pieces=lambda: (text[:500],))
    return tokenize_to_disk(source, folder, tokenizer=train_bpe([text], 300) if bpe else None)


@pytest.mark.parametrize("bpe", [False, True])
def test_play(tmp_path: Path, bpe: bool) -> None:
    layout, openings = describe(dataset(tmp_path, PLAY, bpe=bpe))
    assert layout == "play"
    assert {one.prompt for one in openings} <= {f"{name}:" for name in NAMES}
    assert len(openings) == 3  # the squares modulo 5 are three
    assert {one.label for one in openings} == {one.prompt[:-1].title() for one in openings}


def test_label_of_a_king(tmp_path: Path) -> None:
    text = "KING RICHARD II:\nGive me the crown.\n\nOXFORD:\nHere, cousin, seize the crown.\n\n" * 200
    labels = {one.label for one in describe(dataset(tmp_path, text))[1]}
    assert labels == {"King Richard II", "Oxford"}


@pytest.mark.parametrize("text", [PROSE, LINES, PROSE.replace("\n\n", END_OF_TEXT)])
def test_prose(tmp_path: Path, text: str) -> None:
    layout, openings = describe(dataset(tmp_path, text))
    assert layout == "plain"
    assert len({one.prompt for one in openings}) == 4
    for one in openings:
        assert any(sentence.startswith(one.prompt) for sentence in SENTENCES), one
        assert 8 <= len(one.prompt) <= 28


@pytest.mark.parametrize(
    "text", [CODE, "汉字的文章没有空格。" * 40 + "\n\n" + "这是第二段，也没有空格。" * 40, "ab", "\n" * 900]
)
def test_openings_are_parts_of_any_text(tmp_path: Path, text: str) -> None:
    data = dataset(tmp_path, text)
    layout, openings = describe(data)
    assert layout == "plain"
    assert all(one.prompt in text for one in openings)
    assert describe(data) == (layout, openings)
