"""Running the server process: load the models, listen, shut down gracefully."""

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import uvicorn

from inkhorn.errors import InkhornError
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import ServerConfig

log = logging.getLogger("inkhorn.server")

FLUSH_SECONDS = 2
"""Time to send the last events of the streams that shutdown has ended."""


class _Server(uvicorn.Server):
    """Prints the address once the server listens, ends when an engine has failed, and drains at shutdown."""

    def __init__(self, config: uvicorn.Config, address: str, models: ModelRegistry, shutdown_timeout: int) -> None:
        super().__init__(config)
        self._address, self._models, self._shutdown_timeout = address, models, shutdown_timeout
        self.failed: ServedModel | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.config.app.state.ready = True  # type: ignore[union-attr]
        if not self.should_exit:
            print(f"Inkhorn is listening on {self._address}", flush=True)  # noqa: T201

    async def on_tick(self, counter: int) -> bool:
        self.failed = self._models.failed()
        return await super().on_tick(counter) or self.failed is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.ready = False  # type: ignore[union-attr]
        if count := len(self.server_state.tasks):
            requests, again = "1 request" if count == 1 else f"{count} requests", "Ctrl-C again ends them now"
            log.info("inkhorn: waiting for %s, at most %s s; %s", requests, self._shutdown_timeout, again)
        ending = asyncio.create_task(self._end_requests())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
        if self.force_exit:  # a second Ctrl-C
            self._abort_requests()
            await asyncio.sleep(FLUSH_SECONDS / 10)

    async def _end_requests(self) -> None:
        """End what still runs after the timeout with an error that the client sees; uvicorn would cut it off."""
        await asyncio.sleep(self._shutdown_timeout)
        self._abort_requests()

    def _abort_requests(self) -> None:
        for model in self._models.loaded():
            model.engine.abort_all("the server is shutting down")


def serve(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT, or until an engine fails; returns the exit code."""
    listener = listen(config.host, config.port)
    host, port = listener.getsockname()[:2]
    models = ModelRegistry.load(config)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    uvicorn_log = logging.getLogger("uvicorn.error")
    uvicorn_log.setLevel(logging.WARNING)
    uvicorn_log.addFilter(_is_no_cancellation)
    uvicorn_config = uvicorn.Config(
        create_app(models, replace(config, allowed_hosts=config.hosts())),
        http=_http_protocol(),
        ws="none",
        lifespan="off",  # it has nothing to do, and a cancelled one would be logged with a traceback
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.forwarded_allow_ips),
        forwarded_allow_ips=list(config.forwarded_allow_ips),
        timeout_graceful_shutdown=config.shutdown_timeout + FLUSH_SECONDS,
        timeout_keep_alive=config.timeout_keep_alive,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises them again after shutdown; the exit code stays 0
    url_host = f"[{host}]" if ":" in host else host
    server = _Server(uvicorn_config, f"http://{url_host}:{port}", models, config.shutdown_timeout)
    try:
        server.run([listener])
    finally:
        models.close()
    if server.failed is not None:
        log.error("the server ends", exc_info=server.failed.engine.failure)
        raise InkhornError(f"the engine of model {server.failed.id} has failed: the server ends, to be restarted")
    return 0


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """False for the traceback of a response that the shutdown has cut off."""
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError


def _http_protocol() -> Any:
    if find_spec("httptools") is None:  # such as on PyPy
        return "h11"
    from inkhorn.server.http_protocol import HttpProtocol

    return HttpProtocol


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, opened before the models are loaded so that a port in use is reported at once."""
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        reason = error.strerror or error
        raise InkhornError(f"cannot listen on {host}:{port}: {reason}; choose another port with --port") from None
    return listener
