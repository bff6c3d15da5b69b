"""A replica: the application with one model, in a process of a Ray cluster."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Message, Scope

import inkhorn
from inkhorn.errors import InkhornError
from inkhorn.inference.engine_loop import describe
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.ray_serve.exporter import Exporter
from inkhorn.server.ray_serve.options import parse_options


class Replica:
    """The application with one model.

    Args:
        version: the version of Inkhorn on the machine that deploys, which must be the replica's own.
        args: the configuration, as in a Serve config file.

    Raises:
        InkhornError: names the node, and why the model cannot be served there.
    """

    def __init__(self, version: str, args: dict[str, Any]) -> None:
        node = socket.gethostname()
        if version != inkhorn.__version__:
            versions = f"node {node} has Inkhorn {inkhorn.__version__}, and {version} was deployed"
            raise InkhornError(f"{versions}: install one version on all nodes")
        config, options = parse_options(args)
        if options.isa is not None:
            os.environ["INKHORN_ISA"] = options.isa  # before the kernel is loaded
        try:
            self._registry = ModelRegistry.load(config)
        except (InkhornError, OSError) as error:
            advice = "each node needs the model at the same path"
            raise InkhornError(f"node {node} cannot load the model: {error}; {advice}") from None
        self._app = create_app(self._registry, replace(config, allowed_hosts=config.hosts()))
        self._app.state.ready = True
        self._exporter = Exporter(self._app.state.context.metrics.registry)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Ray for the application of a deployment that gets requests from outside."""
        return self._app

    def check_health(self) -> None:
        """Called by Ray; it replaces a replica that raises."""
        failed = self._registry.failed()
        if failed is not None:
            assert failed.engine.failure is not None
            raise InkhornError(f"the engine of model {failed.id} has failed: {describe(failed.engine.failure)}")

    async def respond(self, scope: Scope, body: bytes) -> AsyncIterator[list[Message]]:
        """The messages of the response to an HTTP request, several at a time. Closing the iterator aborts it."""
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        received = False

        async def receive() -> Message:
            nonlocal received
            if received:  # the iterator is closed when the client disconnects
                await asyncio.Event().wait()
            received = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def run() -> None:
            try:
                await self._app(scope, receive, messages.put)
            finally:
                messages.put_nowait(None)

        task = asyncio.create_task(run())
        try:
            while (message := await messages.get()) is not None:
                batch = [message]
                while not messages.empty() and (message := messages.get_nowait()) is not None:
                    batch.append(message)
                yield batch
                if message is None:
                    break
            await task
        finally:
            task.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_exporter"):
            self._exporter.stop()
        if hasattr(self, "_registry"):
            self._registry.close()
