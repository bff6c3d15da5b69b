"""What the server may be told, and the limits that it keeps."""

from dataclasses import dataclass
from typing import Annotated

from inkhorn.config.bounds import Range, validate
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
    max_queue: Annotated[int, Range(ge=1)] = 256
    """maximum number of queued sequences; further requests get status 429"""
    rate_limit: Annotated[int | None, Range(ge=1)] = None
    """maximum requests per minute for each API key, or for each address without keys"""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that an app is made with, beside its models.

    Attributes:
        limits: what a request may ask for.
        api_keys: who may ask; empty: everybody.
        cors_origins: pages of other origins that may ask, from a browser.
        on_unknown: what happens to characters outside the vocabulary.
        log_prompts: write prompts and texts into the log too.
        gather_seconds: what is written within so long goes out as one event.
        ping_seconds: a stream on which nothing came for so long gets a comment, so that nobody takes it for dead.
        page: serve the page too.

    """

    limits: Limits = Limits()
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    on_unknown: UnknownPolicy = "replace"
    log_prompts: bool = False
    gather_seconds: float = 0.015
    ping_seconds: float = 15.0
    page: bool = True

    def __post_init__(self) -> None:
        require(all(key.strip() for key in self.api_keys), "an API key must not be empty")


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a server process runs.

    Attributes:
        models: names of shipped models, checkpoint folders or run folders.
        host: address to listen on.
        port: port to listen on; 0 picks a free one.
        quantize: how the weights are stored; None picks the default.
        threads: most threads for each model; None picks them.
        slots: sequences that each model generates at once.
        shutdown_timeout: seconds to finish running requests after SIGTERM.
        settings: of the app.

    """

    models: tuple[str, ...] = ("shakespeare",)
    host: str = "127.0.0.1"
    port: int = 8000
    quantize: str | None = None
    threads: int | None = None
    slots: int = 64
    shutdown_timeout: int = 30
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        require(0 <= self.port < 65_536, f"--port must be from 0 to 65535, not {self.port}")
        require(self.shutdown_timeout >= 0, f"--drain-seconds must be 0 or more, not {self.shutdown_timeout}")
