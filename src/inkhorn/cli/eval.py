"""`inkhorn eval`: the loss of a model over the whole held-out part of a text, or its marks in public benchmarks."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.data_source import DataSource
from inkhorn.cli.parsing import parse
from inkhorn.config.train import Device, Precision, TrainConfig
from inkhorn.errors import TrainingError, UsageError, require

if TYPE_CHECKING:
    from inkhorn.checkpoint.tensor_file import Array
    from inkhorn.evaluation.tasks.examine import Outcome
    from inkhorn.evaluation.tasks.session import Session
    from inkhorn.evaluation.tasks.task import Task
    from inkhorn.tokenizer.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class EvalArgs:
    """The loss of a model over the whole validation part of a text; or, with --tasks, its marks in public benchmarks.

    Every number has the method beside it, for the same benchmark is counted in several ways.
    """

    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    corpus: str | None = None
    """the held-out part of a named corpus, see inkhorn data; shakespeare when absent"""
    text: Path | None = None
    """evaluate on all of this text file, or folder, instead; of .parquet or .jsonl files, on the documents held out"""
    stride: int | None = None
    """how far the window moves: below the block size each token is predicted from more before it, which takes longer;
    the block size when absent, and half of it in wikitext2-sliding"""
    tasks: tuple[str, ...] = ()
    """instead of a text: any of lambada, hellaswag-lm-eval, hellaswag-completion, wikitext2-lm-eval and
    wikitext2-sliding; hellaswag and wikitext2 are both of theirs, all is all"""
    limit: int | None = None
    """with --tasks: only the first so many passages, questions, pages or windows"""
    data: Path | None = None
    """with --tasks: read the benchmarks' files, .gz or not, from this folder instead of downloading them"""
    out: Path | None = None
    """keep what is found in this folder as it is found: the same command goes on there"""
    batch_size: int = 64
    """most rows of a forward pass; memory may ask for fewer"""
    device: Device = "auto"
    """where to compute"""
    dtype: Precision = "float32"
    """of the matrix products"""
    json: bool = False
    """print one JSON object"""

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"--batch-size must be at least 1, not {self.batch_size}")
        require(self.limit is None or self.limit >= 1, f"--limit must be at least 1, not {self.limit}")
        require(self.stride is None or self.stride >= 1, f"--stride must be at least 1, not {self.stride}")


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(EvalArgs, argv, "inkhorn eval")
    if args.text is not None and args.corpus is not None:
        raise UsageError(f"give either --text {args.text} or --corpus {args.corpus}, not both")
    if args.tasks:
        if args.text is not None or args.corpus is not None:
            raise UsageError("--tasks have texts of their own: leave out --text and --corpus")
        _run_tasks(args)
        return 0
    if args.limit is not None or args.data is not None:
        raise UsageError("--limit and --data go with --tasks")
    _run_text(args)
    return 0


def _session(args: EvalArgs) -> "Session":
    from inkhorn.evaluation.tasks.session import Session
    from inkhorn.hardware.device import select_device

    hardware = select_device(TrainConfig(device=args.device, dtype=args.dtype))
    return Session(resolve_checkpoint(args.model), hardware, out=args.out, batch_size=args.batch_size)


def _run_text(args: EvalArgs) -> None:
    from inkhorn.errors import CorpusError
    from inkhorn.evaluation.loss import bits
    from inkhorn.evaluation.tasks.windows import Windows

    session = _session(args)
    tokenizer, block_size = session.reader.tokenizer, session.model.config.block_size
    require(
        args.stride is None or args.stride <= block_size, f"--stride {args.stride} is beyond the block {block_size}"
    )
    from inkhorn.data.text import TextSource

    given = DataSource(path=args.text, corpus=args.corpus or "shakespeare", tokenizer=tokenizer)
    name, tokens, characters, n_bytes, left_out = (
        _read(given, tokenizer) if isinstance(given.source, TextSource) else _held_out(given)
    )
    if len(tokens) < 2:
        raise CorpusError(f"{name} has {len(tokens)} tokens for this model; a loss needs at least 2")
    task = Windows(tokens, block_size, args.stride or block_size, name=f"text-{name}")
    outcome = _examine(session, task)
    loss = task.loss(outcome.records)
    nats = loss * (len(tokens) - 1)
    result = {
        "model": str(args.model),
        "text": name,
        "method": task.method,
        "tokens": len(tokens) - 1,
        "loss": loss,
        "bits_per_token": bits(loss),
        "bits_per_character": bits(nats / characters) if characters else None,
        "bits_per_byte": bits(nats / n_bytes),
        "perplexity": math.exp(loss),
        "replaced_characters": left_out,
    }
    if args.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for key, value in result.items():
            shown = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            sys.stdout.write(f"{key.replace('_', ' '):20}{'not counted' if shown is None else shown}\n")


