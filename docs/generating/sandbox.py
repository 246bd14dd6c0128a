"""Make the page of the sandbox: what it answers and refuses, its switches and its faults, as the code has them."""

from __future__ import annotations

import re
from typing import Final

from generating.markdown import code, fenced, sentence, table
from generating.markdown import page as page_of
from voucherify_sync.sandbox.faults import ACTIONS, FAULT_FORM, Fault
from voucherify_sync.sandbox.options import DescribedField, SandboxOptions, describe_fields
from voucherify_sync.sandbox.validation import (
    ADDRESS_FIELDS,
    DATE_FIELDS,
    MAX_EVENT_NAME,
    MAX_ITEMS,
    MAX_ORDERS,
    ORDER_STATUSES,
    TEXT_FIELDS,
)

_INTRODUCTION: Final = """\
The [sandbox](../glossary.md#sandbox) stands in for the Voucherify API on your machine. It stores what it is sent, shows
it on a page, and refuses what the published description of the API refuses. It earns no points, sends no messages and
has no account. It is not Voucherify: what no document settles is a [switch](#switches), and a live project may do
otherwise.

- `voucherify-sync replay --sandbox SOURCE` starts a sandbox for one run, with all switches at their defaults.
- `voucherify-sync sandbox` starts one that stays until Ctrl-C. It prints its address, a command to paste that sends to
  it, and a line for your settings file."""

_KEYS: Final = """\
Each start is a new, empty project. It prints a key of its own, such as `sandbox-3f9a01c7`, so that no
[ledger](../glossary.md#ledger) of an earlier sandbox counts for it. The sandbox takes any other key and any token, too,
as long as they are not empty. With a key of your own and the same address the ledger stays from one sandbox to the
next, although the new one is empty: records that an earlier sandbox took count as
[duplicates](../glossary.md#duplicate). Use the switches `app_id` and `token` to refuse other keys."""

_PAGE: Final = """\
Open the address in a browser. The page shows the latest customers, custom events and orders, what was refused and why,
and the number of API calls and of throttled ones. It renews itself every second. `/state.json` has the same as data:"""

_ENDPOINTS: Final = (
    (
        "`POST /v1/customers`",
        "200 with the customer: created, or updated if its `id` or `source_id` is known",
    ),
    ("`PUT /v1/customers/ID`", "200, or 404 if neither an `id` nor a `source_id` is ID"),
    (
        "`GET /v1/customers/ID`, `GET /v1/customers`",
        "200; 404 for an unknown customer. The list takes `limit`, `page` and `order`",
    ),
    (
        "`GET /v1/customers/ID/activity`, `GET /v1/customers/ID/activities`",
        "200 with a customer's custom events. It takes `limit`, `order`, `starting_after_id`, `type` and two dates",
    ),
    ("`DELETE /v1/customers/ID`", "204 without content; 404 for an unknown customer, and from then on"),
    ("`POST /v1/customers/bulk/async`", "202 with the id of an asynchronous action; 413 above 10 MiB"),
    (
        "`GET /v1/async-actions/ID`, `GET /v1/async-actions`",
        "200 with status, counts and errors of bulk requests and imports",
    ),
    ("`POST /v1/events`", "200; creates or updates the customer of the event, too"),
    (
        "`POST /v1/orders/import`",
        "200 with the id of an asynchronous action; 413 above 10 MiB. It creates customers who are not known",
    ),
    ("`GET /v1/orders/ID`", "200, or 404 if neither an `id` nor a `source_id` is ID"),
    (
        "`GET /v1/metadata-schemas`, `GET /v1/metadata-schemas/RESOURCE`",
        "200 with the switch `metadata_schemas`",
    ),
)

_CUSTOMERS: Final = """\
A customer, wherever one stands: alone, in a custom event, or in a bulk request. No field is required, but a customer
without an id is a new one each time."""

_ORDERS: Final = f"""\
An import is a list of at most {MAX_ORDERS:,} orders and 10 MiB. One order that breaks a rule of the tables below spoils
all of it: 400, and nothing is imported. What only the switches and metadata schemas refuse fails alone, and the result
of the asynchronous action counts it. A customer who is not known is created with what the order says of it, also
without the metadata that a schema requires. Bulk requests and imports wait in one queue. An imported order makes no
event."""

