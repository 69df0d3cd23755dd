"""The OpenAPI document of one endpoint, made from what its model says that it takes and gives. Pure.

Form: OpenAPI 3.1. Headers and errors of the one operation: InvokeEndpoint (API reference, sagemaker-runtime).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from clary.control.endpoint_docs import EndpointFacts
from clary.domain.signature import Column, ModelSignature

CSV = "text/csv"
JSON = "application/json"
_ERRORS = {
    "400": ("ValidationError", "A header or the name of the endpoint is not valid."),
    "413": ("RequestTooLarge", "The body is larger than 25 MiB."),
    "424": ("ModelError", "The model refused the request, or failed. OriginalMessage holds its words, with the row and "
            "column at fault where they are known; OriginalStatusCode its status."),
    "503": ("ServiceUnavailable", "No replica is free or running; Retry-After says when to try again."),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A variant's name with what its model says of itself."""

    name: str
    signature: ModelSignature


def document(facts: EndpointFacts, variants: Sequence[Variant], base_url: str, *, auth: bool) -> dict[str, Any]:
    """The whole document. Where variants differ the first one's signature stands for the endpoint."""
    signature = variants[0].signature if variants else ModelSignature()
    path = f"/endpoints/{quote(facts.name, safe='')}/invocations"
    operation = {
        "operationId": "InvokeEndpoint",
        "summary": f"Ask the model behind {facts.name}.",
        "parameters": _headers([variant.name for variant in variants]),
        "requestBody": {"required": True, "content": request_content(signature)},
        "responses": {"200": _answer(signature), **{status: _error(*told) for status, told in _ERRORS.items()}},
    }
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": facts.name,
            "version": str(facts.generation),
            "description": f"The endpoint {facts.name} ({facts.scope.region}): {facts.status.value}.",
        },
        "servers": [{"url": base_url}],
        "paths": {path: {"post": operation}},
        "components": {"schemas": {"Row": row_schema(signature.columns), "Error": _ERROR_SCHEMA}},
    }
    if auth:
        scheme = {"type": "apiKey", "in": "header", "name": "Authorization", "x-amazon-apigateway-authtype": "awsSigv4"}
        found["components"]["securitySchemes"] = {"sigv4": scheme}
        found["security"] = [{"sigv4": []}]
    return found


def request_content(signature: ModelSignature) -> dict[str, Any]:
    """What may be sent, by content type."""
    found: dict[str, Any] = {}
    example = signature.example
    for content_type in signature.accepts or (CSV,):
        media: dict[str, Any] = {"schema": _body_schema(content_type, signature)}
        if example is not None and example.content_type == content_type:
            media["example"] = _shown(example.body, content_type)
        found[content_type] = media
    return found


def row_schema(columns: Sequence[Column]) -> dict[str, Any]:
    """A row as an object, where columns have names, else as a list; a schema of anything where nothing is known."""
    if not columns:
        return {}
    if all(column.name for column in columns):
        return {
            "type": "object",
            "properties": {column.name: _value(column) for column in columns},
            "required": [column.name for column in columns if column.required],
        }
    return _list_schema(columns)


def _list_schema(columns: Sequence[Column]) -> dict[str, Any]:
    if all(column == columns[0] for column in columns):
        items: dict[str, Any] = {"items": _value(columns[0])}
    else:
        items = {"prefixItems": [_value(column, titled=True) for column in columns], "items": False}
    return {"type": "array", **items, "minItems": len(columns), "maxItems": len(columns)}


def _value(column: Column, *, titled: bool = False) -> dict[str, Any]:
    schema: dict[str, Any] = {} if column.kind == "any" else {"type": column.kind}
    if not column.required and schema:
        schema["type"] = [column.kind, "null"]
    if titled and column.name:
        schema["title"] = column.name
    return schema


def _body_schema(content_type: str, signature: ModelSignature) -> dict[str, Any]:
    columns = signature.columns
    if content_type == CSV:
        names = ", ".join(column.name or f"column {place}" for place, column in enumerate(columns, 1))
        return {"type": "string", "description": f"One row a line: {names}." if names else "One row a line."}
    if content_type == JSON and columns:
        many, record = _list_schema(columns), {"$ref": "#/components/schemas/Row"}
        if signature.json_body == "rows":
            return {"oneOf": [{"type": "array", "items": many}, many]}
        if signature.json_body == "records":
            return {"oneOf": [{"type": "array", "items": record}, record]}
        if signature.json_body == "mlflow":
            return {"oneOf": _mlflow_forms(columns, record, many)}
    return {}


def _mlflow_forms(columns: Sequence[Column], record: dict[str, Any], many: dict[str, Any]) -> list[dict[str, Any]]:
    """The scoring protocol's bodies."""
    names = [column.name for column in columns if column.name]
    split = {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"enum": names} if names else {"type": "string"}},
            "data": {"type": "array", "items": {"type": "array"} if names else many},
        },
        "required": ["data"],
    }
    bodies = {
        "dataframe_split": split,
        "dataframe_records": {"type": "array", "items": record},
        "instances": {},
        "inputs": {},
    }
    return [{"type": "object", "properties": {key: body}, "required": [key]} for key, body in bodies.items()]


def _answer(signature: ModelSignature) -> dict[str, Any]:
    example = signature.example
    types = list(signature.answers)
    if example is not None and example.answer_type and example.answer_type not in types:
        types.insert(0, example.answer_type)
    content: dict[str, Any] = {}
    for content_type in types or ["*/*"]:
        content[content_type] = {"schema": {}}
        if example is not None and example.answer_type == content_type:
            content[content_type]["example"] = _shown(example.answer, content_type)
    return {
        "description": "What the model answers.",
        "content": content,
        "headers": {"x-Amzn-Invoked-Production-Variant": {"schema": {"type": "string"}}},
    }


def _shown(text: str, content_type: str) -> Any:
    """JSON as what it means, everything else as it is."""
    if content_type == JSON:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _headers(variants: list[str]) -> list[dict[str, Any]]:
    def header(name: str, schema: dict[str, Any], said: str) -> dict[str, Any]:
        return {"name": name, "in": "header", "required": False, "schema": schema, "description": said}

    target: dict[str, Any] = {"type": "string", **({"enum": variants} if variants else {})}
    return [
        header("X-Amzn-SageMaker-Target-Variant", target, "Ask this variant, whatever the weights."),
        header("X-Amzn-SageMaker-Inference-Id", {"type": "string", "maxLength": 64}, "An id of your own."),
        header("X-Amzn-SageMaker-Custom-Attributes", {"type": "string", "maxLength": 1024}, "Passed to the model."),
    ]


def _error(code: str, said: str) -> dict[str, Any]:
    return {
        "description": f"{code}: {said}",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
        "headers": {"x-amzn-ErrorType": {"schema": {"const": code}}},
    }


_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "Message": {"type": "string"},
        "OriginalStatusCode": {"type": "integer"},
        "OriginalMessage": {"type": "string"},
        "LogStreamArn": {"type": "string"},
    },
}
