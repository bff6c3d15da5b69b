"""The reference of the HTTP API, from the server's OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from markdown_table import code, plain, table

from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.settings import Settings

_INTRODUCTION = """# HTTP API

The routes of `inkhorn serve`, from its OpenAPI document. A running server shows the same at `/docs` and sends the
document as `/openapi.json`; the one of this version is [openapi.json](openapi.json). Errors have OpenAI's form,
`{"error": {"message", "type", "param", "code"}}`. With API keys, send `Authorization: Bearer KEY` or `X-Api-Key: KEY`;
routes that need none are marked.
"""
_REFERENCE = "#/components/schemas/"
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} entries",
}
Schema = Mapping[str, Any]


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of a server with API keys."""
    return create_app(ModelRegistry(), Settings(web_ui=False, api_keys=("key",))).openapi()


def operations(found: Schema) -> Iterator[tuple[str, Schema]]:
    """Each operation of a document by its method and path."""
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def page() -> str:
    """The page in Markdown."""
    found = document()
    parts = [_INTRODUCTION]
    for name, operation in operations(found):
        parts += [f"## {name}\n", *_operation(operation)]
    parts.append("## Objects\n")
    for name, schema in found["components"]["schemas"].items():
        parts += [f"### {name}\n", *_object(schema)]
    return "\n".join(parts)


def _operation(operation: Schema) -> Iterator[str]:
    public = "" if "security" in operation else " No key is needed."
    yield f"{operation.get('description', operation['summary'])}{public}\n"
    if parameters := operation.get("parameters"):
        rows = [[code(p["name"]), p["in"], _type(p["schema"]), plain(p.get("description", ""))] for p in parameters]
        yield table(["parameter", "in", "type", "meaning"], rows) + "\n"
    if body := operation.get("requestBody"):
        yield f"Body: {_type(body['content']['application/json']['schema'])}\n"
    rows = []
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        kinds = [f"{code(kind)}: {_type(media['schema'])}" for kind, media in content.items() if "schema" in media]
        rows.append([status, plain(response["description"]), ", ".join(kinds)])
    yield table(["status", "meaning", "content"], rows) + "\n"


def _object(schema: Schema) -> Iterator[str]:
    if text := schema.get("description"):
        yield f"{plain(' '.join(text.split()))}\n"
    if "properties" not in schema:
        yield f"{_type(schema)}\n"
        return
    rows = []
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = field.get("default")
        shown = "required" if required else code(_json(default)) if default not in (None, [], {}) else ""
        rows.append([code(name), _type(field), _bounds(field), shown, plain(field.get("description", ""))])
    yield table(["field", "type", "bounds", "default", "meaning"], rows) + "\n"


def _type(schema: Schema) -> str:
    """A schema in words, with links to objects; without null, which stands for a field that is left out."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            kinds = [_type(option) for option in schema[key] if option.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return " or ".join(code(_json(value)) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return kind if isinstance(kind, str) else " or ".join(kind)


def _bounds(schema: Schema) -> str:
    """The bounds of a field and of its alternatives. Those that nobody comes near, 2^31 - 1, are left out."""
    options = [schema, *(option for key in ("anyOf", "oneOf") for option in schema.get(key, ()))]
    found = []
    for option in options:
        for key, words in _BOUNDS.items():
            if key in option and option[key] != 2**31 - 1:
                found.append(words.format(f"{option[key]:,.15g}"))
    return ", ".join(dict.fromkeys(found))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
