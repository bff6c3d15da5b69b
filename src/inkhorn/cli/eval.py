"""`inkhorn eval`: the loss of a model over a text, or its scores in lm-eval's tasks."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.data_source import DataFlags, DataSource
from inkhorn.cli.parsing import default, exclusive, flag, parse
from inkhorn.config.bounds import Range
from inkhorn.config.train import Device, Precision, TrainConfig
from inkhorn.errors import TrainingError, UsageError, require
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.load import load_tokenizer

if TYPE_CHECKING:
    from inkhorn.checkpoint.tensor_file import Array
    from inkhorn.hardware.device import Hardware
    from inkhorn.tokenizer.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class EvalArgs:
    """Compute the loss of a model over a text, or with --tasks its scores in tasks of lm-eval."""

    model: Annotated[str, default(None, alias="-m")] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    corpus: Annotated[str | None, default("shakespeare")] = None
    """validation split of a named corpus, see inkhorn data"""
    text: Annotated[Path | None, default()] = None
    """text file or folder to evaluate on; of .parquet or .jsonl files the held-out documents"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text files, such as cp1252, cp1251 or shift_jis"""
    stride: Annotated[int | None, Range(ge=1), default("the length of a window")] = None
    """step of the sliding window; smaller values give each token more context"""
    max_length: Annotated[int | None, Range(ge=1), default("the context length")] = None
    """length of a window in tokens, to compare models with different context lengths"""
    tasks: Annotated[tuple[str, ...], default()] = ()
    """names of lm-eval's tasks, or lambada_openai_last_token, hellaswag_completion, hellaswag_completion_norm"""
    include_path: Annotated[Path | None, default()] = None
    """folder with your own task YAML files"""
    limit: Annotated[int | None, Range(ge=1), default("all")] = None
    """with --tasks: only the first documents of each task"""
    num_fewshot: Annotated[int | None, Range(ge=0), default("the task's own")] = None
    """with --tasks: examples before each document"""
    batch_size: Annotated[int, Range(ge=1)] = 64
    """most rows of a forward pass; fewer where memory requires it"""
    device: Device = "auto"
    """device to compute on"""
    dtype: Precision = "float32"
    """precision of matrix products"""
    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    args = parse(EvalArgs, argv, "inkhorn eval", example="inkhorn eval --model runs/mine --text my.txt --stride 128")
    exclusive(args, "text", "corpus")
    if not args.tasks:
        for name in ("limit", "num_fewshot", "include_path"):
            require(getattr(args, name) is None, f"{flag(name)} needs --tasks")
    elif any(getattr(args, name) is not None for name in ("text", "corpus", "stride", "max_length")):
        raise UsageError("--tasks have their own texts: leave out --text, --corpus, --stride and --max-length")
    if args.include_path is not None and not args.include_path.is_dir():
        raise UsageError(f"--include-path {args.include_path} is not a folder")
    try:
        _run_tasks(args) if args.tasks else _run_text(args)
    except (RuntimeError, MemoryError) as error:
        from inkhorn.hardware.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        fewer = f"try --batch-size {args.batch_size // 2}"
        advice = fewer if args.batch_size > 1 else "one row does not fit: try --device cpu"
        raise TrainingError(f"out of memory: {advice}") from None
    return 0


def _hardware(args: EvalArgs) -> "Hardware":
    from inkhorn.hardware.device import select_device

    return select_device(TrainConfig(device=args.device, dtype=args.dtype))


def _run_text(args: EvalArgs) -> None:
    import numpy as np

    from inkhorn.cli.progress import progress
    from inkhorn.evaluation.loss import bits
    from inkhorn.evaluation.sliding import sliding_windows, text_loss
    from inkhorn.model import GPT

    folder, hardware = resolve_checkpoint(args.model), _hardware(args)
    tokenizer = load_tokenizer(folder)
    model = GPT.from_pretrained(folder).to(hardware.device).eval()
    block_size = model.config.block_size
    length = args.max_length or block_size
    require(length <= block_size, f"--max-length must be at most {block_size}, the context length, not {length}")
    stride = args.stride or length
    what = "the context length" if args.max_length is None else "--max-length"
    require(stride <= length, f"--stride must be at most {length}, {what}, not {stride}")
    given = DataSource(DataFlags(text=args.text, encoding=args.encoding), args.corpus or "shakespeare", tokenizer)
    name, tokens, characters, n_bytes, replaced = _read(given, tokenizer)
    start = tokenizer.eos_id if model.config.bos_token_id is None else model.config.bos_token_id
    separated = tokenizer.eos_id is not None and tokens[:1].tolist() == [tokenizer.eos_id]  # as documents are
    if start is not None and not separated:  # as before an empty prompt, so that the first token is scored, too
        tokens = np.concatenate([np.array([start], tokens.dtype), tokens])
    count = sum(1 for _ in sliding_windows(len(tokens), length, stride))
    with progress(name, count, "windows") as bar:
        loss = text_loss(
            model,
            tokens,
            hardware,
            stride=stride,
            max_length=length,
            batch_size=args.batch_size,
            progress=bar.advance,
        )
    nats = loss * (len(tokens) - 1)
    windows = f"sliding windows of {length}, stride {stride}"
    result = {
        "model": str(args.model),
        "text": name,
        "method": windows if stride < length else f"non-overlapping windows of {length}",
        "tokens": len(tokens) - 1,
        "loss": loss,
        "bits_per_token": bits(loss),
        "bits_per_character": bits(nats / characters) if characters else None,
        "bits_per_byte": bits(nats / n_bytes),
        "perplexity": math.exp(loss),
        "replaced_characters": replaced,
    }
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        shown = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{key.replace('_', ' '):20}{'not counted' if shown is None else shown}")


def _read(given: DataSource, tokenizer: "Tokenizer") -> tuple[str, "Array", int | None, int, int]:
    """A user's full text, or a corpus's validation split: name, ids, characters, bytes, replaced characters.

    Of documents, those that training holds out; their characters are not counted.
    """
    from inkhorn.data.text import TextSource

    source = given.source
    if not isinstance(source, TextSource):
        data = given.tokenize()
        return data.name, data.val, None, data.val_bytes, data.replaced
    # Encoded in one piece: a cut within a word would give other tokens.
    text = "".join(chunk for split, chunk in source.chunks() if given.flags.text or split == "val")
    normalized, unknown = tokenizer.normalize(text)
    replaced = sum(character.count for character in unknown)
    printed = normalized.replace(END_OF_TEXT, "")  # the separator's loss counts, but it is no character of the text
    return source.name, tokenizer.encode(normalized), len(printed), len(printed.encode()), replaced


def _run_tasks(args: EvalArgs) -> None:
    from lm_eval.utils import make_table

    from inkhorn.evaluation.harness import evaluate_tasks

    results = evaluate_tasks(
        resolve_checkpoint(args.model),
        _hardware(args),
        args.tasks,
        include_path=args.include_path,
        limit=args.limit,
        num_fewshot=args.num_fewshot,
        batch_size=args.batch_size,
    )
    if args.json:
        kept: dict[str, Any] = {key: results[key] for key in ("results", "versions", "n-shot", "n-samples", "notes")}
        print(json.dumps({"model": args.model, "dtype": args.dtype, **kept}))
        return
    print(make_table(results), end="")
    if results.get("groups"):
        print(make_table(results, "groups"), end="")
    for note in results["notes"]:
        print(f"note: {note}")
