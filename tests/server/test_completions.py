"""POST /v1/completions: OpenAI's fields and the sampling parameters of the engine."""

import codecs
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.server import BLOCK, app_client, complete, folder_client, load_served, stream_chunks
from helpers.web import save_bpe_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.outputs import Prompt
from inkhorn.server.served_model import ServedModel
from inkhorn.tokenizer.char import CharTokenizer


def test_defaults_match_openai(client: TestClient, model: ServedModel) -> None:
    response = complete(client, prompt="ab")
    assert response["id"].startswith("cmpl-")
    assert (response["object"], response["model"]) == ("text_completion", "tiny")
    assert response["system_fingerprint"] == model.fingerprint
    [choice] = response["choices"]
    assert (choice["index"], choice["logprobs"]) == (0, None)
    generated = response["usage"]["completion_tokens"]
    assert generated == 16 or choice["finish_reason"] == "stop"
    assert response["usage"] == {"prompt_tokens": 2, "completion_tokens": generated, "total_tokens": 2 + generated}


@pytest.mark.parametrize("stream", [False, True])
def test_text_equals_engine(client: TestClient, model: ServedModel, stream: bool) -> None:
    params = SamplingParams(temperature=0.7, top_k=9, seed=5, max_tokens=60)
    expected = model.engine.submit("A:", params).result().text
    body: dict[str, Any] = {"prompt": "A:", "temperature": 0.7, "top_k": 9, "seed": 5, "max_tokens": 60}
    if stream:
        chunks = stream_chunks(client, **body)
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == expected
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    else:
        assert complete(client, **body)["choices"][0]["text"] == expected


