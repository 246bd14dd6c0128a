"""The routes of the API: each request gets the answer of a well-behaved Voucherify."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from math import inf
from typing import Any
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Struct

from voucherify_sync.events import Json
from voucherify_sync.sandbox.call_log import ProcessedRequest
from voucherify_sync.sandbox.limits import API_CALLS, BULK_API_CALLS, CallLimits, Headers
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.store import (
    ActionFault,
    ActionType,
    SandboxStore,
    StoredCustomer,
    StoredOrder,
    as_text,
    iso,
)
from voucherify_sync.sandbox.validation import (
    API_VERSIONS,
    BULK_IDS,
    KNOWN_ERRORS,
    MAX_ORDERS,
    PHRASES,
    ApiRefusal,
    check_customer,
    check_event,
    check_order,
    framework_error,
    invalid,
    not_found,
)

_CUSTOM_EVENT = "customer.custom_event"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
# Most answers share their second with the one before.
_format_date = lru_cache(maxsize=8)(formatdate)


class HttpRequest(Struct):
    """One request as it came.

    Attributes:
        path: without the query, still percent-encoded.
        headers: names in lower case; of a repeated one the last.
        keep_alive: the client wants to use the connection again.
        argument: the part of the path that its route leaves open, decoded; empty where there is none.
        action_fault: what goes wrong with the asynchronous action that it starts.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True
    argument: str = ""
    action_fault: ActionFault | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; of a repeated one the last."""
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}

    def number(self, name: str, default: int, maximum: int) -> int:
        """Read a parameter that counts from 1.

        Raises:
            ApiRefusal: it is no number, or is out of range.
        """
        text = self.parameters.get(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= maximum):
            raise _invalid_query(f"Parameter {name} should be a number from 1 to {maximum}")
        return int(text)

    def time(self, name: str, default: float) -> float:
        """Read a parameter that is an ISO 8601 date or time as epoch seconds; without a zone it is UTC.

        Raises:
            ApiRefusal: it is neither.
        """
        text = self.parameters.get(name)
        if not text:
            return default
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise _invalid_query(f"Parameter {name} should be an ISO 8601 date") from None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

    def json(self) -> Any:
        """Decode the body.

        Raises:
            ApiRefusal: it is no JSON, or the client does not speak JSON.
        """
        if "json" not in self.headers.get("content-type", "").lower():
            raise framework_error(415, "Unsupported Media Type")
        accept = self.headers.get("accept", "*/*")
        if not any(kind in accept for kind in ("*/*", "application/*", "json")):
            raise framework_error(406, "Not Acceptable")
        try:
            return _decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise framework_error(400, "Invalid request payload JSON format") from None


class HttpAnswer(Struct, frozen=True):
    """One answer to send."""

    status: int
    body: bytes = b""
    headers: Headers = ()
    content_type: str = "application/json; charset=utf-8"

    @classmethod
    def refuse(cls, refusal: ApiRefusal, headers: Headers = ()) -> HttpAnswer:
        """Make the answer that refuses a request."""
        return cls(refusal.status, _encode(refusal.body), headers)

    def error_text(self) -> str:
        """Return what an error says."""
        error = _decode(self.body)
        return str(error.get("details") or error.get("message"))

    def head(self, now: float, *, close: bool = False) -> bytes:
        """Encode status line and headers, with the blank line after them."""
        # An answer without content has no headers of a content either.
        content = [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        lines = [
            f"HTTP/1.1 {self.status} {PHRASES.get(self.status, '')}",
            *(content if self.status != HTTPStatus.NO_CONTENT else ()),
            f"Date: {_format_date(int(now), usegmt=True)}",
            *(f"{name}: {value}" for name, value in self.headers),
            "Connection: close\r\n\r\n" if close else "Connection: keep-alive\r\n\r\n",
        ]
        return "\r\n".join(lines).encode("latin-1", "replace")


Endpoint = Callable[[HttpRequest, float], Any]
"""Takes a request and the time; returns the answer's object, None for no content, or raises an ApiRefusal."""