_BULK: Final = """\
A bulk request is a list of customers, of at most 10 MiB. They are updated in their order, one request after the
other."""

_ERRORS: Final = """\
Errors have the shape of the API's own: `code`, `key`, `message`, `details`, and mostly `request_id`.

| status | key | when |
|---|---|---|
| 400 | `invalid_payload` | a body breaks a rule of the tables above; `details` names the field |
| 400 | `metadata_validation_failed` | the customer's metadata does not fit its schema |
| 400 | `invalid_api_version` | with `unknown_api_version=reject`; the key is made up, as no document has it |
| 400 | `too_many_customers` | a bulk request has more customers than `bulk_item_cap` |
| 400 | `invalid_query_params` | a parameter is out of range |
| 400 | `not_found` | the `id` of an event's customer is unknown; `code` is 404 there |
| 400 | none | the body is no JSON; in the shape of the API's framework: `statusCode`, `error`, `message` |
| 401 | `unauthorized` | key or token is missing, or not the one of `app_id` and `token` |
| 404 | `not_found` | an unknown customer, action, schema or path |
| 405, 406, 415 | none | a method that the path does not have; a client that does not speak JSON |
| 413 | none | more than 10,485,760 bytes |
| 429 | none | a limit is reached; `X-Rate-Limit-Type` names it |"""

_SWITCHES: Final = """\
`--switch NAME=VALUE` sets a switch, and may be given more than once. A list is written as JSON, such as
`--switch 'defined_events=["Order Completed"]'`. `--limit` and `--latency` are short for the switches `limit` and
`latency_s`. Switches that are called undocumented decide what no document of Voucherify settles."""

_FAULTS: Final = """\
`--fault TEXT` lets the sandbox misbehave, and may be given more than once. The first fault that applies to a call
decides. A fault is written in one text:

`{form}`

- `METHOD` and `PATH` choose the calls; without them the fault is for all calls. A `*` stands for any characters.
- `CODE` is an HTTP status.
- {when}
- `10%` is the chance of each matching call. `--seed` changes which calls it meets.
- `#3-5` counts the matching calls: the third to the fifth."""


def page() -> str:
    """Return the page."""
    switches = [each for each in describe_fields(SandboxOptions) if each.name != "port"]
    in_words = [each for each in describe_fields(Fault) if each.name in ("method", "path", "when")]
    named = [each for each in describe_fields(Fault) if each not in in_words]
    when = in_words[-1]
    return page_of(
        "Sandbox",
        "voucherify_sync/sandbox/",
        _INTRODUCTION,
        f"## Keys and ledgers\n\n{_KEYS}",
        f"## The page\n\n{_PAGE}\n\n" + fenced("curl -s http://127.0.0.1:8900/state.json | jq .calls", "sh"),
        "## What it answers\n\n" + table(("call", "answer"), _ENDPOINTS),
        "Other calls of the API are answered with 404 or 405, and other parameters of a query are ignored.",
        "## What it refuses\n\n" + _fields(),
        f"## Errors\n\n{_ERRORS}",
        f"## Switches\n\n{_SWITCHES}",
        table(("switch", "default", "what it changes"), map(_row, switches)),
        "## Faults\n\n" + _FAULTS.format(form=FAULT_FORM, when=_marked(when.description)),
        table(
            ("action", "what the client gets"),
            ((code(name), sentence(words)) for name, words in ACTIONS.items()),
        ),
        "Each NAME=VALUE, and what it sets:",
        table(("name", "default", "meaning"), map(_row, named)),
        "## Examples\n\n"
        + fenced(
            "voucherify-sync sandbox --limit 100/min\n"
            "voucherify-sync sandbox --switch nulls=reject --switch unknown_fields=reject\n"
            "voucherify-sync sandbox --fault 'POST /v1/events drop after 10%'\n"
            "voucherify-sync sandbox --fault 'POST /v1/events throttle #20-25 retry_after=5'\n"
            "voucherify-sync sandbox --fault '/v1/customers/bulk/async fail-action #1' --switch async_delay_s=2\n"
            "voucherify-sync sandbox --fault 'POST /v1/orders/import drop after #1' --switch order_existing=fail\n"
            "voucherify-sync sandbox --fault 'POST /v1/events status 403'",
            "sh",
        ),
    )


