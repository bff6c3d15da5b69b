"""Running the server process: load the models, listen, shut down gracefully."""

import logging
import signal
import socket
import sys

import uvicorn

from inkhorn.errors import InkhornError
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.settings import ServerConfig


class _Server(uvicorn.Server):
    """Prints the address once the server listens, and turns readiness off when shutdown starts."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            print(f"Inkhorn is listening on {self._address}", flush=True)  # noqa: T201

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.ready = False  # type: ignore[union-attr]
        await super().shutdown(sockets)


def serve(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    listener = _listen(config.host, config.port)
    host, port = listener.getsockname()[:2]
    models = ModelRegistry.load(config)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn_config = uvicorn.Config(
        create_app(models, config),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=config.shutdown_timeout,
        timeout_keep_alive=30,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises them again after shutdown; the exit code stays 0
    url_host = f"[{host}]" if ":" in host else host
    try:
        _Server(uvicorn_config, f"http://{url_host}:{port}").run([listener])
    finally:
        models.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
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
