"""A model under examination: loaded once, asked in many tasks."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from inkhorn.evaluation.tasks.examine import Outcome, examine, fingerprint
from inkhorn.evaluation.tasks.journal import Journal
from inkhorn.evaluation.tasks.task import Reader, Task
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT
from inkhorn.tokenizer.base import check_vocab_size
from inkhorn.tokenizer.load import load_tokenizer

_FORMAT = 1
"""of the records: raised when what is kept of an item, or how it is scored, changes"""


class Session:
    """A checkpoint folder's model with its tokenizer.

    Args:
        folder: the checkpoint.
        hardware: where to compute, and in which precision.
        out: the folder of the journals; None keeps nothing.
        batch_size: most rows at a time.

    """

    def __init__(self, folder: Path, hardware: Hardware, *, out: Path | None = None, batch_size: int = 64) -> None:
        self.folder, self.hardware, self.out, self.batch_size = folder, hardware, out, batch_size
        tokenizer = load_tokenizer(folder)
        self.model = GPT.from_pretrained(folder).to(hardware.device)
        config = self.model.config
        check_vocab_size(tokenizer, config.vocab_size)
        start = tokenizer.eos_id if tokenizer.eos_id is not None else config.bos_token_id  # lm-eval's choice
        self.reader = Reader(tokenizer, config.block_size, 0 if start is None else start)

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.folder)

    def journal(self, task: Task) -> Journal:
        """Where the task's records are kept: `out`/NAME.jsonl. A larger --limit goes on from a smaller."""
        if self.out is None:
            return Journal(None, {})
        key = {"format": _FORMAT, "task": task.name, "model": self._fingerprint}
        key |= {"dtype": str(self.hardware.dtype).removeprefix("torch."), **task.settings}
        return Journal(self.out / f"{task.name}.jsonl", key)

    def examine(
        self, task: Task, journal: Journal, limit: int | None = None, progress: Callable[[int], None] = lambda _: None
    ) -> Outcome:
        """Examine the model; `examine.examine` says how."""
        return examine(
            task,
            self.model,
            self.reader,
            self.hardware,
            journal,
            limit=limit,
            batch_size=self.batch_size,
            progress=progress,
        )
