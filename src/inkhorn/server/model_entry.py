"""A model that the server offers, loaded or not."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.config.model import ModelConfig
from inkhorn.costs.model import kv_cache_bytes, packed_bytes
from inkhorn.errors import InkhornError
from inkhorn.inference.backends.packed_weights import FILE as PACKED_FILE
from inkhorn.inference.backends.select import default_precision
from inkhorn.inference.engine import Engine
from inkhorn.inspection.atlas import Atlas
from inkhorn.server.errors import ApiError
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import ServerConfig
from inkhorn.web.facts import PageFacts, atlas_of, page_facts

State = Literal["unloaded", "loading", "loaded", "failed"]
"""llama.cpp's words; failed: the last attempt to load the model failed. The next request tries again."""


@dataclass(eq=False)
class ModelEntry:
    """A model that the server offers. The methods that read files may be called in any thread."""

    id: str
    path: str | Path
    """a shipped model's name, a checkpoint folder, or a run folder, of which the best checkpoint is served"""
    model: ServedModel | None = None
    loading: "asyncio.Task[ApiError | None] | None" = None
    error: str | None = None
    """why it could not be loaded"""
    created: int = field(default_factory=lambda: int(time.time()))
    loads: int = 0
    unloads: int = 0
    load_seconds: float = 0.0
    """of all loads together"""

    @property
    def state(self) -> State:
        if self.model is not None:
            return "loaded"
        if self.loading is not None:
            return "loading"
        return "failed" if self.error else "unloaded"

    def read_config(self) -> ModelConfig:
        """The shape. Raises CheckpointError."""
        return self.model.config if self.model is not None else read_config(resolve_checkpoint(self.path))

    def page(self) -> PageFacts:
        """What the web UI says of the model. Raises CheckpointError."""
        return page_facts(self._folder(), self.id, self.read_config())

    def atlas(self) -> Atlas:
        """The head atlas. Raises ApiError 404 if there is none that belongs to the weights."""
        try:
            found = atlas_of(self._folder())
        except InkhornError:
            found = None  # the model has gone
        if found is None:
            message = f"the model {self.id} has no head atlas: make it with inkhorn inspect"
            raise ApiError(404, message, param="model", code="atlas_not_found")
        return found

    def _folder(self) -> Path:
        return self.model.folder if self.model is not None else resolve_checkpoint(self.path)

    def memory(self, config: ServerConfig) -> int:
        """Bytes of the loaded model: its weights, and the caches of all sequences at full length."""
        folder, shape = resolve_checkpoint(self.path), self.read_config()
        precision = config.precision or default_precision()
        caches = config.max_num_seqs * kv_cache_bytes(shape, precision)
        packed = folder / PACKED_FILE
        if config.precision is None and packed.is_file():
            return packed.stat().st_size + caches
        return packed_bytes(shape, precision) + caches

    def load(self, config: ServerConfig) -> ServedModel:
        """Load the model. Raises CheckpointError or UsageError."""
        start, folder = time.perf_counter(), resolve_checkpoint(self.path)
        engine = Engine.from_pretrained(
            folder,
            precision=config.precision,
            threads=config.threads,
            max_num_seqs=config.max_num_seqs,
            max_queued=config.limits.max_queued,
        )
        try:
            model = ServedModel(self.id, folder, engine, self.created)
        except OSError as error:
            engine.close()
            raise InkhornError(f"cannot read {folder}: {error.strerror or error}") from None
        self.load_seconds += time.perf_counter() - start
        return model

    def public_message(self, error: BaseException) -> str:
        """An error's message for clients, without the server's paths."""
        message = str(error)
        for path in (str(Path(self.path).resolve()), str(self.path)):
            message = message.replace(path, self.id)
        return message
