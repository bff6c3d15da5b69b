"""The served models by name."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import Precision
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.select import load_backend
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.server.errors import ApiError
from inkhorn.tokenizer.load import load_tokenizer

_WEIGHTS = ("model.safetensors", "packed.safetensors")


@dataclass
class ServedModel:
    """A model with its engine.

    Attributes:
        id: its name in the API.
        folder: its checkpoint folder.
        engine: the engine that generates text.
        created: Unix time at which it was loaded.
        fingerprint: identifies weights, precision and instruction set: with the same fingerprint, a seed gives the
            same text.
    """

    id: str
    folder: Path
    engine: Engine
    created: int = field(default_factory=lambda: int(time.time()))
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for name in _WEIGHTS:
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
                break
        self.fingerprint = f"fp_{digest.hexdigest()[:8]}_{self.engine.backend.fingerprint}"

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.engine.config

    @cached_property
    def reference(self) -> NumpyModel:
        """The NumPy model, whose intermediate values `explain` reads; loaded on first use."""
        return NumpyModel.from_pretrained(self.folder)

    @cached_property
    def token_texts(self) -> list[str]:
        """The text of each token; a partial UTF-8 sequence is written as OpenAI does, bytes:\\xe2."""
        return [_token_text(token) for token in self.engine.tokenizer.token_bytes]


def _token_text(token: bytes) -> str:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


class ModelRegistry(Mapping[str, ServedModel]):
    """The served models by name. The first is the default.

    Args:
        models: at least one.
    """

    def __init__(self, *models: ServedModel) -> None:
        self._models = {model.id: model for model in models}
        if len(self._models) < len(models):
            raise UsageError("two models have the same name: rename a folder, or serve one of them")

    @classmethod
    def load(
        cls, names: list[str], *, precision: Precision | None, threads: int | None, max_num_seqs: int, max_queued: int
    ) -> "ModelRegistry":
        """Load shipped models by name and checkpoints by folder, each named after the last part of its path."""
        models = []
        for name in names:
            folder = resolve_checkpoint(name)
            backend = load_backend(folder, precision=precision, threads=threads, max_num_seqs=max_num_seqs)
            engine = Engine(backend, load_tokenizer(folder), max_queued=max_queued)
            models.append(ServedModel(Path(name).name or folder.name, folder, engine))
        return cls(*models)

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def lookup(self, name: str | None) -> ServedModel:
        """The model that a request names, the first if it names none; ApiError 404 if it does not exist."""
        if name is None:
            return next(iter(self.values()))
        if name not in self:
            message = f"the model {name!r} does not exist: {nearest(name, list(self))}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self[name]

    def close(self) -> None:
        """Stop the engines; running requests fail."""
        for model in self.values():
            model.engine.close()
