"""Configuration of the server and the limits it enforces. The docstrings of the fields are the help of the flags."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from inkhorn.config.bounds import MAX_COUNT, Range, validate
from inkhorn.config.quantization import Precision
from inkhorn.errors import require
from inkhorn.tokenizer.normalize import UnknownPolicy

MAX_SECONDS = 31_536_000  # a year
LOOPBACK = ("127.0.0.1", "localhost", "::1")
WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request and of the queue. A request beyond them is rejected with an error that names the limit."""

    max_prompt_tokens: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 100_000
    """maximum prompt length in tokens"""
    max_tokens: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 65_536
    """maximum number of tokens to generate for one choice"""
    max_choices: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 128
    """maximum number of choices per request: prompts times n (or best_of)"""
    max_body_bytes: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 4_194_304
    """maximum size of a request body"""
    max_seconds: Annotated[float, Range(gt=0, le=MAX_SECONDS)] = 600.0
    """timeout of a request"""
    max_queued: Annotated[int, Range(ge=1, le=MAX_COUNT)] = 256
    """maximum number of waiting sequences per model; further requests get status 429"""
    rate_limit: Annotated[int | None, Range(ge=1, le=MAX_COUNT)] = None
    """maximum requests per minute for each API key, or for each address without keys"""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the application."""

    api_keys: tuple[str, ...] = ()
    """API key that clients must send"""
    cors_origins: tuple[str, ...] = ()
    """origin whose pages may call the API from a browser"""
    allowed_hosts: tuple[str, ...] = ()
    """host name under which the server may be called; others get status 403"""
    web_ui: bool = True
    """serve the web UI"""
    on_unknown: UnknownPolicy = "replace"
    """characters outside the vocabulary: reject, drop or replace them"""
    log_prompts: bool = False
    """include prompts in the log"""
    keepalive_interval: Annotated[float, Range(gt=0, le=MAX_SECONDS)] = 15.0
    """a stream sends a comment after this many seconds without text"""
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        validate(self)
        require(all(key.strip() for key in self.api_keys), "an API key must not be empty")
        object.__setattr__(self, "cors_origins", tuple(origin.rstrip("/") for origin in self.cors_origins))
        for origin in self.cors_origins:
            message = f"cors_origins: {origin!r} is not an origin, such as https://example.org or http://localhost:3000"
            require(origin == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#]+", origin) is not None, message)


@dataclass(frozen=True, kw_only=True)
class ServerConfig(Settings):
    """Configuration of a server process: the settings of its application, its models and its address."""

    models: tuple[str, ...] = ("shakespeare",)
    """a shipped model, a checkpoint folder or a run folder"""
    served_model_names: tuple[str, ...] = ()
    """name of a model in the API, given once for each model in the same order"""
    models_dir: Path | None = None
    """folder with a folder for each model; a model is loaded on first use"""
    models_memory: Annotated[int | None, Range(ge=1, le=MAX_COUNT)] = None
    """memory in MiB for all models, weights and caches; beyond it the least recently used ones are unloaded"""
    pin: tuple[str, ...] = ()
    """a model of --models-dir that is loaded at the start and never unloaded"""
    host: str = "127.0.0.1"
    """address to listen on; 0.0.0.0 for all interfaces"""
    port: Annotated[int, Range(ge=0, le=65_535)] = 8000
    """port to listen on; 0 picks a free one"""
    precision: Precision | None = None
    """precision of the weights"""
    threads: Annotated[int | None, Range(ge=1, le=MAX_COUNT)] = None
    """maximum number of threads per model"""
    max_num_seqs: Annotated[int, Range(ge=1, le=4096)] = 64
    """maximum number of sequences generated at once per model"""
    shutdown_timeout: Annotated[int, Range(ge=0, le=MAX_SECONDS)] = 30
    """seconds to finish running requests after SIGTERM"""
    timeout_keep_alive: Annotated[int, Range(ge=1, le=MAX_SECONDS)] = 75
    """seconds after which a connection without a request is closed"""
    forwarded_allow_ips: tuple[str, ...] = ()
    """address or network of a proxy whose X-Forwarded-For and X-Forwarded-Proto headers are trusted"""

    def hosts(self) -> tuple[str, ...]:
        """The host names that are allowed; empty allows all.

        Without a choice of the user only a server on the loopback address, and without keys, is restricted: to the
        names of that address. Its only protection is that nobody else can reach it.
        """
        if "*" in self.allowed_hosts or not (self.allowed_hosts or (self.host in LOOPBACK and not self.api_keys)):
            return ()
        names = (*self.allowed_hosts, *LOOPBACK, *(() if self.host in WILDCARDS else (self.host,)))
        return tuple(dict.fromkeys(name.lower().strip("[]").rstrip(".") for name in names))
