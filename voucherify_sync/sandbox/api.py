"""The routes of the API: a request comes in, the answer of a well-behaved Voucherify goes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from voucherify_sync.events import Json
from voucherify_sync.sandbox.events import CUSTOM_EVENT, ActivityQuery, row
from voucherify_sync.sandbox.limits import API_CALLS, BULK_API_CALLS, Header, Limits
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.refusals import (
    Refusal,
    framework_error,
    invalid,
    invalid_query,
    malformed_json,
    method_not_allowed,
    not_found,
    too_many_requests,
    unauthorized,
)
from voucherify_sync.sandbox.state import State
from voucherify_sync.sandbox.times import epoch, iso
from voucherify_sync.sandbox.validation import check_customer, check_event
from voucherify_sync.sandbox.wire import Answer, HttpRequest

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Handler = Callable[["Call"], tuple[int, Any]]


class Call(msgspec.Struct, frozen=True):
    """A request that found its route.

    Attributes:
        argument: the part of the path that the route leaves open, decoded; empty where there is none.
        dooms: the asynchronous action that it starts is to fail.
    """

    request: HttpRequest
    argument: str
    dooms: bool


class Api:
    """Answers requests out of a state and under limits."""

    def __init__(
        self, options: SandboxOptions, state: State, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._options = options
        self._state = state
        self._limits = limits
        self._clock = clock
        self._schemas = [_full_schema(schema, clock()) for schema in options.metadata_schemas]
        self._routes: dict[tuple[str, ...], dict[str, Handler]] = {
            ("v1", "customers"): {"GET": self._list_customers, "POST": self._save_customer},
            ("v1", "customers", "*"): {"GET": self._get_customer, "PUT": self._update_customer},
            ("v1", "customers", "*", "activity"): {"GET": self._activity},
            ("v1", "customers", "*", "activities"): {"GET": self._activity},
            ("v1", "customers", "bulk", "async"): {"POST": self._submit_bulk},
            ("v1", "events"): {"POST": self._record_event},
            ("v1", "async-actions"): {"GET": self._list_actions},
            ("v1", "async-actions", "*"): {"GET": self._get_action},
            ("v1", "metadata-schemas"): {"GET": self._list_schemas},
            ("v1", "metadata-schemas", "*"): {"GET": self._get_schema},
        }

    def answer(self, request: HttpRequest, *, dooms: bool = False) -> Answer:
        """Answer one request: credentials, limits, route, in this order."""
        headers: tuple[Header, ...] = ()
        bulk = request.path == "/v1/customers/bulk/async"
        bucket = BULK_API_CALLS if bulk else API_CALLS
        try:
            if not self._authorized(request):
                if self._options.auth_error_rate_headers:
                    headers = self._limits.peek(bucket, self._clock())
                raise unauthorized()
            verdict = self._limits.take(bucket, self._clock())
            headers = verdict.headers
            if verdict.exceeded is not None:
                raise too_many_requests()
            handler, argument = self._route(request)
            status, body = handler(Call(request, argument, dooms))
            return Answer(status, _encode(body), headers)
        except Refusal as refusal:
            return refusal.answer(headers)
        except RecursionError:
            return framework_error(500, "Nested too deeply to be answered").answer(headers)

    def _authorized(self, request: HttpRequest) -> bool:
        app_id, token = request.headers.get("x-app-id"), request.headers.get("x-app-token")
        if not app_id or not token:
            return False
        return self._options.app_id in (None, app_id) and self._options.token in (None, token)

    def _route(self, request: HttpRequest) -> tuple[Handler, str]:
        parts = request.segments
        methods = self._routes.get(tuple(parts))
        argument = ""
        if methods is None and len(parts) > 2:
            methods = self._routes.get((*parts[:2], "*", *parts[3:]))
            argument = parts[2]
        if methods is None:
            raise not_found("resource", request.path)
        handler = methods.get(request.method)
        if handler is None:
            raise method_not_allowed(request.method, list(methods))
        return handler, argument

    def _list_customers(self, call: Call) -> tuple[int, Any]:
        parameters = call.request.parameters
        limit, page = _number(parameters, "limit", 10, 100), _number(parameters, "page", 1, 99)
        newest_first = parameters.get("order", "-created_at").startswith("-")
        found, total = self._state.page(page, limit, newest_first=newest_first)
        has_more = page * limit < total
        listed = {"object": "list", "data_ref": "customers", "customers": found, "total": total}
        return 200, {**listed, "has_more": has_more}

    def _save_customer(self, call: Call) -> tuple[int, Any]:
        fields = check_customer(_json(call.request), "", self._options.unknown_fields)
        return 200, self._state.save_customer(fields, call.request.body)

    def _get_customer(self, call: Call) -> tuple[int, Any]:
        return 200, self._state.customer(call.argument)

    def _update_customer(self, call: Call) -> tuple[int, Any]:
        fields = check_customer(_json(call.request), "", self._options.unknown_fields)
        return 200, self._state.update_customer(call.argument, fields, call.request.body)

    def _record_event(self, call: Call) -> tuple[int, Any]:
        body = check_event(_json(call.request), self._options.unknown_fields)
        event, customer = self._state.record_event(body, call.request.body)
        answer = {"object": "event", "type": event.name, "customer": customer.brief()}
        more = {"referral": body.get("referral"), "loyalty": body.get("loyalty")}
        return 200, {**answer, **more, "metadata": body.get("metadata", {})}

    def _submit_bulk(self, call: Call) -> tuple[int, Any]:
        items = _json(call.request)
        if not isinstance(items, list):
            raise invalid("Payload must be array")
        cap = self._options.bulk_item_cap
        if cap is not None and len(items) > cap:
            details = f"Specify at most {cap} customers"
            raise Refusal(400, {"code": 400, "key": "too_many_customers", "details": details})
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise invalid(f"Property [{number}] must be object")
            if not isinstance(item.get("source_id"), str) or not item["source_id"]:
                raise invalid(f"Property [{number}] should have required property 'source_id'")
        return 202, {"async_action_id": self._state.submit_bulk(items, doomed=call.dooms).id}

    def _get_action(self, call: Call) -> tuple[int, Any]:
        return 200, self._state.action(call.argument)

    def _list_actions(self, call: Call) -> tuple[int, Any]:
        limit = _number(call.request.parameters, "limit", 100, 100)
        found = self._state.actions(limit + 1)
        listed = {"object": "list", "data_ref": "async_actions", "async_actions": found[:limit]}
        return 200, {**listed, "has_more": len(found) > limit}

    def _activity(self, call: Call) -> tuple[int, Any]:
        query = _activity_query(call.request.parameters)
        customer, events, has_more = self._state.activity(call.argument, query)
        rows = [row(event, customer, self._options) for event in events]
        listed: Json = {"object": "list", "data_ref": "data", "data": rows, "has_more": has_more}
        return 200, {**listed, "more_starting_after": events[-1].id} if has_more else listed

    def _list_schemas(self, _call: Call) -> tuple[int, Any]:
        listed = {"object": "list", "data_ref": "schemas", "schemas": self._schemas}
        return 200, {**listed, "total": len(self._schemas)}

    def _get_schema(self, call: Call) -> tuple[int, Any]:
        for schema in self._schemas:
            if call.argument in (schema["related_object"], schema["id"]):
                return 200, schema
        raise not_found("metadata schema", call.argument)


def _json(request: HttpRequest) -> Any:
    if "json" not in request.headers.get("content-type", "").lower():
        raise framework_error(415, "Unsupported Media Type")
    accept = request.headers.get("accept", "*/*")
    if not any(kind in accept for kind in ("*/*", "application/*", "json")):
        raise framework_error(406, "Not Acceptable")
    try:
        return _decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise malformed_json() from None


def _number(parameters: dict[str, str], name: str, default: int, most: int) -> int:
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise invalid_query(f"Parameter {name} should be a number from 1 to {most}")
    return int(text)


def _activity_query(parameters: dict[str, str]) -> ActivityQuery:
    start, end = parameters.get("start_date"), parameters.get("end_date")
    return ActivityQuery(
        limit=_number(parameters, "limit", 10, 100),
        newest_first=parameters.get("order", "-created_at").startswith("-"),
        after_id=parameters.get("starting_after_id"),
        start=epoch(start, "start_date") if start else float("-inf"),
        end=epoch(end, "end_date") if end else float("inf"),
        custom_events=parameters.get("type", CUSTOM_EVENT) == CUSTOM_EVENT
        and parameters.get("category") != "EFFECT",
    )


def _full_schema(schema: Json, now: float) -> Json:
    """Fill in what the API shows of a metadata schema beside what the options say."""
    related = str(schema.get("related_object"))
    filled = {"id": f"ms_{related.encode().hex():0<24.24}", "properties": {}, "allow_defined_only": False}
    return {**filled, "created_at": iso(now), "updated_at": None, "object": "metadata_schema", **schema}
