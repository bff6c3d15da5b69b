"""`inkhorn generate --server URL`: have a server write, and show the text as it comes."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import InkhornError, UsageError

_SAME = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_SENT = {*_SAME, "logit_bias", "seed", "max_tokens", "min_tokens", "max_words", "stop", "stop_token_ids", "ignore_eos"}


def request_of(prompt: str, params: SamplingParams, model: str | None, samples: int, *, stream: bool) -> dict[str, Any]:
    """The body of the request; UsageError for what servers do not know."""
    for item in fields(SamplingParams):
        if item.name not in _SENT and getattr(params, item.name) != item.default:
            flag = item.name.replace("_", "-")
            raise UsageError(f"--{flag} is not part of the server's API: leave it out, or write without --server")
    body: dict[str, Any] = {"prompt": prompt, "n": samples, "stream": stream} | {
        name: getattr(params, name) for name in _SAME
    }
    body |= {"seed": params.seed, "ignore_eos": params.ignore_eos, "min_tokens": params.min_tokens}
    body |= {"logit_bias": {str(token): bias for token, bias in params.logit_bias.items()}}
    body |= {"stop": list(params.stop) or None, "stop_token_ids": list(params.stop_token_ids) or None}
    body |= {"max_words": params.max_words, "max_tokens": params.max_tokens, "model": model}
    return {name: value for name, value in body.items() if value is not None}


class Remote:
    """A server that writes.

    Args:
        url: where it listens, as it says when it starts; with or without /v1.

    """

    def __init__(self, url: str) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"--server takes an address such as http://127.0.0.1:8000, not {url!r}")
        self._url = url.rstrip("/").removesuffix("/v1") + "/v1/completions"

    def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request without stream."""
        with self._ask(body) as answer:
            return self._parsed(answer.read())

    def stream(self, body: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
        """Pieces of text, each with the number of its text."""
        with self._ask(body) as answer:
            try:
                for line in answer:
                    if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                        continue
                    for choice in self._parsed(line[6:])["choices"]:
                        yield choice["index"], choice["text"]
            except (OSError, http.client.HTTPException) as error:
                raise InkhornError(f"the server at {self._url} went away amid the text: {error}") from None

    def _ask(self, body: Mapping[str, Any]) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        key = os.environ.get("INKHORN_API_KEY", "").split(",")[0]
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            answer: http.client.HTTPResponse = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            with error:
                raise InkhornError(f"the server refused: {_message(error.read()) or error}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise InkhornError(f"no server answers at {self._url}: {reason}; inkhorn serve starts one") from None
        return answer

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(data)
        except ValueError:
            raise InkhornError(f"{self._url} answered what no such server says: {data[:80]!r}") from None
        if "error" in found:
            raise InkhornError(f"the server failed: {_message(data)}")
        return found


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return ""
