"""Describes every route in one OpenAPI document."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fastapi import FastAPI

from shipway.domain.errors import Code
from shipway.server.errors import STATUS
from shipway.server.rest.application import operation_id
from shipway.server.rest.routes import ROUTES, Route

REF = "#/components/schemas/{name}"


def openapi(app: FastAPI) -> dict[str, Any]:
    """Return the document: FastAPI's part, the hot routes, keys and errors."""
    document: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    structs = [route.body for route in ROUTES if _is_struct(route)]
    schemas, components = msgspec.json.schema_components(
        [struct for struct in structs if struct is not None], ref_template=REF
    )
    by_struct = dict(zip(structs, schemas, strict=True))
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {}).update(components)
    parts["schemas"]["Error"] = _error_schema()
    parts["schemas"].pop("HTTPValidationError", None)
    parts["schemas"].pop("ValidationError", None)
    parts["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic"},
    }
    for route in ROUTES:
        path = route.path.replace(":path}", "}")
        operation = document["paths"].setdefault(path, {}).setdefault(route.method.lower(), {})
        _complete(operation, route, by_struct.get(route.body))
    return document


def _complete(operation: dict[str, Any], route: Route, schema: dict[str, Any] | None) -> None:
    operation.setdefault("summary", route.summary)
    operation.setdefault("operationId", operation_id(route))
    operation["tags"] = [route.handler.__module__.rpartition(".")[2]]
    operation["x-roles"] = sorted(role.value for role in route.roles)
    operation["security"] = [{"bearer": []}, {"basic": []}] if route.roles else []
    if route.handler.__doc__:
        operation["description"] = route.handler.__doc__
    if route.is_hot:
        operation.setdefault("parameters", _parameters(route))
    if route.is_raw:
        schema, media = {"type": "string", "format": "binary"}, "application/octet-stream"
    elif route.is_hot:
        schema, media = schema or {"type": "object"}, "application/json"
    if route.is_raw or route.is_hot:
        operation["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    responses.setdefault(str(route.status), {"description": "done"})
    responses["default"] = {
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": REF.format(name="Error")}}},
    }


def _parameters(route: Route) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    found = [_parameter(name, "path", _TEXT) for name in names]
    if route.path.endswith("/log/{name}"):
        found += [_parameter(name, "query", _COUNT) for name in ("attempt", "offset")]
        stamps = ("first_at", "last_at")
        found += [_parameter(name, "query", _COUNT, is_required=False) for name in stamps]
        found.append(_parameter("Shipway-Token", "header", _TEXT))
    if route.path.endswith("/items"):
        found.append(_parameter("Idempotency-Key", "header", _TEXT, is_required=False))
    return found


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


def _parameter(
    name: str, where: str, schema: dict[str, Any], *, is_required: bool = True
) -> dict[str, Any]:
    return {"name": name, "in": where, "required": is_required, "schema": schema}


def _is_struct(route: Route) -> bool:
    return route.body is not None and issubclass(route.body, msgspec.Struct)


def _error_schema() -> dict[str, Any]:
    codes = {code.value: f"HTTP {STATUS[code]}" for code in Code}
    return {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message", "details"],
                "properties": {
                    "code": {"type": "string", "enum": list(codes), "x-status": codes},
                    "message": {"type": "string"},
                    "details": {"type": "object"},
                },
            }
        },
    }
