"""The server, field by field: what OpenAI's clients send and expect, and what it refuses."""

import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import app_client, save_tiny, serve_folder

from inkhorn.config.bounds import field_specs
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.engine import Prompt
from inkhorn.server.model_registry import Models, ServedModel
from inkhorn.server.settings import Limits
from inkhorn.web.settings import page_settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> ServedModel:
    return serve_folder(folder)


@pytest.fixture(scope="module")
def client(model: ServedModel) -> Iterator[TestClient]:
    with app_client(model) as client:
        yield client


def complete(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(client: TestClient, path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


def chunks_of(client: TestClient, path: str = "/v1/completions", **body: Any) -> list[dict[str, Any]]:
    with client.stream("POST", path, json=body | {"stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


# Completions


def test_the_defaults_are_openai_s(client: TestClient, model: ServedModel) -> None:
    answer = complete(client, prompt="ab")
    assert answer["id"].startswith("cmpl-")
    assert (answer["object"], answer["model"]) == ("text_completion", "tiny")
    assert answer["system_fingerprint"] == model.fingerprint
    [choice] = answer["choices"]
    assert (choice["index"], choice["logprobs"]) == (0, None)
    written = answer["usage"]["completion_tokens"]
    assert written == 16 or choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 2, "completion_tokens": written, "total_tokens": 2 + written}


@pytest.mark.parametrize("stream", [False, True])
def test_the_text_is_the_engine_s(client: TestClient, model: ServedModel, stream: bool) -> None:
    params = SamplingParams(temperature=0.7, top_k=9, seed=5, max_tokens=60)
    expected = model.engine.complete("A:", params).text
    body: dict[str, Any] = {"prompt": "A:", "temperature": 0.7, "top_k": 9, "seed": 5, "max_tokens": 60}
    if stream:
        chunks = chunks_of(client, **body)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    else:
        assert complete(client, **body)["choices"][0]["text"] == expected


def test_prompts_of_every_form(client: TestClient, model: ServedModel) -> None:
    ids = model.engine.tokenizer.encode("ab").tolist()
    one = complete(client, prompt="ab", seed=1)["choices"][0]["text"]
    assert complete(client, prompt=ids, seed=1)["choices"][0]["text"] == one
    for prompts in (["ab", "cd"], [ids, model.engine.tokenizer.encode("cd").tolist()]):
        choices = complete(client, prompt=prompts, seed=1, n=2)["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
        assert choices[0]["text"] == one
        assert choices[2]["text"] == complete(client, prompt="cd", seed=1)["choices"][0]["text"]
    for nothing in ({}, {"prompt": None}, {"prompt": ""}):
        assert (
            complete(client, seed=1, **nothing)["choices"][0]["text"]
            == complete(client, prompt="", seed=1)["choices"][0]["text"]
        )


def test_n_texts_streamed_are_those_of_the_whole_answer(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": ["ab", "A:"], "n": 3, "seed": 2, "max_tokens": 20}
    whole = [choice["text"] for choice in complete(client, **body)["choices"]]
    texts = [""] * 6
    for chunk in chunks_of(client, **body):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == whole


def test_usage_of_a_stream_comes_when_asked_for(client: TestClient) -> None:
    chunks = chunks_of(client, prompt="ab", stream_options={"include_usage": True}, ignore_eos=True)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 16, "total_tokens": 18}
    assert all("usage" not in chunk for chunk in chunks_of(client, prompt="ab"))


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_prompt_and_text(client: TestClient, model: ServedModel, stream: bool) -> None:
    """As lm-eval asks: the sum over the prompt's tokens is the model's own, and greedy tokens carry the highest."""
    ids = model.engine.tokenizer.encode("ab cA:").tolist()
    body: dict[str, Any] = {"prompt": [ids], "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    if stream:
        parts = [chunk["choices"][0] for chunk in chunks_of(client, **body)]
        found = {key: [x for part in parts for x in part["logprobs"][key]] for key in parts[0]["logprobs"]}
        text = "".join(part["text"] for part in parts)
    else:
        [choice] = complete(client, **body)["choices"]
        found, text = choice["logprobs"], choice["text"]
    assert len(found["tokens"]) == len(ids) + 1
    assert "".join(found["tokens"]) == text
    assert found["text_offset"] == list(range(len(ids) + 1))
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    params = SamplingParams(temperature=0, max_tokens=1)
    own = model.engine.complete(Prompt("ab cA:", tuple(ids), ()), params, logprobs=1, prompt_logprobs=True)
    assert found["token_logprobs"][1:-1] == [odds.logprob for odds in own.prompt_logprobs[1:] if odds]
    last = found["top_logprobs"][-1]
    assert max(last, key=lambda text: last[text]) == found["tokens"][-1]


def test_the_sampled_token_is_among_the_logprobs(client: TestClient) -> None:
    [choice] = complete(client, prompt="ab", logprobs=2, temperature=2, seed=3, max_tokens=40)["choices"]
    for token, own, top in zip(
        *(choice["logprobs"][key] for key in ("tokens", "token_logprobs", "top_logprobs")), strict=True
    ):
        assert top[token] == own
        assert len(top) in (2, 3)
    assert choice["logprobs"]["text_offset"][0] == 2  # counted from the prompt's beginning


def test_a_prompt_is_scored_without_writing(client: TestClient) -> None:
    answer = complete(client, prompt="abc", max_tokens=0, echo=True, logprobs=0)
    [choice] = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abc", "length")
    assert len(choice["logprobs"]["tokens"]) == 3
    assert answer["usage"]["completion_tokens"] == 0


def test_the_best_of_several(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "ab", "seed": 4, "max_tokens": 12, "ignore_eos": True}
    texts = complete(client, n=5, logprobs=0, **body)["choices"]
    best = max(texts, key=lambda choice: sum(choice["logprobs"]["token_logprobs"]))
    assert complete(client, best_of=5, **body)["choices"][0]["text"] == best["text"]


def test_stops(client: TestClient) -> None:
    whole = complete(client, prompt="ab", seed=9, max_tokens=80, ignore_eos=True)["choices"][0]["text"]
    stop = whole[10:12]
    for given in (stop, [stop, "zzz"]):
        [choice] = complete(client, prompt="ab", seed=9, max_tokens=80, ignore_eos=True, stop=given)["choices"]
        assert (choice["text"], choice["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    [choice] = complete(client, prompt="ab", seed=9, max_tokens=80, ignore_eos=True, max_words=2)["choices"]
    assert len(choice["text"].split()) <= 3


def test_stop_tokens_and_the_least_number_of_tokens(client: TestClient, model: ServedModel) -> None:
    body: dict[str, Any] = {"prompt": "ab", "seed": 9, "max_tokens": 40, "ignore_eos": True, "logprobs": 0}
    [free] = complete(client, **body)["choices"]
    token = model.engine.tokenizer.encode(free["text"][5]).tolist()
    [stopped] = complete(client, stop_token_ids=token, **body)["choices"]
    assert (stopped["text"], stopped["finish_reason"]) == (free["text"][: free["text"].index(free["text"][5])], "stop")
    [longer] = complete(client, stop_token_ids=token, min_tokens=20, **body)["choices"]
    assert len(longer["logprobs"]["tokens"]) >= 20
    assert free["text"][5] not in longer["text"][:20]
    [late] = complete(client, stop=free["text"][5], min_tokens=20, **body)["choices"]
    assert late["text"].startswith(free["text"][:19])


def test_penalties_and_bias_reach_the_sampler(client: TestClient, model: ServedModel) -> None:
    token = int(model.engine.tokenizer.encode("e")[0])
    assert complete(client, prompt="a", logit_bias={str(token): 100}, max_tokens=5)["choices"][0]["text"] == "eeeee"
    plain = complete(client, prompt="a", seed=1, max_tokens=60)["choices"][0]["text"]
    assert complete(client, prompt="a", seed=1, max_tokens=60, frequency_penalty=2)["choices"][0]["text"] != plain
    assert complete(client, prompt="a", seed=1, max_tokens=60, repetition_penalty=3)["choices"][0]["text"] != plain


def test_null_is_the_default(client: TestClient) -> None:
    names = (
        "temperature",
        "top_p",
        "n",
        "stop",
        "logprobs",
        "echo",
        "logit_bias",
        "stream",
        "suffix",
        "best_of",
        "max_tokens",
    )
    nulls: dict[str, Any] = dict.fromkeys(names)
    assert complete(client, prompt="ab", seed=1, **nulls)["choices"] == complete(client, prompt="ab", seed=1)["choices"]


def test_what_was_ignored_is_told(client: TestClient) -> None:
    answer = complete(client, prompt="a\N{SNOWMAN}b", temprature=0.1, something_else=1)
    told = " ".join(answer["warnings"])
    assert "'temprature' was ignored: did you mean 'temperature'?" in told
    assert "something_else" in told
    assert "SNOWMAN" in told


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"prompt": "a", "temperature": 3}, "temperature", "less than or equal to 2"),
        ({"prompt": "a", "temperature": "hot"}, "temperature", "number"),
        ({"prompt": "a", "top_p": 0}, "top_p", "greater than 0"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"prompt": "a", "max_tokens": 10**9}, "max_tokens", "at most 65,536"),
        ({"prompt": "a", "n": 0}, "n", "greater than or equal to 1"),
        ({"prompt": ["a"] * 100, "n": 100}, "n", "at most 128"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "20"),
        ({"prompt": "a", "stop": ["a"] * 5}, "stop", "4"),
        ({"prompt": "a", "stop": ""}, "stop", "must not be empty"),
        ({"prompt": "a", "suffix": "end"}, "suffix", "left to right"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of", "below n"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of", "do not go together"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options", "needs stream"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "no token id"),
        ({"prompt": "a", "logit_bias": {"999": 1}}, "logit_bias", "no token id"),
        ({"prompt": [[999]]}, "prompt", "no token 999"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": [[]]}, "prompt", "empty"),
        ({"prompt": "a" * 100_001}, "prompt", "100,000 at most"),
        ({"prompt": "a", "min_tokens": 30}, "min_tokens", "must not exceed max_tokens"),
    ],
)
def test_what_cannot_be_meant_is_refused(client: TestClient, body: dict[str, Any], param: str, told: str) -> None:
    error = refused(client, **body)
    assert told in error["message"]
    assert error["param"] == param


def test_half_of_a_character_harms_nobody(client: TestClient) -> None:
    """JSON can spell what no text is: a lone surrogate. It is replaced like any unknown character, or refused."""
    for path, field, status in (("/v1/completions", "prompt", 200), ("/tokenize", "prompt", 400)):
        body = b'{"%s": "a\\ud800", "echo": true}' % field.encode()
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, path
        assert "U+D800" in answer.text


def test_what_is_no_request(client: TestClient) -> None:
    answer = client.post("/v1/completions", content=b"{nonsense", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]["message"]
    for answer in (client.get("/v1/nothing"), client.get("/v1/completions"), client.get("/v1/models/other")):
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    error = client.post("/v1/completions", json={"prompt": "a", "model": "tiney"}).json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "did you mean 'tiny'?" in error["message"]


# Chat and the rest


@pytest.mark.parametrize("stream", [False, True])
def test_chat_continues_the_messages(client: TestClient, stream: bool) -> None:
    messages = [{"role": "system", "content": "ab"}, {"role": "user", "content": [{"type": "text", "text": "A:"}]}]
    body: dict[str, Any] = {
        "messages": messages,
        "seed": 1,
        "max_tokens": 30,
        "logprobs": True,
        "top_logprobs": 2,
        "ignore_eos": True,
    }
    expected = complete(client, prompt="ab\n\nA:", seed=1, max_tokens=30, ignore_eos=True)["choices"][0]["text"]
    if stream:
        chunks = chunks_of(client, "/v1/chat/completions", **body)
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == expected
    else:
        answer = client.post("/v1/chat/completions", json=body).json()
        [choice] = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": expected, "refusal": None}
        assert "".join(odds["token"] for odds in choice["logprobs"]["content"]) == expected
        assert all(len(odds["top_logprobs"]) == 2 for odds in choice["logprobs"]["content"])


def test_models_and_their_tokens(client: TestClient, model: ServedModel) -> None:
    [listed] = client.get("/v1/models").json()["data"]
    assert client.get("/v1/models/tiny").json() == listed
    assert listed["meta"]["n_params"] == model.config.num_parameters
    tokens = client.post("/tokenize", json={"prompt": "ab:é", "return_token_strs": True}).json()
    assert tokens["token_strs"] == list("ab:é")
    assert client.post("/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": "ab:é"}
    assert client.post("/detokenize", json={"tokens": [10_000]}).status_code == 400
    assert client.get("/tokenizer_info").json()["eos_token"] == "<|endoftext|>"


def test_several_models(folder: Path, tmp_path: Path) -> None:
    first, second = serve_folder(folder), serve_folder(save_tiny(tmp_path / "other", seed=1), name="other")
    with app_client(first, second) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny", "other"]
        assert first.fingerprint != second.fingerprint
        texts = [complete(client, prompt="ab", seed=1, **more) for more in ({}, {"model": "tiny"}, {"model": "other"})]
        assert texts[0]["choices"] == texts[1]["choices"] != texts[2]["choices"]
        assert texts[2]["system_fingerprint"] == second.fingerprint
    with pytest.raises(UsageError, match="same name"):
        Models(first, serve_folder(folder))


def test_state(client: TestClient) -> None:
    assert client.get("/health").json() == client.get("/health/ready").json() == {"status": "ok"}
    assert client.get("/version").json()["version"]
    complete(client, prompt="ab", max_tokens=5)
    numbers = client.get("/metrics").text
    assert 'inkhorn:generation_tokens_total{model_name="tiny"}' in numbers
    assert 'http_requests_total{handler="/v1/completions",method="POST",status="200"}' in numbers
    assert 'inkhorn:time_to_first_token_seconds_bucket{le="0.001",model_name="tiny"}' in numbers
    assert 'inkhorn:num_requests_running{model_name="tiny"} 0.0' in numbers


def test_the_page_and_its_policy(client: TestClient) -> None:
    for path in ("/", "/docs", "/docs.js", "/style.css"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/../settings.py").status_code == 404


def test_explain_is_the_reference_s(client: TestClient, model: ServedModel) -> None:
    from inkhorn.inference.explain import explain

    answer = client.post("/api/explain", json={"text": "ab A:", "layer": 1}).json()
    own = explain(model.reference, model.engine.tokenizer, model.engine.prompt("ab A:").ids, 1).to_json()
    assert answer == {"model": "tiny"} | json.loads(json.dumps(own))
    assert "layer" in refused(client, "/api/explain", text="ab", layer=2)["message"]


# Limits


def test_keys(model: ServedModel) -> None:
    with app_client(model, api_keys=("first", "second")) as client:
        for headers in ({}, {"Authorization": "Bearer third"}, {"X-Api-Key": ""}):
            answer = client.get("/v1/models", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
        for headers in ({"Authorization": "Bearer second"}, {"X-Api-Key": "first"}):
            assert client.get("/v1/models", headers=headers).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == client.get("/").status_code == 200


def test_other_origins_are_closed_out_unless_named(model: ServedModel) -> None:
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    with app_client(model) as client:
        assert "access-control-allow-origin" not in client.options("/v1/completions", headers=asked).headers
    with app_client(model, cors_origins=("https://example.org",)) as client:
        found = client.options("/v1/completions", headers=asked).headers["access-control-allow-origin"]
        assert found == "https://example.org"


def test_rates_and_sizes(model: ServedModel) -> None:
    with app_client(model, limits=Limits(rate_limit=2, max_body_bytes=200)) as client:
        assert [client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        assert int(client.get("/v1/models").headers["retry-after"]) >= 1
        assert client.get("/health").status_code == 200
    with app_client(model, limits=Limits(max_body_bytes=200)) as client:
        assert client.post("/v1/completions", json={"prompt": "a" * 300}).status_code == 413
        pieces = iter([b'{"prompt": "', b"a" * 300, b'"}'])
        assert (
            client.post("/v1/completions", content=pieces, headers={"Content-Type": "application/json"}).status_code
            == 413
        )


def test_time_runs_out(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_seconds=0.05)) as client:
        body = {"prompt": "a", "max_tokens": 60_000, "ignore_eos": True}
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 408
        assert "0.05 seconds" in answer.json()["error"]["message"]
        with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as streamed:
            events = [line for line in streamed.iter_lines() if line]
        assert "0.05 seconds" in json.loads(events[-2][6:])["error"]["message"]
        assert events[-1] == "data: [DONE]"
    wait_until(lambda: model.engine.load == (0, 0))


def test_the_queue_is_bounded(folder: Path) -> None:
    with app_client(serve_folder(folder, slots=1, max_queue=1), limits=Limits(max_queue=1)) as client:
        answer = client.post("/v1/completions", json={"prompt": "a", "n": 3, "max_tokens": 2000, "ignore_eos": True})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["code"] == "queue_full"
        assert complete(client, prompt="a", n=2)["choices"]  # nothing of the refused request is left


def test_names_and_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inkhorn.server"):
        answer = client.post("/v1/completions", json={"prompt": "ab ba"}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["id"], line["path"], line["status"], line["prompt_tokens"]) == ("mine-1", "/v1/completions", 200, 5)
    assert line["completion_tokens"] > 0
    assert "ab ba" not in caplog.text


def test_a_failing_model_is_told(folder: Path) -> None:
    served = serve_folder(folder)
    weights = served.engine.backend.model.weights  # type: ignore[attr-defined]
    name = next(iter(weights))
    served.engine.backend.model.weights = weights | {name: weights[name] * math.nan}  # type: ignore[attr-defined]
    with app_client(served) as client:
        answer = client.post("/v1/completions", json={"prompt": "a"})
        assert answer.status_code == 503
        assert "damaged" in answer.json()["error"]["message"]
        with client.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True}) as streamed:
            events = [line for line in streamed.iter_lines() if line]
        assert "damaged" in events[0]


def wait_until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_many_clients_at_once_get_their_own_texts(client: TestClient) -> None:
    alone = [complete(client, prompt="ab", seed=i, max_tokens=30)["choices"][0]["text"] for i in range(12)]
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        chunks = chunks_of(client, prompt="ab", seed=i, max_tokens=30)
        found[i] = "".join(chunk["choices"][0]["text"] for chunk in chunks)

    threads = [threading.Thread(target=ask, args=[i]) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(12)] == alone


def test_settings_of_the_page(client: TestClient) -> None:
    sampling = client.get("/api/settings").json()["sampling"]
    assert sampling == page_settings()["sampling"]
    assert {"type": "number", "minimum": 0, "maximum": 2, "default": 0.8}.items() <= sampling["temperature"].items()


def test_openapi_states_the_bounds_and_help_of_sampling_params(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("CompletionRequest", "ChatRequest"):
        for field, spec in field_specs(SamplingParams).items():
            if field != "max_tokens":
                assert schemas[name]["properties"][field]["description"] == spec.help
        assert schemas[name]["properties"]["min_p"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}


def test_context_overflow_stop(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "a" * 20, "max_tokens": 60, "ignore_eos": True, "seed": 1}
    [choice] = complete(client, context_overflow="stop", **body)["choices"]
    assert len(choice["text"]) < 60
    assert choice["finish_reason"] == "length"
