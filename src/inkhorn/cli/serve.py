"""`inkhorn serve`: the OpenAI-compatible server with its web UI."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from inkhorn.cli.parsing import parse
from inkhorn.config.quantization import Precision
from inkhorn.errors import UsageError, require
from inkhorn.server.settings import Limits, ServerConfig, Settings
from inkhorn.tokenizer.normalize import UnknownPolicy

API_KEY_VARIABLE = "INKHORN_API_KEY"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _arg(default: str, alias: str | None = None) -> Any:
    """A flag whose default is described in words."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})", aliases=None if alias is None else [alias])


@dataclass(frozen=True, kw_only=True)
class LimitFlags(Limits):
    """Limits of one request and of the queue. A request beyond them is rejected with an error that names the limit."""

    rate_limit: Annotated[int | None, _arg("no limit")] = None


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Serve an OpenAI-compatible API and a web UI.

    Example: inkhorn serve -m shakespeare -m runs/mine --port 8000
    """

    model: Annotated[tuple[str, ...], _arg("shakespeare; repeatable", "-m"), tyro.conf.UseAppendAction] = ()
    """a shipped model, a checkpoint folder or a run folder"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 for all interfaces"""
    port: int = 8000
    """port to listen on; 0 picks a free one"""
    quantize: Annotated[Precision | None, _arg("int8; fp32 without the native kernel")] = None
    """precision of the weights"""
    threads: Annotated[int | None, _arg("one per core")] = None
    """maximum number of threads per model"""
    max_num_seqs: int = 64
    """maximum number of sequences generated at once per model"""
    api_key: Annotated[tuple[str, ...], _arg(f"${API_KEY_VARIABLE}; repeatable"), tyro.conf.UseAppendAction] = ()
    """API key that clients must send"""
    api_key_file: Annotated[Path | None, _arg("none")] = None
    """file with one API key per line"""
    cors_origin: Annotated[tuple[str, ...], _arg("none; repeatable"), tyro.conf.UseAppendAction] = ()
    """origin whose pages may call the API from a browser"""
    web_ui: bool = True
    """serve the web UI"""
    on_unknown: UnknownPolicy = "replace"
    """characters outside the vocabulary: reject, drop or replace them"""
    log_prompts: bool = False
    """include prompts in the log"""
    shutdown_timeout: int = 30
    """seconds to finish running requests after SIGTERM"""
    limits: Annotated[LimitFlags, tyro.conf.OmitArgPrefixes] = field(default_factory=LimitFlags)


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ServeArgs, argv, "inkhorn serve")
    config = ServerConfig(
        models=args.model or ServerConfig.models,
        host=args.host,
        port=args.port,
        precision=args.quantize,
        threads=args.threads,
        max_num_seqs=args.max_num_seqs,
        shutdown_timeout=args.shutdown_timeout,
        settings=Settings(
            limits=Limits(**vars(args.limits)),
            api_keys=_api_keys(args),
            cors_origins=args.cors_origin,
            on_unknown=args.on_unknown,
            log_prompts=args.log_prompts,
            web_ui=args.web_ui,
        ),
    )
    from inkhorn.server.run import serve

    return serve(config)


def _api_keys(args: ServeArgs) -> tuple[str, ...]:
    keys = [*args.api_key, *filter(None, os.environ.get(API_KEY_VARIABLE, "").split(","))]
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
        print(warning, file=sys.stderr)  # noqa: T201
    return tuple(key.strip() for key in keys)
