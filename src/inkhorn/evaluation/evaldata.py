"""The files of the public benchmarks: fetched once and checked, or read from a folder of the user's."""

import gzip
import hashlib
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.errors import CorpusError
from inkhorn.utils.download import cache_dir


@dataclass(frozen=True, kw_only=True)
class EvalText:
    """What a benchmark's file holds.

    Attributes:
        text: all of it.
        path: where it was read.
        sha256: hexadecimal checksum of the text in UTF-8.
        published: whether it is the published file, byte for byte.

    """

    text: str
    path: Path
    sha256: str
    published: bool

    def lines(self, needed: Sequence[str]) -> list[dict[str, Any]]:
        """The JSON objects of its lines; CorpusError for a line that is none, or lacks one of the keys."""
        found = []
        for number, line in enumerate(self.text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise CorpusError(f"{self.path}, line {number} is not JSON: {error}") from None
            lacking = [key for key in needed if not isinstance(value, dict) or key not in value]
            if lacking:
                raise CorpusError(f"{self.path}, line {number} is no item of this benchmark: no {', '.join(lacking)}")
            found.append(value)
        if not found:
            raise CorpusError(f"{self.path} is empty: it holds no items")
        return found


@dataclass(frozen=True, kw_only=True)
class EvalFile:
    """A file of a public benchmark.

    Attributes:
        url: where it comes from.
        sha256: hexadecimal checksum of the file itself, uncompressed.
        names: what it may be called in a folder, `.gz` or not; the first is its name in the cache.
        archive: checksum of what the URL gives, where that is a zip that holds the file as `member`.
        member: its path in the zip.

    """

    url: str
    sha256: str
    names: tuple[str, ...]
    archive: str | None = None
    member: str = ""

    def read(self, folder: Path | None) -> EvalText:
        """The file from `folder`, or else from the cache, downloaded if it is not there yet.

        Raises CorpusError where it cannot be had, is damaged, or lies in the cache and is not the published one.
        """
        places = [name + end for name in self.names for end in ("", ".gz")]
        places += [Path(self.url).name] if self.archive else []
        where = folder if folder is not None else cache_dir() / "eval"
        path = next((where / name for name in places if (where / name).is_file()), None)
        if path is None and folder is not None:
            raise CorpusError(f"{folder} has no {self.names[0]}, with or without .gz; it comes from {self.url}")
        path = path or self._download(where)
        try:
            content = self._plain(path)
            text = content.decode("utf-8")
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise CorpusError(f"cannot read {path}: {error}. Delete it and get it again from {self.url}") from None
        sha256 = hashlib.sha256(content).hexdigest()
        if folder is None and sha256 != self.sha256:
            raise CorpusError(f"{path} is not the published file: delete it, or read your own file with --data FOLDER")
        return EvalText(text=text, path=path, sha256=sha256, published=sha256 == self.sha256)

    def _plain(self, path: Path) -> bytes:
        """The file's bytes, unpacked."""
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.read(self.member)
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        return path.read_bytes()

    def _download(self, where: Path) -> Path:
        from inkhorn.utils.download import download

        path = where / (Path(self.url).name if self.archive else self.names[0])
        by_hand = f"Without a connection put the file at {path} by hand, or in any folder with --data FOLDER"
        download(self.url, path, self.archive or self.sha256, by_hand)
        return path


LAMBADA = EvalFile(
    url="https://openaipublic.blob.core.windows.net/gpt-2/data/lambada_test.jsonl",
    sha256="4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226",
    names=("lambada_test.jsonl",),
)
"""LAMBADA's test passages (Paperno et al. 2016) with their case and punctuation, as OpenAI gave them out: 5,153"""

HELLASWAG = EvalFile(
    url="https://raw.githubusercontent.com/rowanz/hellaswag/master/data/hellaswag_val.jsonl",
    sha256="0aa3b88843990f3f10a97b9575c94d7b71fb2205240ba04ae4884d9e9c992588",
    names=("hellaswag_val.jsonl",),
)
"""HellaSwag's validation questions (Zellers et al. 2019): 10,042; those of the test have no published answers"""

WIKITEXT2 = EvalFile(
    url="https://huggingface.co/datasets/ggml-org/ci/resolve/main/wikitext-2-raw-v1.zip",
    sha256="173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08",
    names=("wiki.test.raw", "wikitext-2-raw/wiki.test.raw", "wikitext2raw.test.txt"),
    archive="ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
    member="wikitext-2-raw/wiki.test.raw",
)
"""WikiText-2's raw test text (Merity et al. 2016), which is WikiText-103's, too"""
