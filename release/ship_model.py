"""Make a shipped model of a training run: `python release/ship_model.py RUN --name shakespeare`.

RUN is a run folder, whose best checkpoint is taken, or one of its step-* folders. In the folder of the shipped models
this writes the weights in 16 bits, the tokenizer and the model card. Then `inkhorn inspect NAME --rebuild` makes the
head atlas, the means and the steering vectors. Title, tagline and prompts of the card are those of the model that is
replaced; `--move-old NAME` keeps that model under another name. The scores in the card are those of the 16-bit weights.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from inkhorn.checkpoint.card import read_card
from inkhorn.checkpoint.model_card import model_card
from inkhorn.checkpoint.resolve import ASSETS, resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.checkpoint.weights import read_config, write_generation_config
from inkhorn.config.model import ModelConfig
from inkhorn.data.corpora import CORPORA
from inkhorn.errors import CheckpointError, InkhornError
from inkhorn.model import GPT
from inkhorn.utils.files import read_json
from inkhorn.utils.jsonl import read_jsonl

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
MEASURED = ("shakespeare", "tiny-shakespeare")
"""The held-out plays, and tiny Shakespeare's validation text, which holds parts of them in another edition."""
PROTOCOL = (
    "every character of the text counted, the first token of a window included; float32 matrix products "
    "(`inkhorn eval`)"
)


def inkhorn(*words: str) -> str:
    """Run a command of this installation; its standard output."""
    done = subprocess.run([sys.executable, "-m", "inkhorn", *words], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def run_of(checkpoint: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is recorded of the run of a checkpoint: its run.json and the lines of its metrics.jsonl up to this step.

    Raises:
        CheckpointError: the checkpoint is in no run folder.
    """
    run = checkpoint.parent
    if not (run / "run.json").is_file():
        raise CheckpointError(f"{checkpoint} is no step-* folder of a run: {run} has no run.json")
    step = RunFolder.step_of(checkpoint)
    lines = [line for line in read_jsonl(run / "metrics.jsonl") if line["step"] <= step]
    return read_json(run / "run.json"), lines


def score(folder: Path, text: str) -> str:
    """The bits per character of a corpus's validation split or of a text file, without overlap and at half a window."""
    where = ("--text", text) if Path(text).is_file() else ("--corpus", text)
    half = read_config(folder).block_size // 2
    plain, sliding = (
        json.loads(inkhorn("eval", "--model", str(folder), *where, "--json", *more))
        for more in ((), ("--stride", str(half)))
    )
    return (
        f"**{plain['bits_per_character']:.4f} bits per character** ({plain['loss']:.4f} nats per token, "
        f"{plain['tokens']:,} tokens); stride {half}: {sliding['bits_per_character']:.4f} bits"
    )


def facts(run: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], config: ModelConfig, step: int) -> dict[str, str]:
    """The rows of the card on data, recipe, time and hardware."""
    train, corpus = run["train"], run["corpus"]
    batch = train["batch_size"] * train["grad_accum"]
    size = f"{batch} x {config.block_size}"
    tokens, seconds = step * batch * config.block_size, max((line.get("seconds", 0) for line in lines), default=0)
    description = f": {CORPORA[corpus].description}" if corpus in CORPORA else ""
    matrices = f"Muon {train['muon_lr']:g} on the matrices of the blocks, " if train["optimizer"] == "muon" else ""
    averaged = (
        f"; the weights are an average over the steps, decay {train['ema_decay']:g}" if train["ema_decay"] else ""
    )
    rows = {
        "training text": f"{corpus or run['text']}{description}; {run['train_tokens']:,} tokens",
        "held out in training": f"{run['val_tokens']:,} tokens, validated during the run",
        "recipe": f"`{run['command']}`",
        "steps": f"{step:,} of {train['steps']:,}, each of {size} tokens: {tokens / 1e6:,.1f}M tokens",
        "learning rates": f"{matrices}AdamW {train['lr']:g}; {train['schedule']} schedule, "
        f"{train['warmup_steps']:,} steps of warm-up, decay over the last {train['cooldown_frac']:.0%}",
        "regularization": f"dropout {train['dropout']:g}, weight decay {train['weight_decay']:g}{averaged}",
        "seed": str(train["seed"]),
        "time": f"{seconds / 3600:.1f} hours",
        "hardware": f"{run['machine']}; {'; '.join(run['hardware'])}; PyTorch {run['versions']['torch']}",
    }
    if losses := [line["train/loss"] for line in lines if "train/loss" in line]:
        rows["last training loss"] = f"{losses[-1]:.4f} nats per token"
    return rows


def ship(args: argparse.Namespace) -> Path:
    """Write the folder of the shipped model, completely or not at all; returns it."""
    checkpoint, target = resolve_checkpoint(args.run), args.assets / args.name
    run, lines = run_of(checkpoint)
    moved = args.assets / args.move_old if args.move_old else None
    if target.exists() and moved is None and not args.replace:
        raise InkhornError(f"{target} exists: --move-old NAME keeps it under another name, --replace deletes it")
    if moved is not None and (moved.exists() or not target.exists()):
        raise InkhornError(f"--move-old: {moved} exists, or {target} does not")
    extra = {} if args.rows is None else read_json(args.rows)
    config, step = read_config(checkpoint), RunFolder.step_of(checkpoint)
    page = replace(read_card(target), layout=read_card(checkpoint).layout)
    args.assets.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".ship-", dir=args.assets.parent) as work:
        new = Path(work) / args.name
        GPT.from_pretrained(checkpoint).save_pretrained(new, torch.float16)
        for name in TOKENIZER_FILES:
            shutil.copyfile(checkpoint / name, new / name)
        write_generation_config(new, config)
        scores = {f"score on {Path(text).name}": score(new, text) for text in args.measure}
        rows = facts(run, lines, config, step) | scores | ({"protocol": PROTOCOL} if scores else {}) | extra
        text = model_card(
            config, f"trained on {run['corpus'] or run['text']}", rows, page, {"license": "mit", "language": "en"}
        )
        (new / "README.md").write_text(text, encoding="utf-8")
        if moved is not None:
            target.rename(moved)
        elif target.exists():
            target.rename(Path(work) / "old")
        new.rename(target)
    return target


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="run folder or checkpoint in it")
    parser.add_argument("--name", default="shakespeare", help="name of the shipped model")
    parser.add_argument("--move-old", metavar="NAME", help="keep the model that has this name now under another one")
    parser.add_argument("--replace", action="store_true", help="delete the model that has this name now")
    parser.add_argument("--measure", nargs="*", default=MEASURED, metavar="TEXT", help="corpora or text files to score")
    parser.add_argument("--rows", type=Path, help="JSON object with further rows of the card, such as text measures")
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of the shipped models")
    parser.add_argument("--no-inspect", action="store_true", help="do not make the atlas and the vectors")
    args = parser.parse_args(argv)
    try:
        target = ship(args)
    except (InkhornError, subprocess.CalledProcessError) as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return 1
    print(f"written: {target}, {(target / 'model.safetensors').stat().st_size / 1e6:.1f} MB")
    if not args.no_inspect:
        print(inkhorn("inspect", args.name if args.assets == ASSETS else str(target), "--rebuild"), end="")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception, so that the temporary folder is removed
    sys.exit(main())
