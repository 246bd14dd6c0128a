"""The read-only page at ``/``, and the same as data at ``/state.json``. All that clients sent is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterable
from functools import cache
from html import escape
from importlib import resources
from string import Template

import msgspec

from voucherify_sync.events import Json
from voucherify_sync.sandbox.call_log import CallLog, Refusal
from voucherify_sync.sandbox.endpoints import HttpAnswer, HttpRequest
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.store import SandboxStore, StoredCustomer, StoredOrder, as_text, iso
from voucherify_sync.sandbox.validation import framework_error

_MAX_ROWS, _MAX_REFUSALS = 30, 10
_MAX_TEXT = 160
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_NEVER_STORED = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def answer_page(
    request: HttpRequest, options: SandboxOptions, store: SandboxStore, call_log: CallLog
) -> HttpAnswer:
    """Answer a request outside ``/v1``."""
    if request.path not in ("/", "/state.json"):
        return HttpAnswer.refuse(framework_error(404, "Not Found"))
    if request.method != "GET":
        return HttpAnswer.refuse(framework_error(405, "This page is read-only"))
    host = request.headers.get("host", "")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    # A web site whose own name points to this machine must not read what the sandbox holds (DNS rebinding).
    if options.host in _LOOPBACK and name.strip("[]") not in _LOOPBACK:
        return HttpAnswer.refuse(framework_error(403, "Not the address of this page"))
    everyone = store.customers
    customers, events = everyone[: -_MAX_ROWS - 1 : -1], store.events[: -_MAX_ROWS - 1 : -1]
    all_orders = store.orders
    customer_count, event_count = len(everyone), store.event_count
    statuses, refusals = call_log.statuses, call_log.refusals
    if request.path == "/state.json":
        newest = [
            {
                "id": event.event_id,
                "event": event.name,
                "source_id": event.source_id,
                "metadata": event.metadata,
                "created_at": iso(event.at),
            }
            for event in events
        ]
        data = {
            "customers": {"count": customer_count, "newest": customers},
            "events": {"count": event_count, "newest": newest},
            "orders": {"count": len(all_orders), "newest": all_orders[: -_MAX_ROWS - 1 : -1]},
            "calls": {"count": call_log.calls, "by_status": statuses},
            "refusals": {"count": call_log.refusal_count, "newest": refusals[: -_MAX_ROWS - 1 : -1]},
        }
        return HttpAnswer(200, msgspec.json.encode(data), _NEVER_STORED)
    tiles = (
        ("custom events", event_count, "POST /v1/events, accepted"),
        ("customers", customer_count, "different people; updates are not counted"),
        ("orders", len(all_orders), "different orders; updates are not counted"),
        ("API calls", call_log.calls, "all calls, also refused ones"),
        (
            "throttled",
            statuses.get("429", 0),
            "calls over the limit, answered with 429: they are repeated later",
        ),
        (
            "refused",
            call_log.refusal_count,
            "calls, and customers and orders in bulk, answered with an error",
        ),
    )
    settings = store.api_settings(f"http://{host}")
    invitation = (
        '<p class="empty">Nothing has arrived yet. Paste this in a terminal, with your events in place of '
        f"sample_events:<code>echo {escape(shlex.quote(settings))} &gt; sandbox.yaml\n"
        "voucherify-sync replay -c sandbox.yaml sample_events</code></p>"
    )
    nothing = '<p class="empty">No custom events yet.</p>'
    event_rows = [
        _row(event.name or "", event.source_id or event.customer_id, "", event.metadata, iso(event.at))
        for event in events
    ]
    template, policy = _template_and_policy()
    page = template.substitute(
        url=escape(f"http://{host}"),
        tiles="".join(
            f'<div class="tile" title="{meaning}"><b>{number:,}</b><span>{label}</span></div>'
            for label, number, meaning in tiles
        ),
        settings=escape(settings),
        refusals=_refusals(refusals, call_log.refusal_count),
        events=_table(event_rows) or (nothing if everyone or all_orders else invitation),
        events_note=_note(len(events), event_count),
        customers=_table(map(_customer_row, customers)) or '<p class="empty">No customers yet.</p>',
        customers_note=_note(len(customers), customer_count),
        orders=_orders(all_orders, {customer.id: customer for customer in everyone}),
        footer=_footer(options),
    )
    headers = (*_NEVER_STORED, ("Content-Security-Policy", policy))
    return HttpAnswer(200, page.encode("utf-8", "replace"), headers, "text/html; charset=utf-8")


@cache
def _template_and_policy() -> tuple[Template, str]:
    """Return the page, and the policy that lets it run its own script alone and load nothing from elsewhere."""
    html = (resources.files(__package__) / "page.html").read_text("utf-8")
    script = html.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Template(html), policy


def _note(shown: int, count: int) -> str:
    return f"the latest {shown} of {count:,}" if shown < count else ""


def _table(rows: Iterable[str]) -> str:
    filled = "".join(rows)
    return f'<div class="scroll"><table>{filled}</table></div>' if filled else ""


def _refusals(refusals: list[Refusal], count: int) -> str:
    """Make the section of errors, if there are any."""
    newest = refusals[: -_MAX_REFUSALS - 1 : -1]
    rows = [_row(f"{each.status} {each.request}", each.details, "", {}, iso(each.at)) for each in newest]
    title = f"<h2>Refused<small>{_note(len(newest), count)}</small></h2>"
    return f'<section class="wide">{title}{_table(rows)}</section>' if rows else ""


def _customer_row(customer: StoredCustomer) -> str:
    who = customer.source_id or customer.id
    known = [part for part in (customer.email, customer.phone) if isinstance(part, str)]
    name = customer.name if isinstance(customer.name, str) else who
    details = " · ".join([who, *known] if name != who else known)
    place = f" <small>{_escape(', '.join((customer.address or {}).values()))}</small>"
    return _row(name, details, place, customer.metadata, customer.updated_at or customer.created_at)


def _orders(orders: list[StoredOrder], customers: dict[str, StoredCustomer]) -> str:
    """Make the section of orders, if there are any."""
    newest = orders[: -_MAX_ROWS - 1 : -1]
    rows = [_order_row(order, customers.get(order.customer_id)) for order in newest]
    title = f"<h2>Orders<small>{_note(len(newest), len(orders))}</small></h2>"
    return f"<section>{title}{_table(rows)}</section>" if rows else ""


def _order_row(order: StoredOrder, customer: StoredCustomer | None) -> str:
    who = (customer.source_id if customer else None) or order.customer_id
    counted_items = f"{len(order.items)} item{'' if len(order.items) == 1 else 's'}"
    amount = [f"amount {order.amount:,}"] if isinstance(order.amount, int) else []
    details = " · ".join([order.status, *amount, counted_items, who])
    return _row(
        order.source_id or order.id, details, "", order.metadata, order.updated_at or order.created_at
    )


def _row(title: str, details: str, place: str, metadata: Json, stamp: str) -> str:
    """Make a row of a table; `place` is HTML, all else is text."""
    shown = list(metadata.items())[:8]
    tags = [f'<code class="tag">{_escape(f"{key}: {as_text(value)}")}</code>' for key, value in shown]
    if more := len(metadata) - len(tags):
        tags.append(f"<small>and {more} more</small>")
    tag_list = f"<div>{''.join(tags)}</div>" if tags else ""
    return (
        f"<tr><td><b>{_escape(title)}</b><small>{_escape(details)}</small>{place}{tag_list}</td>"
        f'<td><time datetime="{stamp}">{stamp[11:19]} UTC</time></td></tr>'
    )


def _escape(text: str) -> str:
    """Escape what a client sent, and cut it to what a row can hold."""
    return escape(text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…")


def _footer(options: SandboxOptions) -> str:
    """List the limits and switches that differ from the defaults."""
    usual = SandboxOptions()
    hidden = {"host", "port", "app_id", "token", "metadata_schemas", "keep"}
    names = [name for name in options.__struct_fields__ if name not in hidden]
    changed = {
        name: getattr(options, name) for name in names if getattr(options, name) != getattr(usual, name)
    }
    switches = " · ".join(f"{name}: {value}" for name, value in changed.items())
    return (
        f"Read-only. {escape(switches) or 'no limit, all switches at their defaults'}. "
        "The same as data: <code>/state.json</code>"
    )