def _row(field: DescribedField) -> tuple[str, str, str]:
    default = code(field.default) if field.default else "none"
    return code(f"{field.name}={field.values}"), default, _marked(field.description)


def _marked(text: str) -> str:
    """Return a description with the names of actions and headers as code."""
    return re.sub(r"(?<![`\w])(X-[\w-]+|[a-z]+(?:_[a-z]+)+)(?![`\w])", r"`\1`", text)


def _fields() -> str:
    texts = ", ".join(code(name) for name in TEXT_FIELDS if name not in DATE_FIELDS)
    rows = [
        ("`source_id`", "text, not empty. Required in a bulk request, which has no other id"),
        ("`id`", "text, not empty. It must be known, and wins over `source_id`"),
        (texts, "text of any form and length, also empty"),
        (
            ", ".join(map(code, DATE_FIELDS)),
            'a day of the calendar as `YYYY-MM-DD`. `""`, a time or 30 February is refused',
        ),
        ("`address`", f"object of texts: {', '.join(map(code, ADDRESS_FIELDS))}"),
        ("`metadata`", "object; see `metadata_schemas` and `nested_metadata` below"),
        ("null in any of them", "as the switch `nulls` says"),
        ("any other field", "as the switch `unknown_fields` says: ignored by default"),
    ]
    event_rows = [
        ("`event`", f"required: text of 1 to {MAX_EVENT_NAME} characters"),
        ("`customer`", "required: object, as above; it may be empty"),
        ("`metadata`", "object"),
        ("`referral`", "object: `code`, a text, is required; `referrer_id` is a text"),
        ("`loyalty`", "object: `code`, a text, is required"),
        ("null in any of them", "refused; within `metadata` it is a value"),
        (
            "any other field",
            "as the switch `unknown_fields` says: ignored by default. There is no field for a time",
        ),
    ]
    order_rows = [
        ("`source_id`", "text, not empty. Without it, or with null, each import makes another order"),
        ("`customer`", "required: object, as above, with a `source_id`"),
        ("`status`", f"one of {', '.join(map(code, ORDER_STATUSES))}; a new order without it is `CREATED`"),
        ("`amount`, `initial_amount`", "integer, 0 or more, without a fraction: `1.0` is refused"),
        ("`discount_amount`", "integer"),
        ("`items`", f"list of at most {MAX_ITEMS} objects, as below"),
        ("`metadata`", "object; see `metadata_schemas`: those of `order`, `order_item` and `product` count"),
        ("`referrer`, `referrer_id`", "object, as a customer; text or null"),
        ("`id`", "text: the order's own, which must be known and wins over `source_id`"),
    ]
    item_rows = [
        ("`source_id`, `product_id`, `sku_id`", "text; no item needs one"),
        ("`related_object`", "`product` or `sku`"),
        ("`quantity`, `initial_quantity`", "integer, 1 or more"),
        ("`price`, `amount`, `initial_amount`", "integer, 0 or more"),
        ("`discount_quantity`, `discount_amount`", "integer"),
        (
            "`product`, `sku`",
            "object: texts `id`, `source_id`, `name`, number `price`, object `metadata`, boolean `override`",
        ),
        (
            "null in any of them",
            "refused, in the fields of orders and of items; within `metadata` it is a value",
        ),
    ]
    return "\n\n".join(
        [
            _CUSTOMERS,
            table(("field of a customer", "what it takes"), rows),
            "A custom event:",
            table(("field of an event", "what it takes"), event_rows),
            _BULK,
            _ORDERS,
            table(("field of an order", "what it takes"), order_rows),
            table(("field of an item", "what it takes"), item_rows),
        ]
    )