class ApiEndpoints:
    """Answers requests out of a store and under limits.

    Attributes:
        routes: what answers each path, split at its slashes, and each method; ``*`` stands for what a request fills in.
    """

    def __init__(self, options: SandboxOptions, store: SandboxStore, now: float) -> None:
        self._options = options
        self._store = store
        self._limits = CallLimits(options)
        self._bucket_of_path: dict[str, str] = {
            "/v1/customers/bulk/async": options.bulk_bucket,
            "/v1/orders/import": options.order_import_bucket,
        }
        self._schemas = [_complete_schema(schema, now) for schema in options.metadata_schemas]
        self.routes: dict[tuple[str, ...], dict[str, Endpoint]] = {
            ("v1", "customers"): {"GET": self.list_customers, "POST": self.save_customer},
            ("v1", "customers", "*"): {
                "GET": self.get_customer,
                "PUT": self.update_customer,
                "DELETE": self.delete_customer,
            },
            ("v1", "customers", "*", "activity"): {"GET": self.list_activity},
            ("v1", "customers", "*", "activities"): {"GET": self.list_activity},
            ("v1", "customers", "bulk", "async"): {"POST": self.submit_bulk},
            ("v1", "events"): {"POST": self.record_event},
            ("v1", "orders", "import"): {"POST": self.import_orders},
            ("v1", "orders", "*"): {"GET": self.get_order},
            ("v1", "async-actions"): {"GET": self.list_actions},
            ("v1", "async-actions", "*"): {"GET": self.get_action},
            ("v1", "metadata-schemas"): {"GET": self.list_schemas},
            ("v1", "metadata-schemas", "*"): {"GET": self.get_schema},
        }

    def answer(self, request: HttpRequest) -> HttpAnswer:
        """Answer one request: credentials, limits, route, in this order."""
        headers: Headers = ()
        app_id, token = request.headers.get("x-app-id"), request.headers.get("x-app-token")
        is_known = self._options.app_id in (None, app_id) and self._options.token in (None, token)
        bucket = self._bucket_of(request.path)
        try:
            with self._store.step() as now:
                if not (app_id and token and is_known):
                    headers = self._limits.peek(bucket, now) if self._options.auth_error_rate_headers else ()
                    return HttpAnswer(401, _encode(KNOWN_ERRORS[401]), headers)
                exceeded, headers = self._limits.take(bucket, now)
                if exceeded is not None:
                    return HttpAnswer(429, _encode(KNOWN_ERRORS[429]), headers)
                self._check_version(request)
                endpoint = self._find_endpoint(request)
                shown = endpoint(request, now)
                if shown is None:
                    return HttpAnswer(204, headers=headers)
                return HttpAnswer(202 if endpoint == self.submit_bulk else 200, _encode(shown), headers)
        except ApiRefusal as refusal:
            return HttpAnswer.refuse(refusal, headers)
        except RecursionError:
            return HttpAnswer.refuse(framework_error(500, "Nested too deeply to be answered"), headers)

    def _bucket_of(self, path: str) -> str:
        """Return the name of the limit that a call counts in."""
        is_poll = path.startswith("/v1/async-actions")
        bucket = self._options.poll_bucket if is_poll else self._bucket_of_path.get(path)
        return BULK_API_CALLS if bucket == "bulk" else API_CALLS

    def _check_version(self, request: HttpRequest) -> None:
        """Refuse a version that the API never had, if the project does so.

        Raises:
            ApiRefusal: it is none.
        """
        version = request.headers.get("x-voucherify-api-version", API_VERSIONS[0])
        if version not in API_VERSIONS and self._options.unknown_api_version == "reject":
            raise invalid(f"There is no API version {version}", "invalid_api_version", "Invalid API version")

    def _find_endpoint(self, request: HttpRequest) -> Endpoint:
        """Return the endpoint of a request, and set the request's argument."""
        # An id may hold an encoded slash, so the path is split before it is decoded.
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        methods = self.routes.get(tuple(parts))
        if methods is None and len(parts) > 2:
            methods = self.routes.get((*parts[:2], "*", *parts[3:]))
            request.argument = parts[2]
        if methods is None:
            raise not_found("resource", request.path)
        endpoint = methods.get(request.method)
        if endpoint is None:
            allowed = " or ".join(methods)
            details = f"{request.method} is not supported by this endpoint. Did you mean {allowed}?"
            raise ApiRefusal(405, {"code": 405, "message": "HTTP Method Not Allowed", "details": details})
        return endpoint

    def list_customers(self, request: HttpRequest, now: float) -> Json:
        """Answer ``GET /v1/customers``."""
        limit, page = request.number("limit", 10, 100), request.number("page", 1, 99)
        everyone = self._store.customers
        if request.parameters.get("order", "-created_at").startswith("-"):
            everyone.reverse()
        visible = (customer for customer in everyone if self._store.is_visible(customer, now))
        found = list(islice(visible, (page - 1) * limit, page * limit))
        listed = {"object": "list", "data_ref": "customers", "customers": found, "total": len(everyone)}
        return {**listed, "has_more": page * limit < len(everyone)}

    def save_customer(self, request: HttpRequest, now: float) -> StoredCustomer:
        """Answer ``POST /v1/customers``."""
        fields = check_customer(request.json(), "", self._options)
        return self._store.save_customer(fields, request.body, now)

    def get_customer(self, request: HttpRequest, now: float) -> StoredCustomer:
        """Answer ``GET /v1/customers/ID``."""
        customer = self._store.find_customer(request.argument)
        if not self._store.is_visible(customer, now):
            raise not_found("customer", request.argument)
        return customer

    def update_customer(self, request: HttpRequest, now: float) -> StoredCustomer:
        """Answer ``PUT /v1/customers/ID``: the path names the customer, whatever id the body has."""
        fields = check_customer(request.json(), "", self._options, ids=())
        named = {**fields, "id": self._store.find_customer(request.argument).id}
        return self._store.save_customer(named, request.body, now)

    def delete_customer(self, request: HttpRequest, _now: float) -> None:
        """Answer ``DELETE /v1/customers/ID``."""
        self._store.delete_customer(self._store.find_customer(request.argument))

    def record_event(self, request: HttpRequest, now: float) -> Json:
        """Answer ``POST /v1/events``."""
        body = check_event(request.json(), self._options)
        return _event_object(body, self._store.record_event(body, request.body, now))

    def submit_bulk(self, request: HttpRequest, now: float) -> Json:
        """Answer ``POST /v1/customers/bulk/async``."""
        items = request.json()
        if not isinstance(items, list):
            raise invalid("Payload must be array")
        cap = self._options.bulk_item_cap
        if cap is not None and len(items) > cap:
            raise invalid(f"Specify at most {cap} customers", "too_many_customers", "Too many customers")
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise invalid(f"Property [{number}] must be object")
            if not isinstance(item.get("source_id"), str) or not item["source_id"]:
                raise invalid(f"Property [{number}] should have required property 'source_id'")
            if self._options.bulk_invalid == "request":
                check_customer(item, f"[{number}]", self._options, BULK_IDS)
        return self._submit("CUSTOMERS.BULK_UPDATE", items, request, now)

    def import_orders(self, request: HttpRequest, now: float) -> Json:
        """Answer ``POST /v1/orders/import``."""
        orders = request.json()
        if not isinstance(orders, list):
            raise invalid("Payload must be array")
        if len(orders) > MAX_ORDERS:
            raise invalid(f"Payload should NOT have more than {MAX_ORDERS} items")
        for number, order in enumerate(orders):
            check_order(order, f"[{number}]", self._options)
        return self._submit("ORDERS.IMPORT", orders, request, now)

    def _submit(self, kind: ActionType, items: list[Json], request: HttpRequest, now: float) -> Json:
        return {"async_action_id": self._store.submit(kind, items, now, request.action_fault).id}

    def get_order(self, request: HttpRequest, now: float) -> StoredOrder:
        """Answer ``GET /v1/orders/ID``."""
        order = self._store.find_order(request.argument)
        if not self._store.is_visible(order, now):
            raise not_found("order", request.argument)
        return order

    def get_action(self, request: HttpRequest, now: float) -> Json:
        """Answer ``GET /v1/async-actions/ID``."""
        action = self._store.actions.get(request.argument)
        if action is None:
            raise not_found("async_action", request.argument)
        return action.view(now)

    def list_actions(self, request: HttpRequest, now: float) -> Json:
        """Answer ``GET /v1/async-actions``, newest first."""
        limit = request.number("limit", 100, 100)
        newest = islice(reversed(self._store.actions.values()), limit)
        found = [action.view(now, has_result=False) for action in newest]
        listed = {"object": "list", "data_ref": "async_actions", "async_actions": found}
        return {**listed, "has_more": len(self._store.actions) > limit}

    def list_activity(self, request: HttpRequest, now: float) -> Json:
        """Answer ``GET /v1/customers/ID/activity``, and the same by the name ``activities``."""
        parameters, limit = request.parameters, request.number("limit", 10, 100)
        start, end = request.time("start_date", -inf), request.time("end_date", inf)
        if self._options.activity_dates == "ignore":
            start, end = -inf, inf
        customer = self._store.find_customer(request.argument)
        # Custom events are all that the sandbox has of an activity.
        is_custom = parameters.get("type", _CUSTOM_EVENT) == _CUSTOM_EVENT
        is_asked = is_custom and parameters.get("category") != "EFFECT"
        visible = self._store.visible_events_of(customer, now)
        events = [event for event in visible if is_asked and start <= event.at <= end]
        if parameters.get("order", "-created_at").startswith("-"):
            events.reverse()
        if (after_id := parameters.get("starting_after_id")) is not None:
            ids = [event.event_id for event in events]
            events = events[ids.index(after_id) + 1 :] if after_id in ids else []
        rows = [_activity_row(event, customer, self._options) for event in events[:limit]]
        has_more = len(events) > limit
        listed = {"object": "list", "data_ref": "data", "data": rows, "has_more": has_more}
        return {**listed, "more_starting_after": events[limit - 1].event_id} if has_more else listed

    def list_schemas(self, _request: HttpRequest, _now: float) -> Json:
        """Answer ``GET /v1/metadata-schemas``."""
        listed = {"object": "list", "data_ref": "schemas", "schemas": self._schemas}
        return {**listed, "total": len(self._schemas)}

    def get_schema(self, request: HttpRequest, _now: float) -> Json:
        """Answer ``GET /v1/metadata-schemas/RESOURCE``, by the name of the resource or by id."""
        for schema in self._schemas:
            if request.argument in (schema["related_object"], schema["id"]):
                return schema
        raise not_found("metadata schema", request.argument)


