"""WikiText-2's test text (Merity et al. 2016): by the page as lm-eval has it, and in windows as transformers has it."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from inkhorn.evaluation.evaldata import EvalText
from inkhorn.evaluation.loglikelihood import Passage, Score
from inkhorn.evaluation.tasks.journal import Record
from inkhorn.evaluation.tasks.task import Measure, Reader, safe_exp
from inkhorn.evaluation.tasks.windows import Windows

_SPACED = ((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), *((f" {mark} ", f"{mark} ") for mark in ":;.!?,"))
_PAIRS = (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))
_HEADINGS = (("= = = =", "===="), ("= = =", "==="), ("= =", "=="))
_REST = ((" ° ", "°"), (" \n", "\n"), ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"))


def detokenised(page: str) -> str:
    """WikiText's spaced-out punctuation as people write it, by the rules of lm-eval's task in their order.

    One rule of its list is not here: its pattern has slashes around it and so finds nothing in a text.
    """
    for spaced, written in (("s '", "s'"), *_SPACED):
        page = page.replace(spaced, written)
    for left, right in _PAIRS:
        close = re.escape(right)
        page = re.sub(rf"{re.escape(left)}\s*([^{close}]*?)\s*{close}", rf"{left}\1{right}", page)
    for spaced, written in (*_HEADINGS, *_REST):
        page = page.replace(spaced, written)
    return page


def pages(text: str) -> list[str]:
    """The articles: one begins at each heading of the first level, ` = Title = `; blank ones are left out."""
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        heading = line
        for spaced, written in _HEADINGS[1:]:
            heading = heading.replace(spaced, written)
        if heading.strip().startswith("= ") and heading.strip().endswith(" ="):
            found.append([])
        found[-1].append(line)
    return [page for page in ("\n".join(lines) for lines in found) if page.strip()]


class WikiTextPages:
    """lm-eval's wikitext: each page detokenised and scored whole, the numbers per word and byte of the page as it was.

    Args:
        data: wiki.test.raw.
        reader: of the model.

    """

    name = "wikitext2-lm-eval"
    unit = "pages"

    def __init__(self, data: EvalText, reader: Reader) -> None:
        self.reader, self.pages = reader, pages(data.text)
        self.settings: dict[str, Any] = {"data": data.sha256}
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pages)

    def passages(self, item: int) -> list[Passage]:
        """A page, after the start token."""
        return [self.reader.whole(detokenised(self.pages[item]))]

    def record(self, item: int, scores: Sequence[Score]) -> Record:
        """A page's nats, and how long it is."""
        page = self.pages[item]
        return {"nats": -scores[0].total, "words": len(re.split(r"\s+", page)), "bytes": len(page.encode())}

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """Perplexity per word and byte, and bits per byte."""
        nats = math.fsum(r["nats"] for r in records)
        per_word, per_byte = (nats / sum(r[name] for r in records) for name in ("words", "bytes"))
        method = "lm-eval wikitext: pages detokenised, non-overlapping windows of the block; per {} before that"
        return [
            Measure(name="word_perplexity", value=safe_exp(per_word), method=method.format("word")),
            Measure(name="byte_perplexity", value=safe_exp(per_byte), method=method.format("byte")),
            Measure(name="bits_per_byte", value=per_byte / math.log(2), method=method.format("byte")),
        ]


def as_transformers_reads(text: str) -> str:
    """The text of the example in transformers' documentation: the data set's lines, blank ones emptied, joined by two
    line breaks."""
    return "\n\n".join(line if line.strip() else "" for line in io.StringIO(text))


def sliding(data: EvalText, reader: Reader, stride: int | None) -> Windows:
    """The perplexity of transformers' documentation: the raw text, windows of the block size that overlap.

    Args:
        data: wiki.test.raw.
        reader: of the model.
        stride: half a block when absent, which is the documentation's 512 for GPT-2.

    """
    before = reader.replaced
    ids = np.array(reader.encode(as_transformers_reads(data.text)), np.int32)
    lacking = reader.replaced - before
    return Windows(
        ids,
        reader.block_size,
        max(1, reader.block_size // 2) if stride is None else stride,
        beyond=0,
        name="wikitext2-sliding",
        origin="transformers' documentation: raw text, ",
        notes=(f"{lacking:,} characters are not in the vocabulary: replaced, or left out",) if lacking else (),
    )
