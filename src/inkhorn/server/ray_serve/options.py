"""How many replicas of a model run on a Ray cluster, and when there are more of them."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from inkhorn.config.bounds import MAX_COUNT, Range, validate
from inkhorn.errors import UsageError, nearest, require
from inkhorn.server.settings import MAX_SECONDS, Limits, ServerConfig


@dataclass(frozen=True, kw_only=True)
class RayOptions:
    """Replicas on a Ray cluster. Each is one process with `--threads` threads, 1 by default."""

    min_replicas: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 1
    """with --ray, replicas of each model when there is no load"""
    max_replicas: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 4
    """with --ray, most replicas of each model"""
    target_ongoing_requests: Annotated[float, Range(gt=0, le=MAX_COUNT)] = 16.0
    """with --ray, requests in progress for each replica, beyond which it starts more of them"""
    upscale_delay: Annotated[float, Range(ge=0, le=MAX_SECONDS)] = 5.0
    """with --ray, seconds of load before a replica is added"""
    downscale_delay: Annotated[float, Range(ge=0, le=MAX_SECONDS)] = 120.0
    """with --ray, seconds without load before a replica is removed"""
    isa: str | None = None
    """with --ray, instruction set of all replicas, so that a seed gives the same text on different CPUs"""

    def __post_init__(self) -> None:
        validate(self)
        message = f"min_replicas ({self.min_replicas}) must not exceed max_replicas ({self.max_replicas})"
        require(self.min_replicas <= self.max_replicas, message)


def parse_options(args: dict[str, Any]) -> tuple[ServerConfig, RayOptions]:
    """The configuration that the `args` of a Serve config file describe. Raises UsageError.

    The names are those of the fields: of `ServerConfig`, of `Limits` under `limits`, and of `RayOptions`.
    """
    ray_names = {field.name for field in fields(RayOptions)}
    names = {field.name for field in fields(ServerConfig)}
    given = dict(args)
    _check_names(given, names | ray_names, "")
    limits = given.pop("limits", {})
    require(isinstance(limits, dict), "limits must be a mapping, such as max_queued: 64")
    _check_names(limits, {field.name for field in fields(Limits)}, "limits.")
    options = RayOptions(**{name: given.pop(name) for name in ray_names & set(given)})
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if values.get("models_dir") is not None:
        values["models_dir"] = Path(values["models_dir"])
    return ServerConfig(**values, limits=Limits(**limits)), options


def _check_names(given: dict[str, Any], known: set[str], prefix: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"unknown argument {prefix}{name}: {nearest(str(name), known)}")
