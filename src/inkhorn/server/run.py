"""From a command line to a server that listens, and to its quiet end."""

import logging
import signal
import socket
import sys

import uvicorn

from inkhorn.errors import InkhornError
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import Models
from inkhorn.server.settings import ServerConfig


class _Server(uvicorn.Server):
    """Says where it listens once it does, and that it is not ready once it is told to stop."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            print(f"Inkhorn writes at {self._address}", flush=True)  # noqa: T201

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.ready = False  # type: ignore[union-attr]
        await super().shutdown(sockets)


def serve(config: ServerConfig) -> int:
    """Serve until told to stop; returns the exit code."""
    listening = _listen(config.host, config.port)
    host, port = listening.getsockname()[:2]
    models = Models.load(
        list(config.models),
        quantize=config.quantize,
        threads=config.threads,
        slots=config.slots,
        max_queue=config.settings.limits.max_queue,
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn_config = uvicorn.Config(
        create_app(models, config.settings),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=config.shutdown_timeout,
        timeout_keep_alive=30,
    )
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # uvicorn raises them again in the end: being told to stop is no failure
        signal.signal(number, lambda *_: None)
    named = f"[{host}]" if ":" in host else host
    try:
        _Server(uvicorn_config, f"http://{named}:{port}").run([listening])
    finally:
        models.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket: taken before the models are loaded, so that a port in use is told at once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[4])
        listening.listen(2048)
    except OSError as error:
        raise InkhornError(f"cannot listen at {host}:{port}: {error.strerror or error}; --port takes another") from None
    return listening
