"""The answers of the sandbox, held against the published schema of the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.openapi import as_json_schema
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, call, customer, event

from voucherify_sync.sandbox import Sandbox, SandboxOptions

SCHEMA = {
    "related_object": "customer",
    "properties": {"a": {"type": "number", "array": False, "optional": True}},
}


@pytest.fixture(scope="module")
def components(openapi: Path) -> Any:
    """Return the schemas by name, in the words of JSON Schema."""
    return as_json_schema(json.loads(openapi.read_text()))["components"]


@pytest.mark.parametrize(
    ("method", "path", "body", "schema"),
    [
        ("POST", CUSTOMERS, customer(name="Ann", address={"city": "Łódź"}), "CustomersCreateResponseBody"),
        ("POST", CUSTOMERS, customer("new"), "CustomersCreateResponseBody"),
        ("PUT", f"{CUSTOMERS}/known", {"email": "a@b.c"}, "CustomersUpdateResponseBody"),
        ("GET", f"{CUSTOMERS}/known", None, "CustomersGetResponseBody"),
        ("GET", CUSTOMERS, None, "CustomersListResponseBody"),
        ("POST", EVENTS, event(), "EventsCreateResponseBody"),
        ("POST", BULK, [customer()], "CustomersUpdateInBulkResponseBody"),
        ("GET", "/v1/async-actions", None, "AsyncActionsListResponseBody"),
        ("GET", "/v1/metadata-schemas/customer", None, "MetadataSchemasGetResponseBody"),
        ("GET", f"{CUSTOMERS}/nobody", None, "Error"),
    ],
)
def test_an_answer_fits_the_published_schema(
    components: Any, method: str, path: str, body: Any, schema: str
) -> None:
    """The stand-in speaks as the API does."""
    with Sandbox(SandboxOptions(metadata_schemas=(SCHEMA,))) as sandbox:
        call(sandbox, "POST", CUSTOMERS, customer("known"))
        answer = call(sandbox, method, path, body).body
    validator = jsonschema.Draft4Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": components}
    )
    assert [error.message for error in validator.iter_errors(answer)] == []


def test_the_result_of_a_bulk_action_fits_the_published_schema(components: Any) -> None:
    """With its counts, reports and errors."""
    with Sandbox() as sandbox:
        action_id = call(sandbox, "POST", BULK, [customer("a"), customer("b", email=1)]).body[
            "async_action_id"
        ]
        action = call(sandbox, "GET", f"/v1/async-actions/{action_id}").body
    for schema, part in [
        ("AsyncActionBase", action),
        ("AsyncActionResultCustomersBulkUpdateResponseBody", action["result"]),
    ]:
        reference = {"$ref": f"#/components/schemas/{schema}", "components": components}
        jsonschema.Draft4Validator(reference).validate(part)
