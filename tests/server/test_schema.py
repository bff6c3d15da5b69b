"""The OpenAPI document is true: whatever a client sends, no answer breaks it, and none is a 5xx."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from helpers.server import save_tiny, serve_folder
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from inkhorn.server.app import create_app
from inkhorn.server.model_registry import Models
from inkhorn.server.settings import Limits, Settings


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder: Path = save_tiny(tmp_path_factory.mktemp("models") / "tiny")
    model = serve_folder(folder, max_queue=1000)
    app = create_app(Models(model), Settings(limits=Limits(max_tokens=64, max_choices=8, max_queue=1000)))
    app.state.ready = True  # no lifespan runs here
    yield schemathesis.openapi.from_asgi("/openapi.json", app)
    model.engine.close()


PATHS = [
    "POST /v1/completions",
    "POST /v1/chat/completions",
    "POST /api/explain",
    "POST /tokenize",
    "POST /detokenize",
    "GET /tokenizer_info",
    "GET /v1/models",
    "GET /v1/models/{model_id}",
    "GET /api/settings",
    "GET /health",
    "GET /health/ready",
    "GET /version",
    "GET /metrics",
]


def test_all_paths_are_known(document: Any) -> None:
    assert sorted(operation.ok().label for operation in document.get_all_operations()) == sorted(PATHS)


WITH_BODY = [path for path in PATHS if path.startswith("POST")]
SENT = [(path, GenerationMode.POSITIVE) for path in PATHS] + [(path, GenerationMode.NEGATIVE) for path in WITH_BODY]


@pytest.mark.parametrize(("path", "mode"), SENT, ids=[f"{path} {mode.value}" for path, mode in SENT])
def test_every_answer_is_as_told(document: Any, path: str, mode: GenerationMode) -> None:
    """What the document allows may still be refused with a 400: it knows neither this model's ids nor the limits."""
    [operation] = [found.ok() for found in document.get_all_operations() if found.ok().label == path]

    @settings(max_examples=25, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    run()
