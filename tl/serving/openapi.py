"""What the server takes and gives, as OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

BYTES = {"type": "string", "format": "binary"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence: what is wrong, and the remedy."}},
}
WRONG = {
    400: "The request cannot be read, or a picture in it is broken or too large.",
    408: "The body took too long to arrive.",
    413: "The body is too large, or holds too many pictures.",
    415: "The content type is none of these.",
    503: "Too many requests are waiting, or the answer took too long: come again.",
}


def answer(tasks: dict[str, Any]) -> dict[str, Any]:
    """The schema of what is said of one picture."""
    said = {}
    for name, task in tasks.items():
        numbers = {"type": "object", "properties": {c: {"type": "number"} for c in task["classes"]}}
        if task["kind"] in ("classification", "binary"):
            properties: dict[str, Any] = {
                "class": {"type": "string", "enum": task["classes"]},
                "probability": {"type": "number"},
                "probabilities": numbers,
            }
        else:
            properties = {"values": numbers}
        said[name] = {"type": "object", "required": list(properties), "properties": properties}
    return {
        "type": "object",
        "required": ["name", "tasks"],
        "properties": {
            "name": {"type": "string", "description": "of the file, or its place in the request"},
            "tasks": {"type": "object", "required": list(said), "properties": said},
            "grad_cam": {"type": "string", "description": "the picture under its Grad-CAM, a data: address; if asked"},
        },
    }


def described(tasks: dict[str, Any], version: str) -> dict[str, Any]:
    """The whole document; `tasks` as in model.json."""
    form = {"type": "object", "minProperties": 1, "additionalProperties": BYTES}
    encoded = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {"type": "array", "minItems": 1, "items": {"type": "string", "contentEncoding": "base64"}},
        },
    }
    answers = {
        "type": "object",
        "required": ["answers"],
        "properties": {"answers": {"type": "array", "items": answer(tasks)}},
    }
    wrong = {str(code): _response(text, "application/json", ERROR) for code, text in WRONG.items()}
    predict = {
        "operationId": "predict",
        "summary": "The classes of one picture or of several.",
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "description": "with the picture under its Grad-CAM",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": BYTES},
                "application/octet-stream": {"schema": BYTES},
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": encoded},
            },
        },
        "responses": {"200": _response("An answer for each picture, in order.", "application/json", answers), **wrong},
    }
    read = {
        "/health": ("health", "Whether it answers, and what it serves.", "application/json", {"type": "object"}),
        "/metrics": ("metrics", "Counts and times, for Prometheus.", "text/plain", {"type": "string"}),
        "/openapi.json": ("openapi", "This document.", "application/json", {"type": "object"}),
        "/docs": ("docs", "The same to read.", "text/html", {"type": "string"}),
        "/": ("page", "A page to drop pictures on.", "text/html", {"type": "string"}),
    }
    paths: dict[str, Any] = {"/predict": {"post": predict}}
    for path, (name, text, kind, schema) in read.items():
        paths[path] = {
            "get": {"operationId": name, "summary": text, "responses": {"200": _response(text, kind, schema)}}
        }
    return {"openapi": "3.1.0", "info": {"title": "tl", "version": version}, "paths": paths}


def _response(text: str, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}
