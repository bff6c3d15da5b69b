"""Configuration of the server and the limits it enforces."""

from dataclasses import dataclass
from typing import Annotated

from inkhorn.config.bounds import Range, validate
from inkhorn.config.quantization import Precision
from inkhorn.errors import require
from inkhorn.tokenizer.normalize import UnknownPolicy


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request and of the queue. A request beyond them is rejected with an error that names the limit."""

    max_prompt_tokens: Annotated[int, Range(ge=1)] = 100_000
    """maximum prompt length in tokens"""
    max_tokens: Annotated[int, Range(ge=1)] = 65_536
    """maximum number of tokens to generate for one choice"""
    max_choices: Annotated[int, Range(ge=1)] = 128
    """maximum number of choices per request: prompts times n (or best_of)"""
    max_body_bytes: Annotated[int, Range(ge=1)] = 4_194_304
    """maximum size of a request body"""
    max_seconds: Annotated[float, Range(gt=0)] = 600.0
    """timeout of a request"""
    max_queued: Annotated[int, Range(ge=1)] = 256
    """maximum number of waiting sequences per model; further requests get status 429"""
    rate_limit: Annotated[int | None, Range(ge=1)] = None
    """maximum requests per minute for each API key, or for each address without keys"""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of the application.

    Attributes:
        limits: limits of requests and of the queue.
        api_keys: accepted API keys; empty: no key is required.
        cors_origins: origins whose pages may call the API from a browser.
        on_unknown: reject, drop or replace characters outside the vocabulary.
        log_prompts: include prompts in the access log.
        chunk_interval: a stream sends the text of this many seconds as one event.
        keepalive_interval: a stream sends a comment after this many seconds without text.
        web_ui: serve the web UI too.
    """

    limits: Limits = Limits()
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    on_unknown: UnknownPolicy = "replace"
    log_prompts: bool = False
    chunk_interval: Annotated[float, Range(ge=0)] = 0.015
    keepalive_interval: Annotated[float, Range(gt=0)] = 15.0
    web_ui: bool = True

    def __post_init__(self) -> None:
        validate(self)
        require(all(key.strip() for key in self.api_keys), "an API key must not be empty")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Configuration of a server process.

    Attributes:
        models: names of shipped models, checkpoint folders or run folders.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        precision: precision of the weights; None picks the default.
        threads: maximum number of threads per model; None picks it.
        max_num_seqs: maximum number of sequences that each model generates at once.
        shutdown_timeout: seconds to finish running requests after SIGTERM.
        settings: settings of the application.
    """

    models: tuple[str, ...] = ("shakespeare",)
    host: str = "127.0.0.1"
    port: Annotated[int, Range(ge=0, le=65_535)] = 8000
    precision: Precision | None = None
    threads: Annotated[int | None, Range(ge=1)] = None
    max_num_seqs: Annotated[int, Range(ge=1)] = 64
    shutdown_timeout: Annotated[int, Range(ge=0)] = 30
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        validate(self)
