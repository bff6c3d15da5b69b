"""`inkhorn serve`: OpenAI's API and the page, for one model or several."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from inkhorn.cli.parsing import parse
from inkhorn.errors import UsageError, require
from inkhorn.server.settings import Limits, ServerConfig, Settings
from inkhorn.tokenizer.normalize import UnknownPolicy

Precision = Literal["fp32", "bf16", "int8", "int4"]


@dataclass(frozen=True, kw_only=True)
class ServeArgs:
    """Serve OpenAI's API and a page to write on, at http://HOST:PORT."""

    model: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["-m"]), tyro.conf.UseAppendAction] = ()
    """a shipped model's name, a checkpoint or a run's folder; may be given several times (default: shakespeare)"""
    host: str = "127.0.0.1"
    """address to listen at; 0.0.0.0 for every network, and then with keys"""
    port: int = 8000
    """port to listen at; 0 takes a free one"""
    quantize: Precision | None = None
    """how the weights are kept: as for generate"""
    threads: int | None = None
    """use at most so many threads for each model"""
    slots: int = 64
    """how many texts each model writes at once; more wait"""
    api_key: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """a key that clients must send; may be given several times; also from INKHORN_API_KEY, separated by commas"""
    api_key_file: Path | None = None
    """a file with a key on each line"""
    cors_origin: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """let pages of this origin ask, from a browser; may be given several times"""
    page: bool = True
    """serve the page beside the API"""
    on_unknown: UnknownPolicy = "replace"
    """for characters outside the vocabulary: answer 400, drop them, or replace each by the closest match"""
    log_prompts: bool = False
    """write prompts into the log"""
    drain_seconds: int = 30
    """how long to finish what runs when the server is told to stop"""
    limits: Annotated[Limits, tyro.conf.OmitArgPrefixes] = field(default_factory=Limits)


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ServeArgs, argv, "inkhorn serve")
    config = ServerConfig(
        models=args.model or ("shakespeare",),
        host=args.host,
        port=args.port,
        quantize=args.quantize,
        threads=args.threads,
        slots=args.slots,
        shutdown_timeout=args.drain_seconds,
        settings=Settings(
            limits=args.limits,
            api_keys=_keys(args),
            cors_origins=args.cors_origin,
            on_unknown=args.on_unknown,
            log_prompts=args.log_prompts,
            page=args.page,
        ),
    )
    from inkhorn.server.run import serve

    return serve(config)


def _keys(args: ServeArgs) -> tuple[str, ...]:
    keys = [*args.api_key, *filter(None, os.environ.get("INKHORN_API_KEY", "").split(","))]
    if args.api_key_file is not None:
        try:
            lines = args.api_key_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read keys from {args.api_key_file}: {error}") from None
        found = [line.strip() for line in lines if line.strip()]
        require(bool(found), f"{args.api_key_file} holds no key")
        keys += found
    if args.host not in ("127.0.0.1", "localhost", "::1") and not keys:
        print("inkhorn: open to the network without a key: --api-key asks for one", file=sys.stderr)  # noqa: T201
    return tuple(key.strip() for key in keys)
