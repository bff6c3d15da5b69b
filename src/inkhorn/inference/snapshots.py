"""Snapshots of a training run: its weights at some steps in eight bits, and what each of them makes of one prompt.

runs/mine/snapshots/step-0000125/
  config.json, model.safetensors, ...   a checkpoint folder (checkpoint/int8.py)
  snapshot.json                         its step and loss, and the digest of the float32 weights that it was made from
  view.json                             text, attention and logit lens for a prompt, computed with these weights

`training/snapshots.py` writes them; the report, the server and the static page show them with a slider.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.run_folder import STEP_FOLDER
from inkhorn.checkpoint.weights import read_config
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import CheckpointError
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.utils.files import read_json

FOLDER = "snapshots"
ABOUT = "snapshot.json"
VIEW = "view.json"
VIEW_TOKENS = 200
"""tokens that a snapshot writes for its view"""


@dataclass(frozen=True)
class Snapshot:
    folder: Path
    step: int
    loss: float  # validation loss over some windows, in nats per token
    weights: str  # digest of the float32 weights that it was made from


def read_snapshot(folder: Path) -> Snapshot:
    """Read a snapshot's description; CheckpointError if it is damaged or does not belong to the weights beside it."""
    about = read_json(folder / ABOUT)
    try:
        snapshot = Snapshot(folder, int(about["step"]), float(about["loss"]), str(about["weights"]))
        expected = about["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / ABOUT} is damaged: {error!r}") from None
    check_digest(folder / ABOUT, expected, folder)
    return snapshot


def describe_snapshots(checkpoint: Path) -> dict[str, Any] | None:
    """What a page says of the snapshots of a checkpoint's run: prompt, seed, and step and loss of each; None for none.

    The files are not checked: loading a snapshot does that (`snapshots_of`).
    """
    run = checkpoint.resolve().parent
    if STEP_FOLDER.fullmatch(checkpoint.resolve().name) is None:
        return None
    try:
        found = sorted(
            (read_json(path) for path in (run / FOLDER).glob(f"step-*/{ABOUT}")), key=lambda each: each["step"]
        )
        if not found:
            return None
        view = read_json(run / FOLDER / f"step-{found[0]['step']:07d}" / VIEW)
        points = [{"step": int(each["step"]), "loss": float(each["loss"])} for each in found]
        return {"prompt": str(view["prompt"]), "seed": int(view["seed"]), "snapshots": points}
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def check_digest(path: Path, found: object, folder: Path) -> None:
    """Raise CheckpointError unless what was read from `path` was made from the weights in `folder`."""
    if found != (expected := weights_digest(folder)):
        raise CheckpointError(
            f"{path} was made from other weights ({found}, not {expected}): delete {path.parent} and train again"
        )


def list_snapshots(run: Path) -> list[Snapshot]:
    """The snapshots in a run folder, by step; CheckpointError if one is damaged."""
    folders = [path for path in sorted((run / FOLDER).glob("step-*")) if STEP_FOLDER.fullmatch(path.name)]
    return sorted((read_snapshot(path) for path in folders if (path / ABOUT).is_file()), key=lambda each: each.step)


def snapshots_of(checkpoint: Path) -> list[Snapshot]:
    """The snapshots of the run that a checkpoint folder lies in; none outside a run.

    Raises:
        CheckpointError: a snapshot is damaged, or the snapshots are those of another run.
    """
    match = STEP_FOLDER.fullmatch(checkpoint.resolve().name)
    if match is None or not (snapshots := list_snapshots(checkpoint.resolve().parent)):
        return []
    config = read_config(checkpoint)
    for snapshot in snapshots:
        if read_config(snapshot.folder) != config:
            raise CheckpointError(f"{snapshot.folder} is a snapshot of another model than {checkpoint}: delete it")
        if snapshot.step == int(match[1]):
            check_digest(snapshot.folder / ABOUT, snapshot.weights, checkpoint)
    return snapshots


def read_view(snapshot: Snapshot) -> dict[str, Any]:
    """What the snapshot makes of the run's prompt (`make_view`); CheckpointError if other weights made it."""
    view = read_json(snapshot.folder / VIEW)
    check_digest(snapshot.folder / VIEW, view.get("digest"), snapshot.folder)
    return view


def make_view(folder: Path, prompt: str, seed: int) -> dict[str, Any]:
    """The text that a checkpoint writes after a prompt, and what it computes over the prompt, as JSON.

    `explain` is that of layer 0 (`Explanation.to_json`) without the vectors of the last token; `attention` has that of
    every layer. Text and numbers come from the same weights: the engine's text is that of `inkhorn generate`.
    """
    with Engine.from_pretrained(folder) as engine:
        params = SamplingParams(seed=seed, max_tokens=VIEW_TOKENS)
        text = engine.submit(prompt, params).result().text
        token_ids, tokenizer = engine.encode_prompt(prompt).token_ids, engine.tokenizer
    model = NumpyModel.from_pretrained(folder)
    layers = [explain(model, tokenizer, token_ids, layer).to_json() for layer in range(model.config.n_layer)]
    attention = [layer.pop("attention") for layer in layers]
    first = layers[0] | {"last": {}}
    view = {"digest": weights_digest(folder), "prompt": prompt, "seed": seed, "text": text}
    return view | {"explain": first, "attention": attention}


def attention_bytes(n_layer: int, n_head: int, tokens: int) -> int:
    """The size of the attention weights in a view."""
    return n_layer * n_head * tokens * (tokens + 1) // 2
