"""The published schema of the API in the words of JSON Schema."""

from __future__ import annotations

from typing import Any


def as_json_schema(node: Any) -> Any:
    """Convert OpenAPI 3.0, which says `nullable` where JSON Schema has a type of its own for null."""
    if isinstance(node, list):
        return [as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    converted = {key: as_json_schema(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [converted, {"type": "null"}]} if node.get("nullable") is True else converted
