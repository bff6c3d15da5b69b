"""The served models by name: loaded at the start, or on first use and unloaded when memory is needed."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.errors import InkhornError, UsageError, nearest, require
from inkhorn.server.errors import NO_RETRY, ApiError
from inkhorn.server.lru_budget import BudgetError, LruBudget
from inkhorn.server.model_catalog import ModelCatalog
from inkhorn.server.model_entry import ModelEntry
from inkhorn.server.schemas.fields import MAX_NAME
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import ServerConfig

log = logging.getLogger("inkhorn.server")

MAX_WAIT_SECONDS = 10.0
"""How long a request waits for the memory of models that other requests use."""


def default_names(config: ServerConfig) -> tuple[str, ...]:
    """The names of the models that are loaded at the start, in their order. Raises UsageError."""
    names = config.served_model_names or tuple(map(_folder_name, config.models))
    if len(names) != len(config.models):
        message = f"{len(names)} names for {len(config.models)} models"
        raise UsageError(f"{message}: give --served-model-name once for each model, in the same order")
    if len(set(names)) < len(names):
        raise _same_name(names)
    return names


def _folder_name(model: str) -> str:
    return model if model in SHIPPED else Path(model).resolve().name


class ModelRegistry:
    """The served models by name, at least one. The first is the default.

    Except for `load` and `close`, the methods belong to the event loop: it is the only thread that changes anything.
    Files are read in other threads.

    Args:
        models: loaded models, which are never unloaded.
        config: how further models are loaded.
        catalog: further models, which are loaded on first use.
    """

    def __init__(
        self, *models: ServedModel, config: ServerConfig | None = None, catalog: ModelCatalog | None = None
    ) -> None:
        self._config, self._catalog = config or ServerConfig(), catalog
        limit = self._config.models_memory
        self._budget = LruBudget(None if limit is None else limit * 2**20)
        self._entries = {model.id: ModelEntry(model.id, model.folder, model) for model in models}
        self._idle = asyncio.Event()
        if len(self._entries) < len(models):
            raise _same_name([model.id for model in models])
        for model in models:
            self._budget.reserve(model.id, 0, pin=True)

    @classmethod
    def load(cls, config: ServerConfig) -> "ModelRegistry":
        """Load shipped models by name and checkpoints by folder, each named after its folder if it is given no name;
        and of the models of `config.models_dir` those that are pinned.

        Raises:
            UsageError: names do not fit, or the models take more memory than `config.models_memory`.
            CheckpointError: a model cannot be loaded.
        """
        names = default_names(config)
        catalog = None if config.models_dir is None else ModelCatalog(config.models_dir)
        registry = cls(config=config, catalog=catalog)
        found = {} if catalog is None else catalog.scan()
        for name in set(names) & set(found):
            message = f"a model of --models-dir and one of --model have the same name ({name})"
            raise UsageError(f"{message}: give the latter a --served-model-name")
        if unknown := set(config.pin) - set(found):
            require(catalog is not None, "--pin needs --models-dir: models that are given by --model are always loaded")
            hint = nearest(min(unknown), found)
            raise UsageError(f"--pin {min(unknown)}: {config.models_dir} has no such model: {hint}")
        registry._entries |= {name: ModelEntry(name, path) for name, path in zip(names, config.models, strict=True)}
        registry._add(found)
        try:
            for name in (*names, *config.pin):
                registry._load_now(registry._entries[name])
            registry._choose_default()
        except BaseException:
            registry.close()
            raise
        return registry

    def _load_now(self, entry: ModelEntry) -> None:
        try:
            self._budget.reserve(entry.id, entry.memory(self._config), pin=True)
        except BudgetError as error:
            raise UsageError(str(error)) from None
        entry.model = entry.load(self._config)
        entry.loads += 1

    def _choose_default(self) -> None:
        """Make the first model that can be described the default, those that are loaded before the others."""
        error: InkhornError | None = None
        for entry in sorted(self._entries.values(), key=lambda each: each.model is None):
            try:
                entry.page()
            except InkhornError as problem:
                error = error or problem
                continue
            self._entries = {entry.id: entry} | self._entries
            return
        if error is not None:
            raise error

    @property
    def default(self) -> ModelEntry:
        return next(iter(self._entries.values()))

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def loaded(self) -> list[ServedModel]:
        return [entry.model for entry in self._entries.values() if entry.model is not None]

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(list(self._entries.values()))

    def is_pinned(self, entry: ModelEntry) -> bool:
        return self._budget.is_pinned(entry.id)

    def memory(self, entry: ModelEntry) -> int:
        """Bytes of a loaded model, 0 if it is not loaded."""
        return self._budget.size(entry.id)

    @property
    def memory_limit(self) -> int | None:
        return self._budget.limit

    async def refresh(self) -> None:
        """Find models that were added to the folder or removed. If it cannot be read, nothing changes."""
        if self._catalog is None:
            return
        with suppress(OSError):
            self._add(await asyncio.to_thread(self._catalog.scan))

    def _add(self, found: dict[str, Path]) -> None:
        for name, path in found.items():
            if name not in self._entries:
                self._entries[name] = ModelEntry(name, path)
        for entry in list(self._entries.values())[1:]:  # the default stays
            in_catalog = self._catalog is not None and entry.path == self._catalog.folder / entry.id
            if in_catalog and entry.id not in found and entry.state in ("unloaded", "failed"):
                del self._entries[entry.id]

    async def find(self, name: str | None) -> ModelEntry:
        """The model that a request names, the default if it names none; ApiError 404 if it does not exist."""
        if name is None:
            return self.default
        if name not in self._entries:
            await self.refresh()
        if name not in self._entries:
            hint = nearest(name[:MAX_NAME], self._entries)
            message = f"the model {name[:MAX_NAME]!r} does not exist: {hint}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._entries[name]

    async def acquire(self, name: str | None) -> ServedModel:
        """The model that a request names, loaded. It stays so until `release`. Raises ApiError."""
        entry = await self.find(name)
        self._budget.acquire(entry.id)
        try:
            while entry.model is None:
                if entry.loading is None:
                    entry.loading = asyncio.create_task(self._load(entry))
                error = await asyncio.shield(entry.loading)  # it goes on for others if this client disconnects
                if error is not None:
                    raise error
        except BaseException:
            self.release(entry.id)
            raise
        return entry.model

    def release(self, name: str) -> None:
        """End one use of a model."""
        if self._budget.release(name):
            self._idle.set()

    async def _load(self, entry: ModelEntry) -> ApiError | None:
        """Load a model; returns what went wrong."""
        self._budget.acquire(entry.id)  # so that it is not unloaded meanwhile if the clients disconnect
        try:
            size = await asyncio.to_thread(entry.memory, self._config)
            await self._make_room(entry, size)
            entry.model = await asyncio.to_thread(entry.load, self._config)
        except BudgetError as error:
            headers = {"Retry-After": "1"} if error.can_retry else NO_RETRY
            return ApiError(503, str(error), code="model_memory_full", headers=headers)
        except Exception as error:
            self._budget.remove(entry.id)
            if not isinstance(error, InkhornError | OSError | MemoryError):
                log.exception("cannot load model %s", entry.id)
            reason = entry.public_message(error) or type(error).__name__
            entry.error = f"the model {entry.id!r} cannot be loaded: {reason}"
            return ApiError(503, entry.error, param="model", code="model_not_loaded", headers=NO_RETRY)
        finally:
            entry.loading = None
            self.release(entry.id)
        entry.error = None
        entry.loads += 1
        return None

    async def _make_room(self, entry: ModelEntry, size: int) -> None:
        """Unload the least recently used models until another one fits; wait while requests use too many of them."""
        deadline = asyncio.get_running_loop().time() + MAX_WAIT_SECONDS
        while True:
            self._idle.clear()
            try:
                victims = self._budget.reserve(entry.id, size)
                break
            except BudgetError as error:
                if not error.can_retry:
                    raise
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._idle.wait()
                except TimeoutError:
                    raise error from None
        for victim in victims:
            unloaded = self._entries[victim]
            model, unloaded.model = unloaded.model, None
            unloaded.unloads += 1
            if model is not None:
                await asyncio.to_thread(model.close)

    def failed(self) -> ServedModel | None:
        """A model whose engine has failed; None if all work."""
        return next((model for model in self.loaded() if model.engine.failure is not None), None)

    def close(self) -> None:
        """Stop the engines; running requests fail."""
        for model in self.loaded():
            model.close()


def _same_name(names: Sequence[str]) -> UsageError:
    return UsageError(f"two models have the same name ({', '.join(names)}): give each one a --served-model-name")
