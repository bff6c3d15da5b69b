"""A loaded model with its engine."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from inkhorn.config.model import ModelConfig
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.engine import Engine
from inkhorn.inference.interventions import InterventionResolver
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.server.snapshot_cache import SnapshotCache


@dataclass
class ServedModel:
    """A model with its engine; `id` is its name in the API."""

    id: str
    folder: Path
    engine: Engine
    created: int = field(default_factory=lambda: int(time.time()))
    fingerprint: str = field(init=False)
    """identifies weights, precision and instruction set: with the same fingerprint, a seed gives the same text"""

    def __post_init__(self) -> None:
        self.fingerprint = f"fp_{weights_digest(self.folder)}_{self.engine.backend.fingerprint}"

    @property
    def config(self) -> ModelConfig:
        return self.engine.config

    @cached_property
    def reference(self) -> NumpyModel:
        """The NumPy model, whose intermediate values `explain` reads; loaded on first use."""
        return NumpyModel.from_pretrained(self.folder)

    @cached_property
    def resolver(self) -> InterventionResolver:
        """Turns the interventions of requests into the engine's edits."""
        return InterventionResolver(self.folder, self.config, self.engine.encode_prompt, lambda: self.reference)

    @cached_property
    def snapshots(self) -> SnapshotCache:
        """The snapshots of the run that the model comes from; read on first use."""
        return SnapshotCache(self.folder)

    @cached_property
    def token_texts(self) -> list[str]:
        """The text of each token; a partial UTF-8 sequence is written as OpenAI does, bytes:\\xe2."""
        return [_token_text(token) for token in self.engine.tokenizer.token_bytes]

    def close(self) -> None:
        """Stop the engine; unfinished requests fail. What has been computed from the weights is dropped, too."""
        self.engine.close()
        if "snapshots" in self.__dict__:
            self.__dict__.pop("snapshots").close()
        for name in ("reference", "resolver"):  # they refer to each other through this object
            self.__dict__.pop(name, None)


def _token_text(token: bytes) -> str:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
