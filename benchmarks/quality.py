"""What quantisation costs: the loss of a checkpoint on held-out text, by how its weights are kept.

    python benchmarks/quality.py [--model shakespeare] [--corpus shakespeare]

The whole held-out text in non-overlapping windows of the block size, as in `inkhorn eval`, through the native kernel.
Perplexities are beside that of float32.
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

TOGETHER = 16  # windows in a call
KEPT: list[tuple[Precision, int]] = [
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
    """whose held-out part"""
    text: Path | None = None
    """all of this text file instead"""


def loss_of(backend: NativeBackend, ids: np.ndarray) -> float:
    """Mean nats per token over every token but the first."""
    total, count = 0.0, 0
    for rows in evaluation_windows(ids, backend.config.block_size, TOGETHER):
        work = [ModelInput(slot, 0, row[:-1].tolist(), len(row) - 1) for slot, row in enumerate(rows)]
        for row, result in zip(rows, backend.run(work), strict=True):
            assert result.logits is not None
            logits = result.logits.astype(np.float64)  # (t, V)
            logits -= logits.max(-1, keepdims=True)
            right = logits[np.arange(len(logits)), row[1:]]
            total += float((np.log(np.exp(logits).sum(-1)) - right).sum())
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
    first = None
    for quantize, group in KEPT:
        packed = pack(config, weights, quantize, group)
        loss = loss_of(NativeBackend(packed, max_num_seqs=TOGETHER), ids)
        first = loss if first is None else first
        more, size = np.expm1(loss - first), packed.data.nbytes / 1e6
        chosen = "  (what --quantize takes)" if GROUP_SIZES.get(quantize, 0) == group else ""
        print(f"{quantize:8}{group or 'row':>7}{size:8.1f}{loss:11.5f}{more:+13.3%}{chosen}")
        rows.append({"quantize": quantize, "group": group, "megabytes": size, "loss": loss, "perplexity": float(more)})
    print(json.dumps({"tokens": len(ids), "rows": rows}))


if __name__ == "__main__":
    main()
