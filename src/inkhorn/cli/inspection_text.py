"""Reading the texts of `inkhorn inspect` and `inkhorn steer`."""

from pathlib import Path

from inkhorn.data.text_file import read_text
from inkhorn.errors import require
from inkhorn.inspection.windows import MAX_TOKENS
from inkhorn.tokenizer.load import load_tokenizer

MAX_CHARACTERS = 32 * MAX_TOKENS
"""Of a text file, more than its tokens can have."""


class InspectionText:
    """Reads texts as the tokens of a checkpoint."""

    def __init__(self, folder: Path, encoding: str | None) -> None:
        self.tokenizer, self._encoding = load_tokenizer(folder), encoding

    def read(self, path: Path) -> tuple[str, list[int]]:
        """The first characters of a file, and its first tokens. Raises UsageError if it has fewer than two."""
        start = ""
        for piece in read_text(path, self._encoding):
            start += piece
            if len(start) >= MAX_CHARACTERS:
                break
        text = start[:MAX_CHARACTERS]
        ids = self.encode(text, MAX_TOKENS)
        require(len(ids) > 1, f"{path} is too short: it needs at least two tokens")
        return text, ids

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """The first tokens of a text."""
        known, _ = self.tokenizer.normalize(text[: 32 * max_tokens], "replace")
        ids: list[int] = self.tokenizer.encode(known).tolist()[:max_tokens]
        return ids
