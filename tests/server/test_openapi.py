"""The OpenAPI document describes what the server does: bounds, errors, authentication, and every response."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from helpers.server import app_client, load_served, stream_chunks
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from inkhorn.config.bounds import field_specs
from inkhorn.config.sampling import SamplingParams
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.schemas import responses
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Limits, Settings

PUBLIC = ["GET /health", "GET /health/ready", "GET /version"]
WITH_BODY = [
    "POST /v1/completions",
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /api/explain",
    "POST /api/importance",
    "POST /api/snapshot",
    "POST /tokenize",
    "POST /detokenize",
]
OPERATIONS = [
    *WITH_BODY,
    "GET /tokenizer_info",
    "GET /v1/models",
    "GET /v1/models/{model_id}",
    "GET /api/settings",
    "GET /api/atlas",
    "GET /metrics",
    *PUBLIC,
]


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_operations(document: dict[str, Any]) -> None:
    assert sorted(operations_of(document)) == sorted(OPERATIONS)


def test_sampling_params_have_bounds_and_help(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for request in ("CompletionRequest", "ChatRequest", "ResponsesRequest"):
        properties = schemas[request]["properties"]
        for name, spec in field_specs(SamplingParams).items():
            if name != "max_tokens":
                assert properties[name]["description"] == spec.help
        assert properties["stop_token_ids"]["anyOf"][0]["maxItems"] == 1024
        assert properties["logit_bias"]["anyOf"][0]["maxProperties"] == 1024
        assert properties["min_p"]["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}
        assert properties["temperature"]["default"] == 1
        assert properties["context_overflow"]["default"] == "shift"


def unbounded(schema: Any, where: str = "") -> list[str]:
    """The numbers without both bounds, and the arrays without a largest size, in a JSON Schema."""
    if isinstance(schema, list):
        return [each for i, part in enumerate(schema) for each in unbounded(part, f"{where}[{i}]")]
    if not isinstance(schema, dict):
        return []
    found = [each for name, part in schema.items() for each in unbounded(part, f"{where}.{name}")]
    kind = schema.get("type")
    if kind in ("integer", "number") and (
        {"minimum", "exclusiveMinimum"}.isdisjoint(schema) or {"maximum", "exclusiveMaximum"}.isdisjoint(schema)
    ):
        found.append(where)
    return [*found, where] if kind == "array" and "maxItems" not in schema else found


def test_every_number_and_list_of_a_request_is_bounded(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Request") or name in ("ChatMessage", "StreamOptions"):
            assert unbounded(schema, name) == []
    for operation in operations_of(document).values():
        assert unbounded(operation.get("parameters", [])) == []


def test_errors_are_declared(document: dict[str, Any]) -> None:
    for name, operation in operations_of(document).items():
        assert "422" not in operation["responses"], name
        expected = {"400", "401", "404", "413", "429"} if name in WITH_BODY else set()
        assert expected <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ErrorResponse"}
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


@pytest.mark.parametrize("api_keys", [(), ("key",)])
def test_security_schemes(model: ServedModel, api_keys: tuple[str, ...]) -> None:
    with app_client(model, api_keys=api_keys) as client:
        document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert schemes["HTTPBearer"] | {"type": "http", "scheme": "bearer"} == schemes["HTTPBearer"]
    expected: list[dict[str, list[str]]] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]
    expected += [] if api_keys else [{}]  # without keys, authentication is optional
    for name, operation in operations_of(document).items():
        if name in PUBLIC:
            assert "security" not in operation
        else:
            assert operation["security"] == expected, name


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Any]:
    model = load_served(folder, max_queued=1000)
    app = create_app(ModelRegistry(model), Settings(limits=Limits(max_tokens=64, max_choices=8, max_queued=1000)))
    app.state.ready = True  # the lifespan does not run here
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    model.engine.close()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_events_conform_to_the_document(client: TestClient, path: str) -> None:
    is_chat = path == "/v1/chat/completions"
    chunk: type[BaseModel] = responses.ChatCompletionChunk if is_chat else responses.Completion
    body: dict[str, Any] = {"prompt": "ab", "max_tokens": 30, "n": 2, "logprobs": 1, "unknown": 1}
    if is_chat:
        body |= {"messages": [{"content": "ab"}], "logprobs": True}
    events = stream_chunks(client, path, stream_options={"include_usage": True}, **body)
    assert len(events) > 2
    for event in events:
        chunk.model_validate(event, strict=True, extra="forbid")


CASES = [(name, GenerationMode.POSITIVE) for name in OPERATIONS]
CASES += [(name, GenerationMode.NEGATIVE) for name in WITH_BODY]


@pytest.mark.parametrize(("name", "mode"), CASES, ids=[f"{name} {mode.value}" for name, mode in CASES])
def test_responses_conform_to_the_document(api: Any, name: str, mode: GenerationMode) -> None:
    """A request that fits the schema may still get 400, because of the model's vocabulary or the limits."""
    [operation] = [found.ok() for found in api.get_all_operations() if found.ok().label == name]

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    run()
