"""`inkhorn eval`: the loss of a model over the whole held-out part of a text."""

import json
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from inkhorn.checkpoint import resolve_checkpoint
from inkhorn.commands.flags import parse
from inkhorn.errors import UsageError
from inkhorn.recipes import Device, Precision, TrainConfig


@dataclass(frozen=True, kw_only=True)
class EvalArgs:
    """The loss of a model over the whole validation part of a text, in non-overlapping windows of the block size."""

    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    corpus: str | None = None
    """the held-out part of a named corpus, see inkhorn data; shakespeare when absent"""
    text: Path | None = None
    """evaluate on all of this text file, or folder, instead"""
    device: Device = "auto"
    """where to compute"""
    dtype: Precision = "float32"
    """of the matrix products"""
    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(EvalArgs, argv, "inkhorn eval")
    if args.text is not None and args.corpus is not None:
        raise UsageError(f"give either --text {args.text} or --corpus {args.corpus}, not both")
    import numpy as np

    from inkhorn import corpus, textsource
    from inkhorn.errors import CorpusError
    from inkhorn.evaluate import bits, split_loss
    from inkhorn.hardware import choose_hardware
    from inkhorn.model import GPT
    from inkhorn.tokenizer import load_tokenizer

    folder = resolve_checkpoint(args.model)
    hardware = choose_hardware(TrainConfig(device=args.device, dtype=args.dtype))
    model, tokenizer = GPT.from_pretrained(folder).to(hardware.device), load_tokenizer(folder)
    source = textsource.from_path(args.text) if args.text else corpus.fetch(args.corpus or "shakespeare")
    chunks = chain(source.train_chunks(), source.val_chunks()) if args.text else source.val_chunks()
    ids, characters, left_out = [], 0, 0
    for chunk in chunks:
        fitted, unknown = tokenizer.fit(chunk)
        left_out += sum(u.count for u in unknown)
        characters += len(fitted)
        ids.append(tokenizer.encode(fitted))
    tokens = np.concatenate(ids)
    if len(tokens) < 2:
        raise CorpusError(f"{source.name} has {len(tokens)} tokens for this model; a loss needs at least 2")
    loss = split_loss(model, tokens, hardware)
    nats = loss * (len(tokens) - 1)
    result = {
        "model": str(args.model),
        "text": source.name,
        "method": f"non-overlapping windows of {model.config.block_size}",
        "tokens": len(tokens) - 1,
        "loss": loss,
        "bits_per_token": bits(loss),
        "bits_per_character": bits(nats / characters),
        "perplexity": float(np.exp(loss)),
        "replaced_characters": left_out,
    }
    if args.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        for name, value in result.items():
            shown = f"{value:,.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
            sys.stdout.write(f"{name.replace('_', ' '):20}{shown}\n")
    return 0
