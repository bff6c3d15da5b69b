"""The models that are served."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.select import load_backend
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import ReferenceModel
from inkhorn.tokenizer.load import load_tokenizer

_WEIGHTS = ("model.safetensors", "packed.safetensors")


@dataclass
class ServedModel:
    """A model under its name.

    Attributes:
        id: its name for clients.
        folder: its checkpoint.
        engine: writes.
        created: when it was loaded, in seconds since 1970.
        fingerprint: changes with the weights, the precision they are kept in, and the instructions in use: where it is
            the same, so is the text of a seed.

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
        self.fingerprint = f"fp_{digest.hexdigest()[:8]}_{self.engine.backend.arithmetic}"

    @property
    def config(self) -> ModelConfig:
        """Its shape."""
        return self.engine.config

    @cached_property
    def reference(self) -> ReferenceModel:
        """Its forward pass with everything named, loaded when somebody first looks inside."""
        return ReferenceModel.from_pretrained(self.folder)

    @cached_property
    def token_texts(self) -> list[str]:
        """Each token as text; one that is part of a character is written as OpenAI does, bytes:\\xe2."""
        return [_text_of(token) for token in self.engine.tokenizer.token_bytes]


def _text_of(token: bytes) -> str:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


class Models(Mapping[str, ServedModel]):
    """The models by their names; the first is meant where a request names none.

    Args:
        served: at least one.

    """

    def __init__(self, *served: ServedModel) -> None:
        self._models = {model.id: model for model in served}
        if len(self._models) < len(served):
            raise UsageError("two models have the same name: rename a folder, or serve one of them")

    @classmethod
    def load(
        cls, names: list[str], *, quantize: str | None, threads: int | None, slots: int, max_queue: int
    ) -> "Models":
        """Load shipped models by name and checkpoints by folder, each under the last part of its path."""
        served = []
        for name in names:
            folder = resolve_checkpoint(name)
            backend = load_backend(folder, quantize=quantize, threads=threads, slots=slots)
            engine = Engine(backend, load_tokenizer(folder), max_queue=max_queue)
            served.append(ServedModel(Path(name).name or folder.name, folder, engine))
        return cls(*served)

    def __getitem__(self, name: str) -> ServedModel:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str | None) -> ServedModel | None:
        """A model by name, the first for None, or None if there is no such model."""
        return next(iter(self.values())) if name is None else self.get(name)

    def suggest(self, name: str) -> str:
        """What to say about a name that is not there."""
        return nearest(name, list(self))

    def close(self) -> None:
        """Stop the engines; what they write gets an error."""
        for model in self.values():
            model.engine.close()
