"""The data that a command's flags name, tokenized: a file, a folder, or a named corpus."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from inkhorn.cli.parsing import default, flag
from inkhorn.config.bounds import Range
from inkhorn.errors import UsageError, nearest, require
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import MIN_VOCAB_SIZE
from inkhorn.tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from inkhorn.data.dataset import Dataset
    from inkhorn.data.documents import DocumentSource
    from inkhorn.data.shard_writer import Encoder
    from inkhorn.data.text import TextSource


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """The flags that choose a text and a tokenizer."""

    text: Annotated[Path | None, default()] = None
    """use this file or folder (.txt, or .parquet or .jsonl with a "text" in each row) instead of a named corpus"""
    val_text: Annotated[Path | None, default("the last tenth of --text")] = None
    """validate on this text file"""
    pretrain_text: Annotated[Path | None, default()] = None
    """train on this text file or folder before --text"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text files, such as cp1252, cp1251 or shift_jis"""
    skip_bad_rows: bool = False
    """skip and count rows of .jsonl and .parquet files that have no usable text"""
    tokenizer: str = "char"
    """char (one token per character), bpe (trained on the text), gpt2, openai-gpt, or a folder with a tokenizer.json"""
    vocab_size: Annotated[int, Range(ge=MIN_VOCAB_SIZE)] = 4096
    """vocabulary size of --tokenizer bpe"""

    def check_text(self, corpus: str | None) -> None:
        """Raise UsageError if the flags and the given corpus contradict each other."""
        require(self.text is None or corpus is None, f"give either the corpus {corpus} or --text {self.text}, not both")
        has_text = self.val_text is None or self.text is not None
        require(has_text, "--val-text needs --text: a named corpus has its own validation split")
        has_text = self.pretrain_text is None or self.text is not None
        require(has_text, "--pretrain-text needs --text: a named corpus has its own pretraining text, or none")
        for name in ("encoding", "skip_bad_rows"):
            unused = self.text is None and getattr(self, name) not in (None, False)
            require(not unused, f"{flag(name)} needs --text: it does not apply to a named corpus")


@dataclass(frozen=True)
class DataSource:
    """The text or the documents that flags name.

    Attributes:
        flags: the flags.
        corpus: a named corpus, if the flags name no text.
        tokenizer: of an existing model, instead of --tokenizer.
        encoder: encodes documents, instead of the processes of this machine.
    """

    flags: DataFlags
    corpus: str = ""
    tokenizer: Tokenizer | None = None
    encoder: "Encoder | None" = None

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
        from inkhorn.data.shard_writer import SHARD_TOKENS, tokenize_documents
        from inkhorn.data.text import TextSource
        from inkhorn.utils.download import cache_dir

        tokenizer = self.tokenizer or load_named_tokenizer(self.flags.tokenizer)
        bpe_size = self.flags.vocab_size if self.flags.tokenizer == "bpe" and tokenizer is None else None
        source, cache = self.source, cache_dir()
        if isinstance(source, TextSource):
            passes = 1 if bpe_size is None else 2
            # The number of characters is known once the text has been read.
            with progress(f"tokenizing {source.name}", lambda: passes * source.summary.n_chars, "characters") as bar:
                return tokenize_to_disk(source, cache, bar.advance, tokenizer, bpe_size=bpe_size)
        if self.flags.val_text is not None:
            raise UsageError(f"one in 20 of the documents in {self.flags.text} is held out: leave out --val-text")
        if self.flags.pretrain_text is not None:
            raise UsageError(f"{self.flags.text} has documents, for which there is no --pretrain-text: leave it out")
        total = None if source.num_shards is None else source.num_shards * SHARD_TOKENS
        with progress(f"tokenizing {source.name}", total, "tokens") as bar:
            data = tokenize_documents(
                source,
                cache,
                bar.advance,
                tokenizer,
                bpe_size=bpe_size,
                encoder=self.encoder,
                verify_checksums=verify_checksums,
                log=bar.log,
            )
        return data if self.flags.text else replace(data, name=self.corpus)

    def check_encoder(self) -> None:
        """Raise UsageError unless the source is files of documents, which an encoder can encode."""
        from inkhorn.data.text import TextSource

        if isinstance(self.source, TextSource) or not self.source.files:
            what = self.flags.text or f"the corpus {self.corpus}"
            raise UsageError(f"--ray encodes files of documents (.parquet, .jsonl), not {what}: leave it out")

    @cached_property
    def source(self) -> "TextSource | DocumentSource":
        from inkhorn.data import corpora, documents, text

        path = self.flags.text
        if path is None:
            return corpora.load_corpus(self.corpus)
        # Documents come first: a folder of them often has a README.md.
        found = documents.from_folder(path, skip_bad_rows=self.flags.skip_bad_rows)
        if found is not None and self.flags.encoding is not None:
            raise UsageError(f"--encoding applies to text files; the documents of {path} are in UTF-8: leave it out")
        if found is None and self.flags.skip_bad_rows:
            raise UsageError(
                f"--skip-bad-rows applies to .jsonl and .parquet files, not to the text {path}: leave it out"
            )
        if found is not None:
            return found
        flags = self.flags
        return text.from_path(path, val_path=flags.val_text, pretrain_path=flags.pretrain_text, encoding=flags.encoding)

    def text_source(self) -> "TextSource":
        """The text that the flags name; UsageError for documents."""
        from inkhorn.data.text import TextSource

        source, name = self.source, self.flags.text or self.corpus
        if not isinstance(source, TextSource):
            raise UsageError(f"{name} has documents, which only training reads: name a text here")
        return source


def load_named_tokenizer(name: str) -> Tokenizer | None:
    """The tokenizer that --tokenizer names; None for char and bpe, which are built from the text."""
    if name in ("char", "bpe"):
        return None
    if Path(name).is_dir():
        return load_tokenizer(Path(name))
    from inkhorn.tokenizer.pretrained import PRETRAINED, pretrained_tokenizer

    known = ["char", "bpe", *PRETRAINED]
    if name not in known:
        hint = nearest(name, known)
        raise UsageError(f"--tokenizer {name} is neither a folder nor one of {', '.join(known)}: {hint}")
    return pretrained_tokenizer(name)
