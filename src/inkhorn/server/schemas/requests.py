"""What clients send: OpenAI's fields with OpenAI's defaults, and the extras that every local server takes."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic_core import PydanticCustomError

TokenIds = list[Annotated[StrictInt, Field(ge=0)]]
Stop = StrictStr | Annotated[list[StrictStr], Field(max_length=4)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


def _refuse_suffix(value: object) -> object:
    if value:
        raise PydanticCustomError("suffix", "these models only write forwards, so it cannot be kept to: leave it out")
    return value


class StreamOptions(BaseModel):
    """What a stream tells beside the text."""

    include_usage: StrictBool = Field(False, description="end with a chunk that counts tokens")
    include_obfuscation: StrictBool | None = Field(None, description="taken, and of no effect")


class Sampling(BaseModel):
    """How tokens are drawn and when to stop: the same for completions and chat."""

    model_config = ConfigDict(extra="allow")  # told to the client, not refused: see `unknown_fields`

    model: StrictStr | None = Field(None, description="which model; without it the server's first")
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = Field(
        0, description="subtracted from a token's logit for each time it was written"
    )
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = Field(
        0, description="subtracted from the logit of every token that was written"
    )
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = Field(
        None, description="added to the logits of these token ids"
    )
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = Field(1, description="texts for each prompt")
    seed: Annotated[StrictInt, Field(ge=-(2**63), le=2**64 - 1)] | None = Field(
        None, description="same seed, same text"
    )
    stop: Stop | None = Field(None, description="the text ends before any of these, up to four")
    stream: StrictBool | None = Field(False, description="send the text as it is written")
    stream_options: StreamOptions | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(
        1, description="0 takes the likeliest token each time"
    )
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        1, description="keep the likeliest tokens that together reach this share of the odds"
    )
    user: StrictStr | None = Field(None, description="taken, and of no effect")

    top_k: Annotated[StrictInt, Field(ge=-1)] | None = Field(0, description="keep the k likeliest tokens; 0 or -1: all")
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        0, description="drop tokens less likely than this share of the likeliest"
    )
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=100)] | None = Field(
        1, description="above 1 makes tokens seen in prompt or text less likely"
    )
    min_tokens: Annotated[StrictInt, Field(ge=0)] | None = Field(
        0, description="nothing ends the text before so many tokens"
    )
    stop_token_ids: TokenIds | None = Field(None, description="the text ends before any of these tokens")
    ignore_eos: StrictBool | None = Field(False, description="never draw the end-of-text token")
    max_words: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="the text ends after so many words")

    @property
    def unknown_fields(self) -> list[str]:
        """Names of what was sent and is not known here."""
        return sorted(self.model_extra or {})


class CompletionRequest(Sampling):
    """A beginning, or several, to be continued."""

    prompt: StrictStr | TokenIds | list[StrictStr] | list[TokenIds] | None = Field(
        None, description="a text, its token ids, or a list of either; without it the model starts from nothing"
    )
    best_of: Annotated[StrictInt, Field(ge=1, le=128)] | None = Field(
        None, description="write so many for each prompt and send the n likeliest"
    )
    echo: StrictBool | None = Field(False, description="begin the text with the prompt")
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = Field(
        None, description="tell with each token how likely it was, and so many of the likeliest"
    )
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="most tokens of a text: 16 by default, as many as the server allows where max_words is given"
    )
    suffix: Annotated[Literal[""] | None, BeforeValidator(_refuse_suffix)] = Field(
        None, description="not possible with these models"
    )


class ChatMessage(BaseModel):
    """One turn of a talk."""

    role: StrictStr = "user"
    content: StrictStr | list[dict[str, Any]] | None = None


class ChatRequest(Sampling):
    """A talk to be gone on with. These models have not learnt to talk: the messages, joined by line breaks, are
    continued like any text."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    logprobs: StrictBool | None = Field(False, description="tell with each token how likely it was")
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = Field(
        None, description="and so many of the likeliest"
    )
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="as max_completion_tokens")
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="most tokens of a text: 512 by default"
    )


class TokenizeRequest(BaseModel):
    """A text to be taken apart."""

    model: StrictStr | None = None
    prompt: StrictStr = Field(description="the text")
    add_special_tokens: StrictBool = Field(False, description="taken, and of no effect: these models have none to add")
    return_token_strs: StrictBool = Field(False, description="tell each token's text too")


class DetokenizeRequest(BaseModel):
    """Tokens to be put together."""

    model: StrictStr | None = None
    tokens: TokenIds


class ExplainRequest(BaseModel):
    """A text to look inside of."""

    model: StrictStr | None = None
    text: StrictStr = Field(description="its last 256 tokens are looked at", max_length=100_000)
    layer: Annotated[StrictInt, Field(ge=0)] = Field(0, description="whose attention and MLP, from 0")