def _invalid_query(details: str) -> ApiRefusal:
    return invalid(details, "invalid_query_params", "Invalid query params")


def _event_object(body: Json, customer: StoredCustomer) -> Json:
    return {
        "object": "event",
        "type": body["event"],
        "customer": customer.brief(),
        "referral": body.get("referral"),
        "loyalty": body.get("loyalty"),
        "metadata": body.get("metadata", {}),
    }


def _activity_row(event: ProcessedRequest, customer: StoredCustomer, options: SandboxOptions) -> Json:
    shown = {"id": event.event_id, **_event_object(event.body, customer), "created_at": iso(event.at)}
    if options.activity_metadata == "none":
        shown["metadata"] = {}
    elif options.activity_metadata == "strings":
        shown["metadata"] = {key: as_text(value) for key, value in event.metadata.items()}
    data = {"event": shown, **{name: shown[name] for name in ("customer", "referral", "loyalty")}}
    nested = {"data": data, "event_source": {"channel": "API"}}
    return {
        "id": event.event_id,
        "type": _CUSTOM_EVENT,
        "created_at": iso(event.at),
        "group_id": f"v-{event.event_id[-18:]}",
        "data": nested if options.activity_shape == "nested" else data,
    }


def _complete_schema(schema: Json, now: float) -> Json:
    """Fill in what the API shows of a metadata schema beside what the options say."""
    related = str(schema.get("related_object"))
    filled = {"id": f"ms_{related.encode().hex():0<24.24}", "properties": {}, "allow_defined_only": False}
    return {**filled, "created_at": iso(now), "updated_at": None, "object": "metadata_schema", **schema}
