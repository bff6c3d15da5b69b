"""`--models-dir`: models that are loaded on first use, and unloaded when memory is needed."""

import asyncio
import gc
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import complete, save_tiny, stream_chunks, wait_until

from inkhorn.errors import CheckpointError, UsageError
from inkhorn.server import model_registry
from inkhorn.server.app import create_app
from inkhorn.server.errors import ApiError
from inkhorn.server.model_entry import ModelEntry
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.settings import ServerConfig


@pytest.fixture
def zoo(folder: Path, tmp_path: Path) -> Path:
    """A folder with three models, one of them broken, and things that are none."""
    for name in ("a", "b", "c"):
        shutil.copytree(folder, tmp_path / "zoo" / name)
    save_tiny(tmp_path / "zoo" / "b", seed=1)
    (tmp_path / "zoo" / "c" / "model.safetensors").write_bytes(b"damaged")
    (tmp_path / "zoo" / ".cache").mkdir()
    (tmp_path / "zoo" / "empty").mkdir()
    (tmp_path / "zoo" / "notes.txt").write_text("notes")
    shutil.copytree(folder, tmp_path / "secret")
    return tmp_path / "zoo"


@contextmanager
def serving(folder: Path | None, **options: Any) -> Iterator[tuple[TestClient, ModelRegistry]]:
    """A client of an application that serves the models of a folder."""
    config = ServerConfig(**{"models": (), "models_dir": folder, "max_num_seqs": 2} | options)
    registry = ModelRegistry.load(config)
    with TestClient(create_app(registry, config), raise_server_exceptions=False) as client:
        yield client, registry
    registry.close()


def states(client: TestClient) -> dict[str, str]:
    return {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}


def memory_of(folder: Path) -> int:
    """Bytes of one of the models; all have the same shape."""
    return ModelEntry("a", folder).memory(ServerConfig(max_num_seqs=2))


