"""HellaSwag: which of four endings goes on from a scene (Zellers et al. 2019). Chance is one in four."""

import re
from collections.abc import Sequence
from typing import Any

from inkhorn.errors import CorpusError
from inkhorn.evaluation.evaldata import EvalText
from inkhorn.evaluation.loglikelihood import Passage, Score
from inkhorn.evaluation.tasks.journal import Record
from inkhorn.evaluation.tasks.task import Measure, Reader, mean_measure


def cleaned(text: str) -> str:
    """Without WikiHow's marks in brackets, as lm-eval has it."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def best(values: Sequence[float]) -> int:
    """The place of the highest value; the first of equals."""
    return max(range(len(values)), key=values.__getitem__)


class _Questions:
    """What both ways to ask share: the four endings of a question are weighed by their log-probability.

    Args:
        data: a JSON object a line.
        reader: of the model.

    """

    unit = "questions"
    keys = ("ctx", "ctx_a", "ctx_b", "activity_label", "endings", "label")

    def __init__(self, data: EvalText, reader: Reader) -> None:
        self.reader, self.lines = reader, data.lines(self.keys)
        self.settings: dict[str, Any] = {"data": data.sha256}
        self.notes: tuple[str, ...] = ()
        for number, line in enumerate(self.lines, 1):
            endings, label = line["endings"], str(line["label"])
            if not (isinstance(endings, list) and label.isdecimal() and int(label) < len(endings)):
                raise CorpusError(f"{data.path}, item {number}: label {label!r} names none of the endings")

    def __len__(self) -> int:
        return len(self.lines)

    def chosen(self, item: int, scores: Sequence[Score], lengths: Sequence[int]) -> Record:
        """Whether the likeliest ending is the right one, as a whole and for its length."""
        right = int(self.lines[item]["label"])
        totals = [score.total for score in scores]
        normed = [total / length for total, length in zip(totals, lengths, strict=True)]
        return {"acc": float(best(totals) == right), "acc_norm": float(best(normed) == right)}


class HellaSwag(_Questions):
    """lm-eval's way: the activity before the context, marks removed, normed by the ending's characters."""

    name = "hellaswag-lm-eval"

    def texts(self, item: int) -> tuple[str, list[str]]:
        """The question and its endings."""
        line = self.lines[item]
        scene = f"{line['activity_label']}: {line['ctx_a']} {str(line['ctx_b']).capitalize()}"
        return cleaned(scene), [cleaned(str(ending)) for ending in line["endings"]]

    def passages(self, item: int) -> list[Passage]:
        """Each ending after the question."""
        question, endings = self.texts(item)
        return [self.reader.continuation(question, " " + ending) for ending in endings]

    def record(self, item: int, scores: Sequence[Score]) -> Record:
        """Whether the right ending won."""
        return self.chosen(item, scores, [max(1, len(ending)) for ending in self.texts(item)[1]])

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """acc and acc_norm."""
        method = "lm-eval hellaswag, no examples: highest log p(ending)"
        return [
            mean_measure("acc", [r["acc"] for r in records], method),
            mean_measure("acc_norm", [r["acc_norm"] for r in records], f"{method} / characters of the ending"),
        ]


class HellaSwagCompletion(_Questions):
    """Completion style, as build-nanogpt and llm.c have it: the context as it is, normed by the ending's tokens."""

    name = "hellaswag-completion"

    def passages(self, item: int) -> list[Passage]:
        """Each ending after the context."""
        line = self.lines[item]
        return [self.reader.completion(str(line["ctx"]), f" {ending}") for ending in line["endings"]]

    def record(self, item: int, scores: Sequence[Score]) -> Record:
        """Whether the right ending won."""
        return self.chosen(item, scores, [len(score.logprobs) for score in scores])

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """acc and acc_norm."""
        method = "completion style (build-nanogpt, llm.c), text as it is: highest log p(ending)"
        return [
            mean_measure("acc", [r["acc"] for r in records], method),
            mean_measure("acc_norm", [r["acc_norm"] for r in records], f"{method} / tokens of the ending"),
        ]
