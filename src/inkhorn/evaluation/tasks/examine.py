"""Examining a model in a task: batch by batch, each item kept as it is done, so that it can be stopped and go on."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from inkhorn.errors import CorpusError
from inkhorn.evaluation.loglikelihood import Passage, score
from inkhorn.evaluation.tasks.journal import Journal, Record
from inkhorn.evaluation.tasks.task import Measure, Reader, Task
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT

_POOL = 256
"""items that are sorted by length together"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a task.

    Attributes:
        measures: the numbers.
        items: how many items they rest on.
        of: how many the task has.
        cut: passages whose context was longer than the block and lost its beginning.
        replaced: characters that the vocabulary lacks, replaced or left out, each time that they were read.
        left_out: items of which nothing was left to score.
        records: what each item gave, in order.

    """

    measures: list[Measure]
    items: int
    of: int
    cut: int
    replaced: int
    left_out: int
    records: list[Record]


def fingerprint(folder: Path) -> str:
    """Hexadecimal checksum of a checkpoint folder's config, weights and tokenizer: another model has another."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        with (folder / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def examine(
    task: Task,
    model: GPT,
    reader: Reader,
    hardware: Hardware,
    journal: Journal,
    *,
    limit: int | None = None,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Score the items of a task that the journal does not have yet, and sum up.

    Args:
        task: what to ask.
        model: in eval mode, on the hardware's device.
        reader: the task's.
        hardware: where the model is, and in which precision.
        journal: entered. What is in it is not done again.
        limit: only so many items, from the first.
        batch_size: rows of a batch.
        progress: is told of the items done.

    """
    count = len(task) if limit is None else min(limit, len(task))
    waiting = (item for item in range(count) if item not in journal.records)
    while pool := list(islice(waiting, _POOL)):
        asked, facts = {}, {}
        for item in pool:
            before = reader.replaced
            asked[item] = task.passages(item)
            cut = sum(passage.cut for passage in asked[item])
            facts[item] = {"cut": float(cut), "replaced": float(reader.replaced - before)}
        for group in _batches(asked, batch_size):
            scores = iter(score(model, [p for item in group for p in asked[item]], hardware, batch_size))
            for item in group:
                own = list(islice(scores, len(asked[item])))
                whole = all(one.logprobs for one in own)
                journal.add(item, facts[item] | (task.record(item, own) if whole else {"left_out": 1.0}))
            progress(len(group))
    return _sum_up(task, [journal.records[item] for item in range(count)])


def _batches(asked: dict[int, list[Passage]], batch_size: int) -> Iterator[list[int]]:
    """Whole items of like length, in groups of about batch_size rows."""

    def longest(item: int) -> int:
        return max((len(row.ids) for passage in asked[item] for row in passage.rows), default=0)

    group: list[int] = []
    rows = 0
    for item in sorted(asked, key=longest):
        own = sum(len(passage.rows) for passage in asked[item])
        if group and rows + own > batch_size:
            yield group
            group, rows = [], 0
        group.append(item)
        rows += own
    yield group


def _sum_up(task: Task, records: Sequence[Record]) -> Outcome:
    used = [record for record in records if "left_out" not in record]
    if not used:
        raise CorpusError(f"{task.name}: none of its {len(records)} {task.unit} can be written in this vocabulary")
    return Outcome(
        measures=task.measures(used),
        items=len(used),
        of=len(task),
        cut=int(sum(record["cut"] for record in records)),
        replaced=int(sum(record["replaced"] for record in records)),
        left_out=len(records) - len(used),
        records=list(records),
    )