@pytest.fixture
def room_for_one(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, whose models take 1 MiB each."""
    monkeypatch.setattr(ModelEntry, "memory", lambda self, config: 2**20)
    return zoo


def test_models_load_on_first_use(zoo: Path) -> None:
    with serving(zoo) as (client, _):
        assert states(client) == {"a": "unloaded", "b": "unloaded", "c": "unloaded"}
        first = client.get("/v1/models/a").json()
        assert (first["fingerprint"], first["memory_bytes"], first["pinned"], first["error"]) == (None, 0, False, None)
        assert first["meta"]["backend"] is None
        assert first["max_model_len"] == first["meta"]["block_size"]
        texts = [complete(client, model=name, prompt="ab", seed=1)["choices"][0]["text"] for name in "aba"]
        assert texts[0] == texts[2] != texts[1]
        assert states(client) == {"a": "loaded", "b": "loaded", "c": "unloaded"}
        loaded = client.get("/v1/models/a").json()
        assert loaded["memory_bytes"] == memory_of(zoo / "a")
        assert loaded["fingerprint"].startswith("fp_")
        assert loaded["created"] == first["created"]
        metrics = client.get("/metrics").text
        for line in ('model_loads_total{model_name="a"} 1.0', 'model_loaded{model_name="b"} 1.0'):
            assert f"inkhorn:{line}\n" in metrics
        assert 'inkhorn:num_requests_running{model_name="c"} 0.0\n' in metrics
        assert 'inkhorn:generation_tokens_total{model_name="b"}' in metrics


def test_every_endpoint_loads(zoo: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "ab"}]}
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/v1/chat/completions", chat),
        ("/v1/responses", {"input": "ab"}),
        ("/tokenize", {"prompt": "ab"}),
        ("/detokenize", {"tokens": [1]}),
        ("/api/explain", {"text": "ab"}),
        ("/api/importance", {"text": "ab"}),
    ]
    for path, body in requests:
        with serving(zoo) as (client, _):
            assert client.post(path, json=body | {"model": "b"}).status_code == 200, path
            assert states(client)["b"] == "loaded"
    with serving(zoo) as (client, _):
        assert client.get("/tokenizer_info", params={"model": "b"}).json()["vocab_size"]
        assert client.get("/").status_code == 200
        assert set(client.get("/api/settings").json()["models"]) == {"a", "b", "c"}


def test_least_recently_used_is_unloaded(room_for_one: Path) -> None:
    with serving(room_for_one, models_memory=1) as (client, registry):
        complete(client, model="a")
        backend = weakref.ref(registry.loaded()[0].engine.backend)
        client.post("/api/explain", json={"model": "a", "text": "ab"})
        complete(client, model="b")
        assert states(client)["a"] == "unloaded"
        gc.collect()
        assert backend() is None, "the memory of an unloaded model is free"
        assert complete(client, model="a")["choices"]
        metrics = client.get("/metrics").text
        assert 'inkhorn:model_unloads_total{model_name="a"} 1.0\n' in metrics
        assert "inkhorn:models_memory_limit_bytes 1.048576e+06\n" in metrics


def test_pinned_models_stay(room_for_one: Path) -> None:
    with serving(room_for_one, models_memory=2, pin=("b",)) as (client, _):
        assert states(client) == {"b": "loaded", "a": "unloaded", "c": "unloaded"}  # and it is the default
        assert client.get("/v1/models/b").json()["pinned"]
        complete(client, model="a")
        shutil.copytree(room_for_one / "a", room_for_one / "d")
        complete(client, model="d")
        assert states(client) == {"b": "loaded", "a": "unloaded", "c": "unloaded", "d": "loaded"}
    with serving(room_for_one, models_memory=1, pin=("b",)) as (client, _):
        response = client.post("/v1/completions", json={"model": "a"})
        assert response.status_code == 503
        assert response.headers["x-should-retry"] == "false"
        assert response.json()["error"]["code"] == "model_memory_full"
        assert "--models-memory" in response.json()["error"]["message"]
        assert complete(client, model="b")


def test_models_in_use_stay(room_for_one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for the memory of a model that another request uses, and does not end that one."""
    monkeypatch.setattr(model_registry, "MAX_WAIT_SECONDS", 0.2)
    long = {"model": "a", "prompt": "ab", "max_tokens": 60_000, "ignore_eos": True, "stream": True}
    with serving(room_for_one, models_memory=1) as (client, registry), ThreadPoolExecutor() as threads:
        stream = threads.submit(lambda: client.post("/v1/completions", json=long))
        wait_until(lambda: bool(registry.loaded()))
        response = client.post("/v1/completions", json={"model": "b"})
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert "requests to a are using it" in response.json()["error"]["message"]
        monkeypatch.setattr(model_registry, "MAX_WAIT_SECONDS", 60)
        waiting = threads.submit(lambda: complete(client, model="b"))
        wait_until(lambda: states(client)["b"] == "loading")
        assert states(client)["a"] == "loaded"
        registry.loaded()[0].engine.abort_all("enough")
        assert "data: [DONE]" in stream.result().text
        assert waiting.result()["model"] == "b"


def test_simultaneous_requests_load_once_and_hold_up_nobody(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, go_on, load = threading.Event(), threading.Event(), ModelEntry.load

    def slow(self: ModelEntry, config: ServerConfig) -> Any:
        if self.id == "b":
            started.set()
            assert go_on.wait(60)
        return load(self, config)

    monkeypatch.setattr(ModelEntry, "load", slow)
    with serving(zoo, pin=("a",)) as (client, registry), ThreadPoolExecutor() as threads:
        requests = [threads.submit(lambda: complete(client, model="b", seed=1)) for _ in range(6)]
        assert started.wait(60)
        assert states(client)["b"] == "loading"
        assert stream_chunks(client, model="a", prompt="ab", max_tokens=20)  # meanwhile
        go_on.set()
        assert len({request.result()["choices"][0]["text"] for request in requests}) == 1
        assert [entry.loads for entry in registry if entry.id == "b"] == [1]


def test_client_that_disconnects_does_not_cancel_the_load(zoo: Path) -> None:
    async def main() -> None:
        registry = ModelRegistry.load(ServerConfig(models=(), models_dir=zoo, max_num_seqs=2))
        first = asyncio.create_task(registry.acquire("b"))
        await asyncio.sleep(0)
        second = asyncio.create_task(registry.acquire("b"))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).id == "b"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert [entry.loads for entry in registry] == [0, 1, 0]
        registry.close()

    asyncio.run(main())


def test_broken_model_fails_alone_and_can_be_repaired(zoo: Path) -> None:
    with serving(zoo) as (client, _):
        for stream in (False, True):
            response = client.post("/v1/completions", json={"model": "c", "stream": stream})
            error = response.json()["error"]
            assert (response.status_code, error["code"], error["param"]) == (503, "model_not_loaded", "model")
            assert response.headers["x-should-retry"] == "false"
            assert "the model 'c' cannot be loaded: c/model.safetensors" in error["message"]
            assert str(zoo) not in error["message"]
        listed = client.get("/v1/models/c").json()
        assert (listed["state"], listed["error"]) == ("failed", error["message"])
        assert complete(client, model="a")
        assert client.get("/health/ready").status_code == 200
        (zoo / "c" / "config.json").write_text("{")
        assert client.get("/v1/models/c").json()["meta"] is None
        assert client.get("/v1/models").status_code == client.get("/api/settings").status_code == 200
        save_tiny(zoo / "c")
        assert complete(client, model="c")
        listed = client.get("/v1/models/c").json()
        assert (listed["state"], listed["error"]) == ("loaded", None)


def test_names_are_not_paths(zoo: Path) -> None:
    names = ["../secret", "..", ".", "", "/", str(zoo / "a"), "a/", "./a", "a/../b", ".cache", "empty", "notes.txt"]
    with serving(zoo) as (client, _):
        for name in (*names, "a\0", "ä" * 200):
            response = client.post("/v1/completions", json={"model": name})
            assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found"), name
        assert "loaded" not in states(client).values()


def test_models_come_and_go(zoo: Path) -> None:
    with serving(zoo) as (client, _):
        shutil.copytree(zoo / "b", zoo / "new")
        assert complete(client, model="new")
        shutil.rmtree(zoo / "new")
        shutil.rmtree(zoo / "b")
        assert complete(client, model="new"), "it is loaded"
        assert states(client) == {"a": "unloaded", "c": "unloaded", "new": "loaded"}
        shutil.rmtree(zoo)
        assert states(client)["new"] == "loaded"
        response = client.post("/v1/completions", json={"model": "a"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "model_not_loaded")


def test_beside_models_that_are_always_loaded(zoo: Path, folder: Path) -> None:
    with serving(zoo, models=(str(folder),), served_model_names=("main",)) as (client, _):
        assert complete(client)["model"] == "main"
        assert client.get("/v1/models/main").json()["pinned"]
        assert list(states(client)) == ["main", "a", "b", "c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lambda zoo: {"models_dir": zoo / "none"}, "is not a folder"),
        (lambda zoo: {"models_dir": zoo / "a"}, "is a model itself: give it with --model"),
        (lambda zoo: {"models_dir": zoo / "empty"}, "has no model"),
        (lambda zoo: {"models_dir": zoo, "pin": ("z",)}, "--pin z: .* has no such model"),
        (lambda zoo: {"models": (str(zoo / "a"),), "models_dir": zoo}, r"the same name \(a\)"),
        (lambda zoo: {"models": (str(zoo / "a"),), "pin": ("a",)}, "--pin needs --models-dir"),
        (lambda zoo: {"models": ("shakespeare",), "models_memory": 1}, "shakespeare needs .* MiB"),
    ],
)
def test_usage_errors(zoo: Path, options: Callable[[Path], dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelRegistry.load(ServerConfig(**{"models": ()} | options(zoo)))


def test_pinned_model_must_load(zoo: Path) -> None:
    with pytest.raises(CheckpointError, match=r"damaged|header"):
        ModelRegistry.load(ServerConfig(models=(), models_dir=zoo, pin=("c",)))


def test_api_error_is_the_same_for_all_waiting(zoo: Path) -> None:
    async def main() -> None:
        registry = ModelRegistry.load(ServerConfig(models=(), models_dir=zoo, max_num_seqs=2))
        found = await asyncio.gather(*(registry.acquire("c") for _ in range(4)), return_exceptions=True)
        assert all(isinstance(error, ApiError) and error.status == 503 for error in found)
        registry.close()

    asyncio.run(main())
