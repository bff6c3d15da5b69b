"""`inkhorn serve`: the OpenAI-compatible server with its web UI."""

import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, Suppress, UseAppendAction

from inkhorn.checkpoint.resolve import ASSETS
from inkhorn.cli.parsing import default, flag, parse
from inkhorn.config.quantization import Precision
from inkhorn.errors import UsageError, require
from inkhorn.server.ray_serve.options import RayOptions
from inkhorn.server.settings import LOOPBACK, Limits, ServerConfig

API_KEY_VARIABLE = "INKHORN_API_KEY"
PORT_VARIABLE = "INKHORN_PORT"
EXAMPLE = "inkhorn serve shakespeare runs/mine --port 8000"


@dataclass(frozen=True, kw_only=True)
class LimitFlags(Limits):
    """Limits of one request and of the queue. A request beyond them is rejected with an error that names the limit."""

    rate_limit: Annotated[int | None, default("no limit")] = None


@dataclass(frozen=True, kw_only=True)
class ServeArgs(RayOptions, ServerConfig):
    """Serve an OpenAI-compatible API and a web UI."""

    folders: Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="[MODEL ...]", help_behavior_hint="")]] = ()
    """models, as with --model"""
    models: Annotated[
        tuple[str, ...],
        default("shakespeare, and other shipped models on first use; repeatable", name="model", alias="-m"),
        UseAppendAction,
    ] = ()
    served_model_names: Annotated[
        tuple[str, ...], default("the folder's name; repeatable", name="served-model-name"), UseAppendAction
    ] = ()
    models_dir: Annotated[Path | None, default("none")] = None
    models_memory: Annotated[int | None, default("no limit")] = None
    pin: Annotated[tuple[str, ...], default("none; repeatable"), UseAppendAction] = ()
    port: Annotated[int, default(f"8000, or ${PORT_VARIABLE}", alias="-p")] = ServerConfig.port
    precision: Annotated[Precision | None, default("int8; fp32 without the native kernel", name="quantize")] = None
    threads: Annotated[int | None, default("one per core")] = None
    api_keys: Annotated[
        tuple[str, ...], default(f"${API_KEY_VARIABLE}; repeatable", name="api-key"), UseAppendAction
    ] = ()
    api_key_file: Annotated[Path | None, default("none")] = None
    """file with one API key per line"""
    cors_origins: Annotated[tuple[str, ...], default("none; repeatable", name="cors-origin"), UseAppendAction] = ()
    allowed_hosts: Annotated[
        tuple[str, ...],
        default("any; on a loopback address without keys, its names; repeatable", name="allowed-host"),
        UseAppendAction,
    ] = ()
    forwarded_allow_ips: Annotated[tuple[str, ...], default("none; repeatable"), UseAppendAction] = ()
    keepalive_interval: Suppress[float] = ServerConfig.keepalive_interval
    ray: tyro.conf.FlagCreatePairsOff[bool] = False
    """serve with replicas on a Ray cluster: the one that runs here or at $RAY_ADDRESS, else a new one"""
    isa: Annotated[str | None, default("the best of each CPU")] = None
    limits: Annotated[LimitFlags, OmitArgPrefixes] = field(default_factory=LimitFlags)

    def __post_init__(self) -> None:
        ServerConfig.__post_init__(self)
        RayOptions.__post_init__(self)


def run(argv: list[str]) -> int:
    args = parse(ServeArgs, argv, "inkhorn serve", ServeArgs(port=_default_port()), example=EXAMPLE)
    values = {f.name: getattr(args, f.name) for f in fields(ServerConfig)}
    values |= _models(args) | {"api_keys": _api_keys(args)}
    config = ServerConfig(**values | {"limits": Limits(**vars(args.limits))})
    options = {f.name: getattr(args, f.name) for f in fields(RayOptions)}
    if args.ray:
        from inkhorn.server.ray_serve.run import serve_on_ray

        return serve_on_ray(config, RayOptions(**options))
    for name, value in options.items():
        require(value == getattr(RayOptions, name), f"{flag(name)} is for replicas on a Ray cluster: add --ray")
    from inkhorn.server.run import serve

    return serve(config)


def _models(args: ServeArgs) -> dict[str, Any]:
    """What is served: the models that are named, or else the shipped ones: the default, and others on first use.

    With Ray each model has replicas of its own, so only the default is served.
    """
    named = (*args.folders, *args.models)
    if named or args.models_dir is not None:
        return {"models": named}
    if args.ray or args.pin or args.served_model_names:
        return {"models": ServerConfig.models}
    return {"models": (), "models_dir": ASSETS, "pin": ServerConfig.models}


def _default_port() -> int:
    value = os.environ.get(PORT_VARIABLE) or str(ServerConfig.port)
    require(value.isdecimal() and int(value) <= 65_535, f"{PORT_VARIABLE} must be a port, 0 to 65535, not {value!r}")
    return int(value)


def _api_keys(args: ServeArgs) -> tuple[str, ...]:
    keys = [*args.api_keys, *filter(None, os.environ.get(API_KEY_VARIABLE, "").split(","))]
    if args.api_key_file is not None:
        try:
            lines = args.api_key_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read API keys from {args.api_key_file}: {error}") from None
        from_file = [line.strip() for line in lines if line.strip()]
        require(bool(from_file), f"{args.api_key_file} contains no API key")
        keys += from_file
    if args.host not in LOOPBACK and not keys:
        warning = "inkhorn: warning: the server is open to the network without an API key; set one with --api-key"
        print(warning, file=sys.stderr)
    return tuple(key.strip() for key in keys)
