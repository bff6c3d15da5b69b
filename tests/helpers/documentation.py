"""Code blocks of the Markdown pages, and how a test runs them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("examples/*.md"),
        *ROOT.glob("src/inkhorn/assets/*/README.md"),
    )
)
OUTPUT_LANGUAGES = {"text", "json", "yaml", "html"}
"""Blocks in these languages show output or files; nothing in them is run."""

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the word after the fence; empty for shell commands.
        code: its lines.
        reason: why the block is not run, from a comment `<!-- not run: REASON -->` on the line before it.

    """

    language: str
    code: str
    reason: str | None

    @property
    def commands(self) -> list[list[str]]:
        """Shell commands as words, comments removed and continued lines joined."""
        text = self.code.replace("\\\n", " ")
        return [words for line in text.splitlines() if (words := shlex.split(line, comments=True))]


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = list(_BLOCK.finditer(text))
    assert 2 * len(found) == len(re.findall(r"^```", text, re.M)), f"{page}: a fence is not closed or is indented"
    for match in found:
        yield Block(match["language"], match["code"], match["reason"])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
