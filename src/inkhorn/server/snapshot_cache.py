"""The snapshots of a served model's training run, of which two at most are loaded."""

from pathlib import Path
from threading import Lock
from typing import Any

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import InkhornError, require
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inference.snapshots import Snapshot, snapshots_of
from inkhorn.tokenizer.normalize import UnknownPolicy

MAX_LOADED = 2
"""Snapshots in memory: the one that is shown, and the one before."""


class SnapshotCache:
    """The snapshots of the run that the checkpoint in `folder` lies in; may be used from any thread.

    Their digests are checked once, at the first request.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._found: dict[int, Snapshot] | None = None
        self._loaded: dict[int, tuple[Engine, NumpyModel]] = {}

    def look(self, step: int, prompt: str, params: SamplingParams, layer: int, policy: UnknownPolicy) -> dict[str, Any]:
        """The text that a snapshot writes after a prompt, and what it computes over the prompt.

        Raises:
            UsageError: there is no snapshot of this step, or no such layer.
            CheckpointError: the snapshots are damaged, or belong to other weights.
        """
        with self._lock:
            engine, model = self._load(step)
            encoded = engine.encode_prompt(prompt, policy)
            activations = explain(model, engine.tokenizer, encoded.token_ids, layer).to_json()
            return {"text": engine.submit(encoded, params).result().text, "explain": activations}

    def _load(self, step: int) -> tuple[Engine, NumpyModel]:
        if self._found is None:
            self._found = {snapshot.step: snapshot for snapshot in snapshots_of(self._folder)}
        known = ", ".join(map(str, self._found)) or "none"
        require(step in self._found, f"step: the model has no snapshot of step {step}; its snapshots: {known}")
        loaded = self._loaded.pop(step, None)
        if loaded is None:
            while len(self._loaded) >= MAX_LOADED:
                self._loaded.pop(next(iter(self._loaded)))[0].close()
            folder = self._found[step].folder
            loaded = Engine.from_pretrained(folder, max_num_seqs=1), NumpyModel.from_pretrained(folder)
        self._loaded[step] = loaded  # the last one is the newest
        return loaded

    def public_message(self, error: InkhornError) -> str:
        """An error's message for clients, without the server's paths."""
        message = str(error)
        for path in (self._folder.resolve().parent, self._folder.parent):
            message = message.replace(f"{path}/", "")
        return message

    def close(self) -> None:
        with self._lock:
            while self._loaded:
                self._loaded.popitem()[1][0].close()