def test_prompt_forms(client: TestClient, model: ServedModel) -> None:
    ids = model.engine.tokenizer.encode("ab").tolist()
    expected = complete(client, prompt="ab", seed=1)["choices"][0]["text"]
    assert complete(client, prompt=ids, seed=1)["choices"][0]["text"] == expected
    for prompts in (["ab", "cd"], [ids, model.engine.tokenizer.encode("cd").tolist()]):
        choices = complete(client, prompt=prompts, seed=1, n=2)["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
        assert choices[0]["text"] == expected
        assert choices[2]["text"] == complete(client, prompt="cd", seed=1)["choices"][0]["text"]
    empty = complete(client, prompt="", seed=1)["choices"][0]["text"]
    for body in ({}, {"prompt": None}):
        assert complete(client, seed=1, **body)["choices"][0]["text"] == empty


def test_streamed_choices_equal_unstreamed(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": ["ab", "A:"], "n": 3, "seed": 2, "max_tokens": 20}
    expected = [choice["text"] for choice in complete(client, **body)["choices"]]
    texts = [""] * 6
    for chunk in stream_chunks(client, **body):
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == expected


@pytest.mark.parametrize("logprobs", [None, 2])
def test_one_event_per_engine_call(
    client: TestClient, model: ServedModel, logprobs: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = model.engine.backend.run

    def counted(*arguments: Any) -> Any:
        outputs = run(*arguments)
        calls.append([len(output.token_ids) for output in outputs])
        return outputs

    monkeypatch.setattr(model.engine.backend, "run", counted)
    body: dict[str, Any] = {"prompt": "ab", "n": 2, "max_tokens": 20, "ignore_eos": True, "logprobs": logprobs}
    choices = [chunk["choices"][0] for chunk in stream_chunks(client, **body)]
    for index in range(2):
        sizes = [len(choice["text"]) for choice in choices if choice["index"] == index]
        assert sum(sizes) == 20
        assert len(sizes) <= len(calls)
    assert len(choices) == sum(size > 0 for sizes in calls for size in sizes)
    if logprobs is not None:
        assert all(len(choice["logprobs"]["tokens"]) == len(choice["text"]) for choice in choices)


def test_stream_include_usage(client: TestClient) -> None:
    chunks = stream_chunks(client, prompt="ab", stream_options={"include_usage": True}, ignore_eos=True)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 16, "total_tokens": 18}
    assert all("usage" not in chunk for chunk in stream_chunks(client, prompt="ab"))


@pytest.mark.parametrize("stream", [False, True])
def test_echo_logprobs(client: TestClient, model: ServedModel, stream: bool) -> None:
    """The request that lm-eval sends: the prompt's log probabilities are the engine's, and greedy tokens rank first."""
    ids = model.engine.tokenizer.encode("ab cA:").tolist()
    body: dict[str, Any] = {"prompt": [ids], "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    if stream:
        parts = [chunk["choices"][0] for chunk in stream_chunks(client, **body)]
        logprobs = {key: [x for part in parts for x in part["logprobs"][key]] for key in parts[0]["logprobs"]}
        text = "".join(part["text"] for part in parts)
    else:
        [choice] = complete(client, **body)["choices"]
        logprobs, text = choice["logprobs"], choice["text"]
    assert len(logprobs["tokens"]) == len(ids) + 1
    assert "".join(logprobs["tokens"]) == text
    assert logprobs["text_offset"] == list(range(len(ids) + 1))
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    params = SamplingParams(temperature=0, max_tokens=1)
    expected = model.engine.submit(Prompt("ab cA:", tuple(ids), ()), params, logprobs=1, prompt_logprobs=True).result()
    assert logprobs["token_logprobs"][1:-1] == [entry.logprob for entry in expected.prompt_logprobs[1:] if entry]
    last = logprobs["top_logprobs"][-1]
    assert max(last, key=lambda text: last[text]) == logprobs["tokens"][-1]


def test_top_logprobs_include_sampled_token(client: TestClient) -> None:
    [choice] = complete(client, prompt="ab", logprobs=2, temperature=2, seed=3, max_tokens=40)["choices"]
    columns = (choice["logprobs"][key] for key in ("tokens", "token_logprobs", "top_logprobs"))
    for token, logprob, top in zip(*columns, strict=True):
        assert top[token] == logprob
        assert len(top) in (2, 3)
    assert choice["logprobs"]["text_offset"][0] == 2  # counted from the start of the prompt


def test_max_tokens_0_scores_prompt(client: TestClient) -> None:
    response = complete(client, prompt="abc", max_tokens=0, echo=True, logprobs=0)
    [choice] = response["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abc", "length")
    assert len(choice["logprobs"]["tokens"]) == 3
    assert response["usage"]["completion_tokens"] == 0


def test_best_of_returns_most_likely(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "ab", "seed": 4, "max_tokens": 12, "ignore_eos": True}
    choices = complete(client, n=5, logprobs=0, **body)["choices"]
    best = max(choices, key=lambda choice: sum(choice["logprobs"]["token_logprobs"]))
    assert complete(client, best_of=5, **body)["choices"][0]["text"] == best["text"]


def test_stop_strings_and_max_words(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "ab", "seed": 9, "max_tokens": 80, "ignore_eos": True}
    text = complete(client, **body)["choices"][0]["text"]
    stop = text[10:12]
    for stops in (stop, [stop, "zzz"]):
        [choice] = complete(client, stop=stops, **body)["choices"]
        assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")
    [choice] = complete(client, max_words=2, **body)["choices"]
    assert len(choice["text"].split()) <= 3


def test_stop_token_ids_and_min_tokens(client: TestClient, model: ServedModel) -> None:
    body: dict[str, Any] = {"prompt": "ab", "seed": 9, "max_tokens": 40, "ignore_eos": True, "logprobs": 0}
    [free] = complete(client, **body)["choices"]
    character = free["text"][5]
    token = model.engine.tokenizer.encode(character).tolist()
    [stopped] = complete(client, stop_token_ids=token, **body)["choices"]
    assert (stopped["text"], stopped["finish_reason"]) == (free["text"][: free["text"].index(character)], "stop")
    [longer] = complete(client, stop_token_ids=token, min_tokens=20, **body)["choices"]
    assert len(longer["logprobs"]["tokens"]) >= 20
    assert character not in longer["text"][:20]
    [late] = complete(client, stop=character, min_tokens=20, **body)["choices"]
    assert late["text"].startswith(free["text"][:19])


def test_penalties_and_logit_bias(client: TestClient, model: ServedModel) -> None:
    token = int(model.engine.tokenizer.encode("e")[0])
    assert complete(client, prompt="a", logit_bias={str(token): 100}, max_tokens=5)["choices"][0]["text"] == "eeeee"
    body: dict[str, Any] = {"prompt": "a", "seed": 1, "max_tokens": 60}
    text = complete(client, **body)["choices"][0]["text"]
    assert complete(client, frequency_penalty=2, **body)["choices"][0]["text"] != text
    assert complete(client, repetition_penalty=3, **body)["choices"][0]["text"] != text


def test_context_overflow_stop(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "a" * 20, "max_tokens": 60, "ignore_eos": True, "seed": 1}
    [choice] = complete(client, context_overflow="stop", **body)["choices"]
    assert len(choice["text"]) < 60
    assert choice["finish_reason"] == "length"


def test_null_means_default(client: TestClient) -> None:
    names = ("temperature", "top_p", "n", "stop", "logprobs", "echo", "logit_bias", "stream", "suffix", "best_of")
    nulls: dict[str, Any] = dict.fromkeys((*names, "max_tokens", "top_k", "context_overflow"))
    assert complete(client, prompt="ab", seed=1, **nulls)["choices"] == complete(client, prompt="ab", seed=1)["choices"]


def test_warnings_for_unknown_fields_and_characters(client: TestClient) -> None:
    response = complete(client, prompt="a\N{SNOWMAN}b", temprature=0.1, something_else=1)
    warnings = " ".join(response["warnings"])
    assert "unknown field 'temprature' ignored: did you mean 'temperature'?" in warnings
    assert "unknown field 'something_else' ignored" in warnings
    assert "SNOWMAN" in warnings


def test_prompt_changes(client: TestClient) -> None:
    characters = [{"character": "—", "replacement": ""}, {"character": "É", "replacement": ""}]
    characters.append({"character": "…", "replacement": "..."})
    change = {"index": 1, "text": "ab...<|endoftext|>é", "characters": characters}
    body: dict[str, Any] = {"prompt": ["ab", "a—bÉ…<|endoftext|>é"], "max_tokens": 2}
    assert complete(client, **body)["prompt_changes"] == [change]
    first, *others = stream_chunks(client, **body)
    assert first["prompt_changes"] == [change]
    assert not any("prompt_changes" in chunk for chunk in others)
    assert "prompt_changes" not in complete(client, prompt="", max_tokens=2)
    assert "prompt_changes" not in complete(client, prompt=[1, 2], max_tokens=2)


def test_prompt_changes_of_a_lossy_tokenizer(tmp_path: Path) -> None:
    """The text is what the model reads, if the tokenizer has a normalizer."""
    folder = save_bpe_checkpoint(tmp_path)
    spec = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    spec["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    with folder_client(folder) as client:
        response = complete(client, prompt="To Be 🎭", max_tokens=2)
        assert response["prompt_changes"] == [{"index": 0, "text": "to be 🎭", "characters": []}]
        assert "prompt_changes" not in complete(client, prompt="to be 🎭", max_tokens=2)


def test_concurrent_requests_do_not_interfere(client: TestClient) -> None:
    expected = [complete(client, prompt="ab", seed=i, max_tokens=30)["choices"][0]["text"] for i in range(12)]
    found: dict[int, str] = {}

    def request(seed: int) -> None:
        chunks = stream_chunks(client, prompt="ab", seed=seed, max_tokens=30)
        found[seed] = "".join(chunk["choices"][0]["text"] for chunk in chunks)

    threads = [threading.Thread(target=request, args=[seed]) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(12)] == expected


@pytest.fixture(scope="module")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A model with a byte-level BPE, whose tokens may be parts of characters."""
    served = load_served(save_bpe_checkpoint(tmp_path_factory.mktemp("models") / "bpe"), name="bpe")
    with app_client(served) as client:
        yield client
    served.engine.close()


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("ab é😊字\u0301\n"), min_size=1, max_size=8))
def test_text_offset_counts_characters(bpe: TestClient, prompt: str) -> None:
    body: dict[str, Any] = {"prompt": prompt, "echo": True, "logprobs": 0, "seed": 1}
    [whole] = complete(bpe, max_tokens=0, **body)["choices"]
    offsets, tokens = whole["logprobs"]["text_offset"], whole["logprobs"]["tokens"]
    assert offsets[0] == 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for offset, token in zip(offsets, tokens, strict=True):
        assert len(prompt[:offset].encode()) <= len(prompt.encode())
        data = bytes.fromhex(token[6:].replace("\\x", "")) if token.startswith("bytes:") else token.encode()
        text = decoder.decode(data)
        assert prompt[offset : offset + len(text)] == text
    [more] = complete(bpe, max_tokens=6, ignore_eos=True, **body)["choices"]
    assert more["logprobs"]["text_offset"][: len(offsets)] == offsets
    assert more["logprobs"]["text_offset"][len(offsets)] == len(prompt)


def test_seed_minus_1_is_random_and_other_negative_seeds_are_not(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "ab", "max_tokens": 40, "ignore_eos": True, "temperature": 2}
    assert complete(client, seed=-1, **body)["choices"] != complete(client, seed=-1, **body)["choices"]
    assert complete(client, seed=-2, **body)["choices"] == complete(client, seed=-2, **body)["choices"]


def test_top_p_0_is_greedy(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": "ab", "max_tokens": 40, "ignore_eos": True}
    greedy = complete(client, temperature=0, **body)["choices"]
    assert complete(client, top_p=0, temperature=2, **body)["choices"] == greedy


def test_whole_numbers_may_be_written_as_floats(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": [1, 2], "max_tokens": 5, "seed": 3, "n": 2, "stop_token_ids": [3], "top_k": 4}
    floats = {name: float(value) if isinstance(value, int) else list(map(float, value)) for name, value in body.items()}
    assert complete(client, **floats)["choices"] == complete(client, **body)["choices"]


def test_warnings_for_prompts_beyond_the_context(client: TestClient) -> None:
    body: dict[str, Any] = {"max_tokens": 1}
    assert "warnings" not in complete(client, prompt="a" * BLOCK, **body)
    message = (
        f"the prompt has {BLOCK + 1} tokens, more than the model's context of {BLOCK}: it is continued from its last"
    )
    assert complete(client, prompt="a" * (BLOCK + 1), **body)["warnings"] == [f"{message} {BLOCK // 2 + 1} tokens"]
    [warning] = complete(client, prompt="a" * 60, context_overflow="recompute", **body)["warnings"]
    assert warning.endswith(f"its last {BLOCK} tokens")
    [warning] = complete(client, prompt=["a", "a" * 60], **body)["warnings"]
    assert warning.startswith("prompt 2 has 60 tokens")


def test_many_warnings_are_counted(client: TestClient) -> None:
    warnings = complete(client, prompt="a", **{f"field{n}": 1 for n in range(50)})["warnings"]
    assert len(warnings) == 21
    assert warnings[-1] == "and 1 more warnings"
    body = {"messages": [{"content": "", f"field{n}": 1} for n in range(30)], "max_tokens": 1}
    warnings = client.post("/v1/chat/completions", json=body).json()["warnings"]
    assert (len(warnings), warnings[-1]) == (21, "and 10 more warnings")


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/api/explain"])
def test_every_endpoint_reports_unknown_fields(client: TestClient, path: str) -> None:
    body = {"prompt": "ab", "tokens": [1], "text": "ab", "unheard_of": 1}
    assert "unknown field 'unheard_of' ignored" in client.post(path, json=body).json()["warnings"]


def test_events_have_no_line_breaks_of_unicode(tmp_path: Path) -> None:
    """`str.splitlines`, which some clients use, splits at characters that JSON need not escape."""
    breaks = "\u0085\u2028\u2029"
    tokenizer = CharTokenizer("ab" + breaks)
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=BLOCK)
    save_checkpoint(tmp_path / "breaks", tiny_model(config), tokenizer)
    served = load_served(tmp_path / "breaks", name="breaks")
    ids = tokenizer.encode(breaks).tolist()
    body = {"prompt": "a", "max_tokens": 30, "stream": True, "logit_bias": {str(i): 100 for i in ids}, "seed": 1}
    with app_client(served) as client, client.stream("POST", "/v1/completions", json=body) as response:
        content = response.read().decode()
    served.engine.close()
    lines = [line for line in content.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-1])
    assert len(text) == 30
    assert set(text) <= set(breaks)
