"""The served models by name."""

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from inkhorn.checkpoint.resolve import SHIPPED, resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.engine import Engine
from inkhorn.inference.interventions import InterventionResolver
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.server.errors import ApiError
from inkhorn.server.schemas.fields import MAX_NAME
from inkhorn.server.settings import ServerConfig
from inkhorn.web.facts import PageFacts, page_facts


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
    def page(self) -> PageFacts:
        """What the web UI says of the model."""
        return page_facts(self.folder, self.id, self.config)

    @cached_property
    def reference(self) -> NumpyModel:
        """The NumPy model, whose intermediate values `explain` reads; loaded on first use."""
        return NumpyModel.from_pretrained(self.folder)

    @cached_property
    def resolver(self) -> InterventionResolver:
        """Turns the interventions of requests into the engine's edits."""
        return InterventionResolver(self.folder, self.config, self.engine.encode_prompt, lambda: self.reference)

    @cached_property
    def token_texts(self) -> list[str]:
        """The text of each token; a partial UTF-8 sequence is written as OpenAI does, bytes:\\xe2."""
        return [_token_text(token) for token in self.engine.tokenizer.token_bytes]


def _token_text(token: bytes) -> str:
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _folder_name(model: str) -> str:
    return model if model in SHIPPED else Path(model).resolve().name


class ModelRegistry(dict[str, ServedModel]):
    """The served models by name, at least one. The first is the default."""

    def __init__(self, *models: ServedModel) -> None:
        super().__init__({model.id: model for model in models})
        if len(self) < len(models):
            names = ", ".join(model.id for model in models)
            raise UsageError(f"two models have the same name ({names}): give each one a --served-model-name")

    @classmethod
    def load(cls, config: ServerConfig) -> "ModelRegistry":
        """Load shipped models by name and checkpoints by folder, each named after its folder if it is given no name."""
        names = config.served_model_names or tuple(map(_folder_name, config.models))
        if len(names) != len(config.models):
            message = f"{len(names)} names for {len(config.models)} models"
            raise UsageError(f"{message}: give --served-model-name once for each model, in the same order")

        def load(model: str, name: str) -> ServedModel:
            folder = resolve_checkpoint(model)
            engine = Engine.from_pretrained(
                folder,
                precision=config.precision,
                threads=config.threads,
                max_num_seqs=config.max_num_seqs,
                max_queued=config.limits.max_queued,
            )
            return ServedModel(name, folder, engine)

        return cls(*map(load, config.models, names))

    def lookup(self, name: str | None) -> ServedModel:
        """The model that a request names, the first if it names none; ApiError 404 if it does not exist."""
        if name is None:
            return next(iter(self.values()))
        if name not in self:
            hint = nearest(name[:MAX_NAME], self)
            message = f"the model {name[:MAX_NAME]!r} does not exist: {hint}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self[name]

    def failed(self) -> ServedModel | None:
        """A model whose engine has failed; None if all work."""
        return next((model for model in self.values() if model.engine.failure is not None), None)

    def close(self) -> None:
        """Stop the engines; running requests fail."""
        for model in self.values():
            model.engine.close()
