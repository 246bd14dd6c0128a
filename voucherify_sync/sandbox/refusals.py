"""The error answers of the API, body by body: what a handler raises in place of an answer."""

from __future__ import annotations

import random
from http import HTTPStatus

import msgspec

from voucherify_sync.events import Json
from voucherify_sync.sandbox.wire import Answer


class Refusal(Exception):
    """The request is refused with this answer; nothing of it was processed.

    Attributes:
        status: HTTP status.
        body: the error object.
    """

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body.get("message"))
        self.status = status
        self.body = body

    def answer(self, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
        """Return it as an answer."""
        return Answer(self.status, msgspec.json.encode(self.body), headers)


_PHRASES = {413: "Request Entity Too Large"}
"""What the API says where Python's own word depends on its version."""


def request_id() -> str:
    """Make an id of the shape that the API shows in its errors."""
    return f"v-{random.getrandbits(72):018x}"


def framework_error(status: int, message: str) -> Refusal:
    """Refuse as the framework in front of the API does: in another shape than the API's own."""
    phrase = _PHRASES.get(status) or HTTPStatus(status).phrase
    return Refusal(status, {"statusCode": status, "error": phrase, "message": message})


def malformed_json() -> Refusal:
    """Refuse a body that is no JSON."""
    return framework_error(400, "Invalid request payload JSON format")


def unauthorized() -> Refusal:
    """Refuse missing or wrong keys."""
    return Refusal(401, {"code": 401, "message": "Unauthorized", "key": "unauthorized"})


def too_many_requests() -> Refusal:
    """Refuse a call beyond a limit."""
    return Refusal(429, {"code": 429, "message": "Too many requests hit the API too quickly."})


def invalid(details: str, key: str = "invalid_payload", message: str = "Invalid payload") -> Refusal:
    """Refuse a body that breaks a rule."""
    body = {"code": 400, "key": key, "message": message, "details": details, "request_id": request_id()}
    return Refusal(400, body)


def invalid_query(details: str) -> Refusal:
    """Refuse a query parameter that breaks a rule."""
    return invalid(details, "invalid_query_params", "Invalid query params")


def invalid_metadata(details: str) -> Refusal:
    """Refuse metadata that does not fit its schema."""
    return invalid(details, "metadata_validation_failed", "Metadata validation failed")


def not_found(kind: str, reference: str, status: int = 404) -> Refusal:
    """Say that there is no such resource; the body says 404 even where the status does not."""
    body = {
        "code": 404,
        "key": "not_found",
        "message": "Resource not found",
        "details": f"Cannot find {kind} with id {reference}",
        "request_id": request_id(),
        "resource_id": reference,
        "resource_type": kind,
    }
    return Refusal(status, body)


def method_not_allowed(method: str, allowed: list[str]) -> Refusal:
    """Refuse a method that the path does not have."""
    details = f"{method} is not supported by this endpoint. Did you mean {' or '.join(allowed)}?"
    return Refusal(405, {"code": 405, "message": "HTTP Method Not Allowed", "details": details})


def known_body(status: int) -> Json:
    """Return the body that goes with a status, for a server that fails on request."""
    known: dict[int, Json] = {
        401: unauthorized().body,
        402: {
            "code": 402,
            "message": "Payment required",
            "details": "Your current plan does not include a feature required to perform this operation.",
            "key": "missing_required_feature",
        },
        403: {
            "code": 403,
            "message": "Missing permission",
            "details": "User does not have a required permission to perform this operation.",
            "key": "missing_required_permission",
        },
        404: not_found("customer", "unknown").body,
        429: too_many_requests().body,
    }
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    return known.get(status) or {"code": status, "message": phrase, "request_id": request_id()}
