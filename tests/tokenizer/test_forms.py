"""Every form of a tokenizer.json: the ids and the text of transformers."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer

from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.load import load_tokenizer

CORPUS = (
    9
    * [
        "The quick brown fox doesn't jump over 13 lazy dogs, naïve or not.",
        "Über den Wolken!\n\nEnde  der Zeile.",
    ]
    * 9
)


def byte_level(prefix: bool = False, regex: bool = True, alphabet: bool = True) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)
    inner.decoder = decoders.ByteLevel()
    initial = pre_tokenizers.ByteLevel.alphabet() if alphabet else []
    inner.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=320, special_tokens=[END_OF_TEXT], initial_alphabet=initial, show_progress=False
        ),
    )
    return inner


def stripping() -> Tokenizer:
    inner = byte_level()
    inner.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True), AddedToken("Zeile.\n"), AddedToken("é")])
    return inner


def normalized() -> Tokenizer:
    inner = byte_level()
    inner.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Strip(), normalizers.Prepend("_")])
    return inner


def decoder_sequence() -> Tokenizer:
    inner = byte_level()
    inner.decoder = decoders.Sequence([decoders.ByteLevel()])
    return inner


def word_piece() -> Tokenizer:
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer, inner.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]"]
    inner.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special, show_progress=False)
    )
    return inner


def unigram() -> Tokenizer:
    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner


def sentencepiece_bpe() -> Tokenizer:
    tokens = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "t", "h", "e", "▁t", "he", "▁the"]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    inner = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return inner


def word_level() -> Tokenizer:
    inner = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "fox": 2, ".": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return inner


FORMS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "prefix_space": lambda: byte_level(prefix=True),
    "no_regex": lambda: byte_level(regex=False),
    "partial_alphabet": lambda: byte_level(alphabet=False),
    "stripping": stripping,
    "normalized": normalized,
    "decoder_sequence": decoder_sequence,
    "word_piece": word_piece,
    "unigram": unigram,
    "sentencepiece_bpe": sentencepiece_bpe,
    "word_level": word_level,
}


@pytest.fixture(scope="module", params=FORMS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[BPETokenizer, Any]:
    """Inkhorn's tokenizer and transformers' of one folder, saved with truncation and padding."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    inner = FORMS[request.param]()
    inner.enable_truncation(max_length=5)
    inner.enable_padding(length=8, pad_id=0, pad_token=inner.id_to_token(0))
    inner.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    ours = load_tokenizer(folder)
    assert isinstance(ours, BPETokenizer)
    return ours, AutoTokenizer.from_pretrained(folder)


pieces = st.sampled_from(
    [
        "the ",
        "fox",
        ".",
        " ",
        "  ",
        "\n",
        "x\n",
        "\t",
        "é",
        "e\u0301",
        "日",
        "😀",
        "<mask>",
        "Zeile.\n",
        END_OF_TEXT,
        "_",
    ]
)
texts = st.lists(pieces | st.characters(exclude_categories=["Cs"]), max_size=30).map("".join)


@given(text=texts, long=st.booleans())
@settings(max_examples=40)
def test_ids_equal_transformers(pair: tuple[BPETokenizer, Any], text: str, long: bool) -> None:
    ours, theirs = pair
    text = text + "the fox.\n" * 4000 + text if long else text
    assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"]


@given(data=st.data())
@settings(max_examples=60)
def test_streamed_text_equals_transformers(pair: tuple[BPETokenizer, Any], data: st.DataObject) -> None:
    ours, theirs = pair
    known = sorted(i for i in range(ours.vocab_size) if ours.inner.id_to_token(i) is not None)
    ids = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=30))
    cut = data.draw(st.integers(1, len(ids)))
    prompt, sampled = ids[:cut], ids[cut:]
    assert ours.decode(ids) == theirs.decode(ids, clean_up_tokenization_spaces=False)
    stream = ours.decode_stream(prompt)
    streamed = "".join(map(stream, sampled))
    expected = ours.decode(ids)
    if "\ufffd" not in expected + ours.decode(prompt):  # text that was sent is not revised when a later byte is invalid
        assert ours.decode(prompt) + streamed == expected


@given(text=texts.filter(bool))
@settings(max_examples=5, deadline=None)
def test_streamed_long_texts_are_decoded_in_parts(pair: tuple[BPETokenizer, Any], text: str) -> None:
    """The work for a token does not grow with the text, and the joined text is that of all tokens."""
    ours, _ = pair
    ids = ours.encode(ours.normalize(text + "the fox 日本😀é. ")[0] * 40).tolist()
    expected, sizes = ours.decode(ids), list[int]()

    class Counting(BPETokenizer):
        def decode(self, ids: Iterable[int]) -> str:
            sizes.append(len(list(ids)))
            return super().decode(ids)

    counting = Counting(ours.inner)
    stream = counting.decode_stream(ids[:150])
    streamed = "".join(map(stream, ids[150:]))
    if "\ufffd" not in expected + ours.decode(ids[:150]):
        assert ours.decode(ids[:150]) + streamed == expected
    assert max(sizes, default=0) <= 4 * 64 + 1


@given(text=texts)
def test_normalize_changes_only_what_is_lost(pair: tuple[BPETokenizer, Any], text: str) -> None:
    ours, _ = pair
    normalized, unknown = ours.normalize(text)
    assert bool(unknown) or normalized == text
    again, left = ours.normalize(normalized)
    assert (again, left) == (normalized, [])


def test_missing_bytes_are_reported() -> None:
    ours = BPETokenizer(byte_level(alphabet=False))
    normalized, unknown = ours.normalize("fox 9 ☃")
    assert {found.character for found in unknown} == {"9", "☃"}
    assert ours.decode(ours.encode(normalized)) == normalized
