"""LAMBADA: the last word of a passage, which only the whole passage tells (Paperno et al. 2016)."""

from collections.abc import Sequence
from typing import Any

from inkhorn.evaluation.evaldata import EvalText
from inkhorn.evaluation.loglikelihood import Passage, Score
from inkhorn.evaluation.tasks.journal import Record
from inkhorn.evaluation.tasks.task import Measure, Reader, mean_measure, safe_exp

LM_EVAL = "lm-eval lambada_openai: {}"
LAST_TOKEN = "GPT-2's paper, as repeated by others: {}, no stop-word filter"


class Lambada:
    """Both ways to ask, from one forward pass.

    lm-eval wants every token of the last word; OpenAI counted the last token only, to which the tokens of the word
    before it are a hint. With its stop-word filter, of which the words were never published, the paper's accuracy is
    higher than without.

    Args:
        data: a JSON object a line, with the passage as `text`.
        reader: of the model.

    """

    name = "lambada"
    unit = "passages"

    def __init__(self, data: EvalText, reader: Reader) -> None:
        self.reader = reader
        self.texts = [str(line["text"]) for line in data.lines(["text"])]
        self.settings: dict[str, Any] = {"data": data.sha256}
        self.notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    def passages(self, item: int) -> list[Passage]:
        """The last word after the rest of the passage."""
        before, _, last = self.texts[item].rpartition(" ")
        return [self.reader.continuation(before, " " + last)]

    def record(self, item: int, scores: Sequence[Score]) -> Record:  # noqa: ARG002
        """Of the word, its log-probability and whether it is what greedy decoding writes; and of its last token."""
        (word,) = scores
        return {
            "logprob": word.total,
            "greedy": float(all(word.greedy)),
            "last_logprob": word.logprobs[-1],
            "last_greedy": float(word.greedy[-1]),
        }

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """Accuracy and perplexity, each both ways."""
        mean = {name: sum(r[name] for r in records) / len(records) for name in ("logprob", "last_logprob")}
        greedy, surprise = "each token of the last word is the likeliest", "exp of the mean -log p(last word)"
        token, token_surprise = "the last token is the likeliest", "exp of the mean -log p(last token)"
        return [
            mean_measure("acc", [r["greedy"] for r in records], LM_EVAL.format(greedy)),
            Measure(name="perplexity", value=safe_exp(-mean["logprob"]), method=LM_EVAL.format(surprise)),
            mean_measure("last_token_acc", [r["last_greedy"] for r in records], LAST_TOKEN.format(token)),
            Measure(
                name="last_token_perplexity",
                value=safe_exp(-mean["last_logprob"]),
                method=LAST_TOKEN.format(token_surprise),
            ),
        ]