def _read(given: DataSource, tokenizer: "Tokenizer") -> tuple[str, "Array", int, int, int]:
    """A text of the user's whole, of a corpus what is held out: name, ids, characters, bytes, characters left out."""
    import numpy as np

    source = given.text_source()
    chunks = (chunk for split, chunk in source.chunks() if given.path or split == "val")
    ids, characters, n_bytes, left_out = [np.empty(0, np.int32)], 0, 0, 0
    for chunk in chunks:
        fitted, unknown = tokenizer.normalize(chunk)
        left_out += sum(u.count for u in unknown)
        characters += len(fitted)
        n_bytes += len(fitted.encode())
        ids.append(tokenizer.encode(fitted))
    return source.name, np.concatenate(ids), characters, n_bytes, left_out


def _held_out(given: DataSource) -> tuple[str, "Array", None, int, int]:
    """The same of documents: the one in 20 that training holds out, as ids, of which the characters are not counted."""
    data = given.tokenize()
    return data.name, data.val, None, data.val_bytes, data.replaced


def _examine(session: "Session", task: "Task", limit: int | None = None) -> "Outcome":
    """Examine with a bar, and say what becomes of an interrupted evaluation."""
    from inkhorn.cli.progress import progress

    count = len(task) if limit is None else min(limit, len(task))
    with session.journal(task) as journal:
        had = sum(item in journal.records for item in range(count))
        try:
            with _memory(session.batch_size), progress(task.name, count, task.unit, had) as bar:
                return session.examine(task, journal, limit, bar.advance)
        except KeyboardInterrupt:
            done = sum(item in journal.records for item in range(count))
            kept = f"kept in {journal.path}, from where the same command goes on" if journal.path else "lost"
            hint = "" if journal.path else " (--out FOLDER keeps them)"
            sys.stderr.write(f"\n{task.name}: {done:,} of {count:,} {task.unit} are done, {kept}{hint}")
            raise


@contextmanager
def _memory(batch_size: int) -> Iterator[None]:
    """Running out of memory becomes advice."""
    from inkhorn.hardware.device import is_out_of_memory

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        advice = f"try --batch-size {batch_size // 2}" if batch_size > 1 else "not even one row fits: try --device cpu"
        raise TrainingError(f"out of memory: {advice}") from None


def _run_tasks(args: EvalArgs) -> None:
    from inkhorn.evaluation.tasks import registry
    from inkhorn.tokenizer.char import CharTokenizer

    names = registry.chosen(args.tasks)
    session = _session(args)
    made = {name: registry.task(name, args.data, session.reader, args.stride) for name in names}  # all data, or none
    spelled = isinstance(session.reader.tokenizer, CharTokenizer)
    results: list[dict[str, Any]] = []
    for name, (task, data) in made.items():
        outcome = _examine(session, task, args.limit)
        results.append(
            {
                "task": name,
                "data": {"file": data.path.name, "sha256": data.sha256, "published": data.published},
                "unit": task.unit,
                "items": outcome.items,
                "of": outcome.of,
                "measures": [asdict(measure) for measure in outcome.measures],
                "cut_contexts": outcome.cut,
                "replaced_characters": outcome.replaced,
                "left_out_items": outcome.left_out,
                "notes": _notes(task, outcome, data.path.name, data.published, spelled=spelled),
            }
        )
        if not args.json:
            _show(results[-1])
    if args.json:
        sys.stdout.write(json.dumps({"model": str(args.model), "dtype": args.dtype, "tasks": results}) + "\n")


def _notes(task: "Task", outcome: "Outcome", file: str, published: bool, *, spelled: bool) -> list[str]:
    """What a reader of the numbers should know, in words."""
    notes = list(task.notes)
    if spelled:
        notes.append("a token is a character here: numbers by the token are not comparable with those of longer tokens")
    if not published:
        notes.append(f"{file} is not the published file byte for byte")
    if outcome.items + outcome.left_out < outcome.of:
        notes.append(f"only the first {outcome.items + outcome.left_out:,} of {outcome.of:,} {task.unit}")
    if outcome.cut:
        notes.append(f"{outcome.cut:,} contexts were longer than the block and lost their beginning")
    if outcome.replaced:
        notes.append(f"{outcome.replaced:,} characters read are not in the vocabulary: replaced, or left out")
    if outcome.left_out:
        notes.append(f"{outcome.left_out:,} {task.unit} cannot be written in the vocabulary and do not count")
    return notes


def _show(result: dict[str, Any]) -> None:
    """A task's numbers, each with its method, and the notes."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in (result["task"], "value", "±", "method"):
        table.add_column(column, justify="right" if column in ("value", "±") else "left", overflow="fold")
    for measure in result["measures"]:
        stderr = measure["stderr"]
        spread = "" if stderr is None else f"{stderr:.4f}"
        table.add_row(measure["name"], f"{measure['value']:,.4f}", spread, measure["method"])
    console = Console()
    console.print(table, markup=False)
    console.print(f"({result['items']:,} {result['unit']})", highlight=False)
    for note in result["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    console.print()
