"""`inkhorn serve --ray`: deploy the application to a Ray cluster, and remove it at the end."""

import logging
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from inkhorn.errors import InkhornError, require
from inkhorn.server.ray_serve.application import NAME, application
from inkhorn.server.ray_serve.options import RayOptions
from inkhorn.server.run import listen
from inkhorn.server.settings import ServerConfig
from inkhorn.utils.ray_address import check_ray_address

POLL_SECONDS = 2.0
CLUSTER_SECONDS = 20.0
"""How long the cluster may take to answer before it counts as gone."""


def serve_on_ray(config: ServerConfig, options: RayOptions) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. If the cluster goes away, the process ends with 1.

    It joins the cluster that runs on this machine or that RAY_ADDRESS names; otherwise it starts one on this machine,
    which ends with this process. If the application runs in the cluster already, its replicas are replaced one after
    the other.

    Raises:
        InkhornError: the port is in use, the cluster cannot be reached, or a replica cannot start.
    """
    message = "--port 0 cannot be combined with --ray: the proxies of all nodes listen on the same port"
    require(config.port != 0, message)
    import ray
    from ray import serve

    check_ray_address()
    app = application(config, options)
    stop = threading.Event()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InkhornError(f"cannot join or start a Ray cluster: {_first_line(error)}") from None
    try:
        if NAME not in serve.status().applications:
            listen(config.host, config.port).close()  # Ray would only log that the port is in use
        http = {"host": config.host, "port": config.port, "keep_alive_timeout_s": config.timeout_keep_alive}
        serve.start(http_options=http)
        deploy(app)
        for number in (signal.SIGTERM, signal.SIGINT):  # now, because Ray has set handlers of its own
            signal.signal(number, lambda *_: stop.set())
        alive = (node for node in ray.nodes() if node["Alive"])
        addresses = (f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in alive)
        metrics = ", ".join(f"http://{address}/metrics" for address in addresses)
        print(f"Inkhorn is listening on http://{config.host}:{config.port}", flush=True)  # noqa: T201
        print(f"metrics of all replicas: {metrics}", flush=True)  # noqa: T201
        while not stop.wait(POLL_SECONDS):
            if not _is_alive():
                print("inkhorn: the Ray cluster went away: start it again, then serve again", file=sys.stderr)  # noqa: T201
                os._exit(1)  # a regular exit waits for the cluster
        serve.delete(NAME)
    finally:
        ray.shutdown()
    return 0


def deploy(app: Any) -> None:
    """Deploy, and wait until the replicas are ready. Raises InkhornError with the reason if they cannot start."""
    from ray import serve

    is_update = NAME in serve.status().applications
    try:
        serve.run(app, name=NAME, route_prefix="/")
    except RuntimeError as error:
        reason = _reason(serve) or _first_line(error)
        if not is_update:  # otherwise the old replicas go on
            serve.delete(NAME)
        raise InkhornError(f"cannot deploy: {reason}") from None


def _reason(serve: Any) -> str | None:
    """What a replica said that could not start."""
    status = serve.status().applications.get(NAME)
    messages = [] if status is None else [each.message for each in status.deployments.values()]
    found = (re.search(r"InkhornError: (.+)", message) for message in messages)
    return next((match[1].strip() for match in found if match), None)


def _is_alive() -> bool:
    """Whether the cluster answers. Ray's own calls may wait for it for ever, and end the process after a minute."""
    import ray
    from ray import serve

    answered = threading.Event()

    def ask() -> None:
        with suppress(Exception):
            ray.nodes()
            serve.status()
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(CLUSTER_SECONDS)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
