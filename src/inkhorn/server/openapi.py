"""The OpenAPI document, corrected where FastAPI's default differs from the server's behavior."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi


def openapi_document(app: FastAPI, *, key_required: bool) -> dict[str, Any]:
    """The OpenAPI document of an application.

    FastAPI lists status 422 for every route with parameters; this server answers 400, which the routes declare. Where
    the server requires no API key, the security schemes are optional.
    """
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if not key_required and "security" in operation:
                operation["security"].append({})
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document
