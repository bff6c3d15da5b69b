"""OpenAI's tokenizers by name, downloaded: GPT-2's byte-level BPE, and GPT-1's BPE."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inkhorn.errors import UsageError, nearest
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.utils.download import cache_dir, download, sha256_of

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class _File:
    url: str
    sha256: str

    def path(self) -> Path:
        """Its path in the cache, downloaded if necessary; CorpusError if that fails."""
        path = cache_dir() / "vocabularies" / self.url.rsplit("/", 1)[1]
        if not path.is_file() or sha256_of(path) != self.sha256:
            download(self.url, path, self.sha256, f"Without a connection put the file at {path}")
        return path


_GPT2 = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
_GPT1 = "https://raw.githubusercontent.com/openai/finetune-transformer-lm/master/model/"
_GPT2_FILES = (
    _File(_GPT2 + "encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    _File(_GPT2 + "vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
)
_GPT1_FILES = (
    _File(_GPT1 + "encoder_bpe_40000.json", "fdf49b19e7de236852091da09b84a7a3cd5e7b0e79916376cf45f6b8127b8078"),
    _File(_GPT1 + "vocab_40000.bpe", "0ea9b51ae695073cd871e0358f7016311d671a7ff3963e367d5236522f294725"),
)


def gpt2_tokenizer(vocab: Path, merges: Path) -> "tokenizers.Tokenizer":
    """GPT-2's tokenizer: 50,256 byte-level tokens and `<|endoftext|>`."""
    import tokenizers

    inner = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocab), str(merges)))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens([END_OF_TEXT])
    return inner


def gpt1_tokenizer(vocab: Path, merges: Path) -> "tokenizers.Tokenizer":
    """GPT-1's tokenizer: lower-case words that end with `</w>`, split like transformers' fast tokenizer (no spaCy)."""
    import tokenizers

    model = tokenizers.models.BPE.from_file(str(vocab), str(merges), unk_token="<unk>", end_of_word_suffix="</w>")
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.decoder = tokenizers.decoders.BPEDecoder(suffix="</w>")
    inner.add_special_tokens(["<unk>"])
    return inner


PRETRAINED: dict[str, tuple[tuple[_File, _File], Callable[[Path, Path], "tokenizers.Tokenizer"]]] = {
    "gpt2": (_GPT2_FILES, gpt2_tokenizer),
    "openai-gpt": (_GPT1_FILES, gpt1_tokenizer),
}
"""Name -> files of vocabulary and merges, and the function that builds the tokenizer from them."""


def pretrained_tokenizer(name: str) -> BPETokenizer:
    """A tokenizer by name, downloaded if it is not in the cache.

    Raises UsageError for an unknown name, CorpusError if the download fails.
    """
    if name not in PRETRAINED:
        raise UsageError(f"no tokenizer is called {name!r}: {nearest(name, PRETRAINED)}")
    (vocab, merges), make = PRETRAINED[name]
    return BPETokenizer(make(vocab.path(), merges.path()))
