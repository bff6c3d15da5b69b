"""Helpers that run nanoGPT's own code on our data, parse its log and evaluate its checkpoints."""

import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import load_module

from inkhorn.data.batches import evaluation_windows
from inkhorn.data.dataset import Array

CONFIG = "config/train_shakespeare_char.py"
OUT = "out-shakespeare-char"  # the out_dir of CONFIG
EVAL_BATCH_SIZE = 64
"""Windows per batch of an evaluation; does not change the loss."""

NEEDED = ("train.py", "model.py", CONFIG, "data/shakespeare_char/prepare.py")


def seed_change(seed: int) -> dict[str, str]:
    return {"1337 + seed_offset": f"{seed} + seed_offset"}


SCRIPT_CHANGES = seed_change(1337) | {
    "        losses = estimate_loss()\n": "        eval_start = time.time()\n        losses = estimate_loss()\n",
    "torch.save(checkpoint, os.path.join(out_dir, 'ckpt.pt'))": (
        "torch.save(checkpoint, os.path.join(out_dir, f'ckpt-{iter_num}.pt'))"
    ),
    "    if iter_num == 0 and eval_only:\n": (
        "        t0 += time.time() - eval_start\n    if iter_num == 0 and eval_only:\n"
    ),
    "local_iter_num = 0 #": "parent = os.getppid()\nlocal_iter_num = 0 #",
    "    # termination conditions\n": (
        "    if os.getppid() != parent:\n"
        "        break\n"
        "    if os.path.exists('stop'):\n"
        "        checkpoint = {'model': raw_model.state_dict(), 'model_args': model_args, 'config': config}\n"
        "        torch.save(checkpoint, os.path.join(out_dir, f'ckpt-{iter_num}.pt'))\n"
        "        break\n"
        "    # termination conditions\n"
    ),
}
"""Replacements that record.py makes in train.py.

They set the seed, keep the checkpoint of each evaluation, exclude evaluation from the time of the next step, and end
the run when a file named `stop` appears (after a last checkpoint) or when the parent process ends.
"""


def changed_script(nanogpt: Path, changes: Mapping[str, str]) -> str:
    """Return train.py with each key of `changes`, which must occur exactly once, replaced by its value.

    Exits with an error if the folder is not a nanoGPT checkout.
    """
    for name in NEEDED:
        if not (nanogpt / name).is_file():
            sys.exit(f"there is no {nanogpt / name}: give the folder of a checkout of nanoGPT")
    script = (nanogpt / "train.py").read_text()
    for old, new in changes.items():
        if script.count(old) != 1:
            sys.exit(
                f"nanoGPT's train.py has {old!r} {script.count(old)} times, not once: use a checkout of November 2025"
            )
        script = script.replace(old, new)
    return script


def copy_with_text(nanogpt: Path, text: Path, copy: Path, changes: Mapping[str, str]) -> Path:
    """Copy the checkout, with `text` as its shakespeare_char data and `changes` applied to train.py.

    Returns:
        The data folder of the copy, with train.bin and val.bin.

    """
    script = changed_script(nanogpt, changes)
    shutil.copytree(nanogpt, copy, ignore=shutil.ignore_patterns(".git", "assets", "*.ipynb", "out*"))
    (copy / "train.py").write_text(script)
    data = copy / "data" / "shakespeare_char"
    shutil.copyfile(text, data / "input.txt")
    # prepare.py imports requests for a download that is not needed here
    (data / "prepare.py").write_text((data / "prepare.py").read_text().replace("import requests", ""))
    subprocess.run([sys.executable, str(data / "prepare.py")], check=True, capture_output=True)
    return data


def flags(settings: str) -> list[str]:
    """Convert `a=1 b=2` to the flags of nanoGPT's configurator."""
    return [f"--{setting}" for setting in settings.split()]


def record_settings(device: str, changes: Sequence[str], points: int) -> str:
    """The settings of train.py for record.py. Later settings override earlier ones, so the user's come last."""
    settings = f"device={device} log_interval=1 always_save_checkpoint=True"
    settings += " compile=False eval_iters=20" if device == "cpu" else ""
    steps = dict(change.split("=", 1) for change in changes).get("max_iters", "")
    if steps.isdecimal():  # by default its config evaluates at twenty points
        settings += f" eval_interval={max(1, int(steps) // points)}"
    return " ".join((settings, *changes))


def run_script(copy: Path, settings: str, minutes: float | None) -> str:
    """Run train.py of a copy and return its log. With `minutes` (and SCRIPT_CHANGES) it stops at the next step."""
    command = [sys.executable, "train.py", CONFIG, *flags(settings)]
    log, errors = copy / "log.txt", copy / "errors.txt"
    with log.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(command, cwd=copy, stdout=out, stderr=err)
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(None if minutes is None else 60 * minutes)
            (copy / "stop").touch()
            process.wait()
        finally:
            process.kill()  # no effect if it has exited
            process.wait()  # the folder it writes to is about to be deleted
    if process.returncode:
        sys.exit(f"nanoGPT's train.py failed:\n{errors.read_text()[-2000:]}")
    return log.read_text()


def step_seconds(log: str) -> list[float]:
    """The time of each logged step, in order (all steps if log_interval is 1)."""
    return [float(ms) / 1000 for ms in re.findall(r"^iter \d+: loss \S+, time ([\d.]+)ms", log, re.M)]


def logged_val_losses(log: str) -> list[float]:
    """nanoGPT's validation losses, which it estimates on random batches, from its log."""
    return [float(loss) for loss in re.findall(r"^step \d+: train loss \S+, val loss (\S+)$", log, re.M)]


def load_checkpoint(copy: Path, path: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Load nanoGPT's model in eval mode from a checkpoint; also returns the checkpoint's contents."""
    nanogpt = load_module(copy / "model.py", "nanogpt_model")
    saved = torch.load(path, map_location="cpu", weights_only=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its number of parameters
        model = nanogpt.GPT(nanogpt.GPTConfig(**saved["model_args"]))
    model.load_state_dict({name.removeprefix("_orig_mod."): value for name, value in saved["model"].items()})
    return model.eval(), saved


@torch.no_grad()
def full_split_loss(model: torch.nn.Module, ids: Array, block_size: int) -> float:
    """Mean loss in nats over every token of `ids` but the first, in non-overlapping windows, in the model's precision.

    The model, ours or nanoGPT's, is in eval mode.
    """
    device = next(model.parameters()).device
    total = count = 0.0
    for rows in evaluation_windows(ids, block_size, EVAL_BATCH_SIZE):
        window = torch.from_numpy(rows).to(device)
        _, loss = model(window[:, :-1], window[:, 1:].contiguous())  # nanoGPT calls view() on the targets
        total, count = total + float(loss) * window[:, 1:].numel(), count + window[:, 1:].numel()
    return total / count


def val_ids(data: Path) -> Array:
    """The validation split written by prepare.py."""
    return np.fromfile(data / "val.bin", dtype=np.uint16)
