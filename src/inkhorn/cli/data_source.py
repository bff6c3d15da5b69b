"""The data that a command's flags name, tokenized: a file, a folder, or a named corpus."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from inkhorn.errors import UsageError, nearest
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from inkhorn.data.dataset import Dataset
    from inkhorn.data.documents import DocumentSource
    from inkhorn.data.text import TextSource


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The values of the flags that choose a text and a tokenizer.

    Attributes:
        path: a file or folder.
        corpus: a named corpus, if there is no path.
        val_path: a separate validation text.
        vocabulary: the value of --tokenizer.
        vocab_size: of a BPE tokenizer to be trained.
        tokenizer: of an existing model, instead of --tokenizer.

    """

    path: Path | None = None
    corpus: str = ""
    val_path: Path | None = None
    vocabulary: str = "char"
    vocab_size: int = 4096
    tokenizer: Tokenizer | None = None

    def tokenize(self, *, verify_checksums: bool = False) -> "Dataset":
        """Tokenize the data, or open it from the cache.

        Args:
            verify_checksums: read cached shards again and compare their checksums.

        Raises:
            UsageError: the corpus or the tokenizer does not exist.
            CorpusError: the data cannot be read.

        """
        from inkhorn.cli.progress import progress
        from inkhorn.data.dataset import tokenize_to_disk
        from inkhorn.data.shard_writer import SHARD_TOKENS, Callbacks, tokenize_documents
        from inkhorn.data.text import TextSource
        from inkhorn.utils.download import cache_dir

        tokenizer = self.tokenizer or load_named_tokenizer(self.vocabulary)
        bpe_size = self.vocab_size if self.vocabulary == "bpe" and tokenizer is None else None
        source = self.source
        if isinstance(source, TextSource):
            passes = 1 if bpe_size is None else 2
            # The number of characters is known once the text has been read.
            with progress(f"tokenizing {source.name}", lambda: passes * source.summary.n_chars, "characters") as bar:
                return tokenize_to_disk(source, cache_dir(), bar.advance, tokenizer, bpe_size=bpe_size)
        if self.val_path is not None:
            raise UsageError(f"one in 20 of the documents in {self.path} is held out: leave out --val-text")
        total = None if source.num_shards is None else source.num_shards * SHARD_TOKENS
        with progress(f"tokenizing {source.name}", total, "tokens") as bar:
            data = tokenize_documents(
                source,
                cache_dir(),
                tokenizer,
                bpe_size=bpe_size,
                verify_checksums=verify_checksums,
                callbacks=Callbacks(tokens=bar.advance, say=bar.log),
            )
        return data if self.path else replace(data, name=self.corpus)

    @cached_property
    def source(self) -> "TextSource | DocumentSource":
        """The text or the documents that the flags name."""
        from inkhorn.data import corpora, documents, text

        if self.path is None:
            return corpora.load_corpus(self.corpus)
        # Documents come first: a folder of them often has a README.md.
        return documents.from_folder(self.path) or text.from_path(self.path, val_path=self.val_path)

    def text_source(self) -> "TextSource":
        """The text that the flags name; UsageError for documents."""
        from inkhorn.data.text import TextSource

        source = self.source
        if not isinstance(source, TextSource):
            raise UsageError(f"{self.path or self.corpus} has documents, which only training reads: name a text here")
        return source


def load_named_tokenizer(name: str) -> Tokenizer | None:
    """The tokenizer that --tokenizer names; None for char and bpe, which are built from the text."""
    if name in ("char", "bpe"):
        return None
    if Path(name).is_dir():
        return load_tokenizer(Path(name))
    from inkhorn.tokenizer.pretrained import PRETRAINED, pretrained_tokenizer

    if name not in PRETRAINED:
        known = ["char", "bpe", *PRETRAINED]
        raise UsageError(
            f"--tokenizer {name} is neither a folder nor one of {', '.join(known)}: {nearest(name, known)}"
        )
    return pretrained_tokenizer(name)
