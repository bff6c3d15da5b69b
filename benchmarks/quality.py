"""Quality loss from quantization: held-out loss of a checkpoint by weight precision and group size.

    python benchmarks/quality.py [--model shakespeare] [--corpus shakespeare]

Evaluates held-out text in non-overlapping windows of the block size, as `inkhorn eval` does, with the native kernel.
Perplexities are given relative to float32.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.quantization import GROUP_SIZES, Precision
from inkhorn.data.batches import evaluation_windows
from inkhorn.data.corpora import load_text_corpus
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.backends.native_backend import NativeBackend
from inkhorn.inference.backends.packed_weights import pack
from inkhorn.tokenizer.load import load_tokenizer

BATCH_SIZE = 16  # windows per forward pass
FORMATS: list[tuple[Precision, int]] = [
    ("fp32", 0),
    ("bf16", 0),
    *(("int8", group) for group in (0, 128, 64, 32)),
    *(("int4", group) for group in (0, 128, 64, 32)),
]


@dataclass
class Args:
    model: str = "shakespeare"
    """a shipped model's name, or a checkpoint folder"""
    corpus: str = "shakespeare"
    """corpus whose held-out text is used"""
    text: Path | None = None
    """use this text file instead"""


def mean_loss(backend: NativeBackend, ids: np.ndarray) -> float:
    """Mean loss in nats over every token but the first."""
    total, count = 0.0, 0
    for rows in evaluation_windows(ids, backend.config.block_size, BATCH_SIZE):
        work = [ModelInput(slot, 0, row[:-1].tolist(), len(row) - 1) for slot, row in enumerate(rows)]
        for row, result in zip(rows, backend.run(work), strict=True):
            assert result.logits is not None
            logits = result.logits.astype(np.float64)  # (t, V)
            logits -= logits.max(-1, keepdims=True)
            targets = logits[np.arange(len(logits)), row[1:]]
            total += float((np.log(np.exp(logits).sum(-1)) - targets).sum())
            count += len(logits)
    return total / count


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    folder = resolve_checkpoint(args.model)
    config, tokenizer = read_config(folder), load_tokenizer(folder)
    weights = read_weights(folder, config)
    if args.text:
        text = args.text.read_text(encoding="utf-8")
    else:
        text = "".join(load_text_corpus(args.corpus).val_chunks())
    ids = tokenizer.encode(tokenizer.normalize(text)[0])
    print(f"{len(ids):,} tokens\nweights   group      MB       loss   perplexity")
    rows: list[dict[str, object]] = []
    reference = None
    for quantize, group in FORMATS:
        packed = pack(config, weights, quantize, group)
        loss = mean_loss(NativeBackend(packed, max_num_seqs=BATCH_SIZE), ids)
        reference = loss if reference is None else reference
        increase, size = np.expm1(loss - reference), packed.data.nbytes / 1e6
        default = "  (default of --quantize)" if GROUP_SIZES.get(quantize, 0) == group else ""
        print(f"{quantize:8}{group or 'row':>7}{size:8.1f}{loss:11.5f}{increase:+13.3%}{default}")
        rows.append(
            {"quantize": quantize, "group": group, "megabytes": size, "loss": loss, "perplexity": float(increase)}
        )
    print(json.dumps({"tokens": len(ids), "rows": rows}))


if __name__ == "__main__":
    main()
