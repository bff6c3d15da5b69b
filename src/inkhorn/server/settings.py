"""What the server may be told, and the limits that it keeps."""

from dataclasses import dataclass

from inkhorn.errors import require
from inkhorn.tokenizer.normalize import UnknownPolicy


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one request may ask for, and how many may ask. What is beyond is refused, and the limit told."""

    max_prompt_tokens: int = 100_000
    """longest prompt, in tokens"""
    max_tokens: int = 65_536
    """most tokens of one text"""
    max_choices: int = 128
    """most texts of one request: its prompts times n (or best_of)"""
    max_body_bytes: int = 4_194_304
    """longest body of a request"""
    max_seconds: float = 600.0
    """longest time for one request"""
    max_queue: int = 256
    """how many texts may wait for a slot; beyond it, 429"""
    rate_limit: int | None = None
    """most requests a minute for each key, or each address where there are no keys"""

    def __post_init__(self) -> None:
        for name in ("max_prompt_tokens", "max_tokens", "max_choices", "max_body_bytes", "max_queue"):
            value = getattr(self, name)
            require(value >= 1, f"{name} must be at least 1, not {value}")
        require(self.max_seconds > 0, f"max_seconds must be above 0, not {self.max_seconds}")
        require(
            self.rate_limit is None or self.rate_limit >= 1, f"rate_limit must be at least 1, not {self.rate_limit}"
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that an app is made with, beside its models.

    Attributes:
        limits: what a request may ask for.
        api_keys: who may ask; empty: everybody.
        cors_origins: pages of other origins that may ask, from a browser.
        unknown: what happens to characters that a model has never seen.
        log_prompts: write prompts and texts into the log too.
        gather_seconds: what is written within so long goes out as one event.
        ping_seconds: a stream on which nothing came for so long gets a comment, so that nobody takes it for dead.
        page: serve the page too.

    """

    limits: Limits = Limits()
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    unknown: UnknownPolicy = "nearest"
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
