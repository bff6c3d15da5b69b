"""The text that a command was given, as ids of the vocabulary asked for: a file, a folder, or a named corpus."""

from dataclasses import dataclass, replace
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
    """What the flags say of a text.

    Attributes:
        path: a file or folder.
        corpus: a named corpus, where there is no path.
        val_path: a text of its own to validate on.
        vocabulary: as --tokenizer names it.
        vocab_size: of a vocabulary that is learnt.
        tokenizer: of a model that is there, instead of a vocabulary's name.

    """

    path: Path | None = None
    corpus: str = ""
    val_path: Path | None = None
    vocabulary: str = "char"
    vocab_size: int = 4096
    tokenizer: Tokenizer | None = None

    def tokenize(self, *, verify_checksums: bool = False) -> "Dataset":
        """Tokenize the data, or load it from the cache.

        Args:
            verify_checksums: read cached shards again and compare their checksums.

        Raises:
            UsageError: the corpus or the tokenizer has no such name.
            CorpusError: the data cannot be read.

        """
        from inkhorn.cli.progress import filling, tokenising
        from inkhorn.data import corpora, dataset
        from inkhorn.data.shard_writer import SHARD_TOKENS, tokenize_documents

        tokenizer = self.tokenizer or chosen_tokenizer(self.vocabulary)
        bpe_size = self.vocab_size if self.vocabulary == "bpe" and tokenizer is None else None
        documents, count = self.documents()
        if documents is None:
            source = self.source()
            with tokenising(source, readings=1 if tokenizer else 2) as done:
                return dataset.tokenize_to_disk(source, corpora.cache_dir(), done, tokenizer, bpe_size=bpe_size)
        if self.val_path is not None:
            raise UsageError(f"of the documents in {self.path} one in 20 is held out: leave out --val-text")
        with filling(documents.name, None if count is None else count * SHARD_TOKENS) as callbacks:
            data = tokenize_documents(
                documents,
                corpora.cache_dir(),
                tokenizer,
                bpe_size=bpe_size,
                count=count,
                verify_checksums=verify_checksums,
                callbacks=callbacks,
            )
        return data if self.path else replace(data, name=self.corpus)

    def source(self) -> "TextSource":
        """The text itself; UsageError for documents, which are only ever tokenised."""
        from inkhorn.data import corpora, text

        if self.documents()[0] is not None:
            raise UsageError(f"{self.path or self.corpus} holds documents to train on: name a text here")
        return text.from_path(self.path, val_path=self.val_path) if self.path else corpora.fetch(self.corpus)

    def documents(self) -> tuple["DocumentSource | None", int | None]:
        """Documents and how many shards of them, if it is documents that were named; else twice None."""
        from inkhorn.data import documents, fineweb

        if self.path is None:
            return fineweb.fineweb(self.corpus) if fineweb.is_fineweb(self.corpus) else (None, None)
        return documents.from_folder(self.path), None  # before any text beside them, for they often have a README.md


def chosen_tokenizer(name: str) -> Tokenizer | None:
    """What --tokenizer names, or None where the text itself makes the vocabulary."""
    if name in ("char", "bpe"):
        return None
    if Path(name).is_dir():
        return load_tokenizer(Path(name))
    from inkhorn.tokenizer.pretrained import NAMED, pretrained_tokenizer

    if name not in NAMED:
        known = ["char", "bpe", *NAMED]
        raise UsageError(
            f"--tokenizer {name} is neither a folder nor one of {', '.join(known)}: {nearest(name, known)}"
        )
    return pretrained_tokenizer(name)
