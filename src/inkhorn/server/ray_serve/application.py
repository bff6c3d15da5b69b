"""The Ray Serve application: a deployment for each model, and with several models a router in front of them.

For `inkhorn serve --ray`, and for a config file of `serve deploy` with
`import_path: inkhorn.server.ray_serve.application:build`.
"""

from dataclasses import asdict, fields, replace
from typing import Any

from inkhorn import __version__
from inkhorn.errors import require
from inkhorn.server.model_registry import default_names
from inkhorn.server.ray_serve.options import RayOptions, parse_options
from inkhorn.server.ray_serve.replica import Replica
from inkhorn.server.ray_serve.router import Router
from inkhorn.server.settings import Limits, ServerConfig

NAME = "inkhorn"
"""of the application in the cluster"""
DEPLOYMENT = "model"
"""of an application with one model. Ray ends a deployment at once when its name is gone from the application, so the
name must not change with the model's folder: an update would otherwise leave nothing that answers."""
ROUTER = "router"
MAX_SURGE_PERCENT = 20
"""Replicas that an update may add: at least one, so that an old replica ends only when a new one answers."""


def build(args: dict[str, Any]) -> Any:
    """The application that a config file's `args` describe: the fields of `ServerConfig` and `RayOptions`.

    Raises:
        UsageError: an argument is wrong.
    """
    return application(*parse_options(args))


def application(config: ServerConfig, options: RayOptions) -> Any:
    """The Ray Serve application, bound but not deployed."""
    from ray import serve

    require(config.models_dir is None, "--models-dir loads models in one process: with Ray, name each --model")
    names = default_names(config)
    deployments = {}
    for name, model in zip(names, config.models, strict=True):
        own = replace(config, models=(model,), served_model_names=(name,), threads=config.threads or 1)
        args = {field.name: getattr(own, field.name) for field in fields(ServerConfig)}
        args |= {"limits": asdict(own.limits), **asdict(options)}
        served = serve.ingress()(Replica) if len(names) == 1 else Replica
        deployments[name] = serve.deployment(
            served,
            name=DEPLOYMENT if len(names) == 1 else name,
            # A replica refuses what is beyond these by itself, with status 429.
            max_ongoing_requests=own.max_num_seqs + own.limits.max_queued,
            max_queued_requests=own.limits.max_queued,
            autoscaling_config={
                "min_replicas": options.min_replicas,
                "max_replicas": options.max_replicas,
                "target_ongoing_requests": options.target_ongoing_requests,
                "upscale_delay_s": options.upscale_delay,
                "downscale_delay_s": options.downscale_delay,
            },
            ray_actor_options={"num_cpus": own.threads},
            graceful_shutdown_timeout_s=own.shutdown_timeout,
            health_check_period_s=5,
            max_surge_percent=MAX_SURGE_PERCENT,
        ).bind(__version__, args)
    if len(names) == 1:
        return deployments[names[0]]
    require(ROUTER not in names, f"no model may be named {ROUTER} with Ray: give it another --served-model-name")
    return serve.deployment(
        serve.ingress()(RouterDeployment),
        name=ROUTER,
        max_ongoing_requests=4096,
        autoscaling_config={"min_replicas": 1, "max_replicas": options.max_replicas, "target_ongoing_requests": 128},
        ray_actor_options={"num_cpus": 0},  # it waits for the models' replicas most of the time
        graceful_shutdown_timeout_s=config.shutdown_timeout,
        max_surge_percent=MAX_SURGE_PERCENT,
    ).bind(deployments, asdict(config.limits))


class RouterDeployment:
    """The router in a Ray deployment."""

    def __init__(self, handles: dict[str, Any], limits: dict[str, Any]) -> None:
        self._router = Router(handles, Limits(**limits))

    def __serve_build_asgi_app__(self) -> Router:
        return self._router
