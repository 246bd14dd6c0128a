"""The read-only page at ``/`` and the same as data at ``/state.json``. All that clients sent is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from functools import cached_property
from html import escape
from importlib import resources
from string import Template
from typing import Any

import msgspec

from voucherify_sync.events import Json
from voucherify_sync.sandbox.customers import Customer
from voucherify_sync.sandbox.events import StoredEvent
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.oracle import Oracle
from voucherify_sync.sandbox.refusals import framework_error
from voucherify_sync.sandbox.state import State
from voucherify_sync.sandbox.times import iso
from voucherify_sync.sandbox.wire import Answer, HttpRequest

_SHOWN = 30
_MAX_TEXT = 160
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Page:
    """Renders what is in a state."""

    def __init__(self, options: SandboxOptions, state: State, oracle: Oracle) -> None:
        self._options = options
        self._state = state
        self._oracle = oracle

    def answer(self, request: HttpRequest) -> Answer:
        """Answer a request outside ``/v1``."""
        if request.path not in ("/", "/state.json"):
            return framework_error(404, "Not Found").answer()
        if request.method != "GET":
            return framework_error(405, "This page is read-only").answer()
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return framework_error(403, "Not the address of this page").answer()
        if request.path == "/state.json":
            return Answer(200, msgspec.json.encode(self._data()), _NEVER_STORED)
        return Answer(200, self._html(host), (*_NEVER_STORED, self._policy), "text/html; charset=utf-8")

    def _is_ours(self, host: str) -> bool:
        """Tell whether a Host header names this machine; another name may be a web site that points here."""
        if self._options.host not in _LOOPBACK:
            return True
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        return name.strip("[]") in _LOOPBACK

    @cached_property
    def _template(self) -> str:
        return (resources.files(__package__) / "page.html").read_text("utf-8")

    @cached_property
    def _policy(self) -> tuple[str, str]:
        script = self._template.partition("<script>")[2].partition("</script>")[0]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        rules = (
            "default-src 'none'",
            "style-src 'unsafe-inline'",
            f"script-src 'sha256-{digest}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
        return "Content-Security-Policy", "; ".join(rules)

    def _data(self) -> Json:
        customers, events = self._state.newest(_SHOWN)
        held, recorded = self._state.counts()
        return {
            "customers": {"count": held, "newest": customers},
            "events": {"count": recorded, "newest": [_event_data(event) for event in events]},
            "calls": {"count": self._oracle.calls, "by_status": self._oracle.statuses},
        }

    def _html(self, host: str) -> bytes:
        customers, events = self._state.newest(_SHOWN)
        held, recorded = self._state.counts()
        filled = Template(self._template).substitute(
            url=escape(f"http://{host}"),
            tiles="".join(_tile(number, label) for number, label in self._tiles(held, recorded)),
            events=_table(map(_event_row, events)) or _invitation(host, self._state.app_id),
            events_note=_note(len(events), recorded),
            customers=_table(map(_customer_row, customers)) or '<p class="empty">No customers yet.</p>',
            customers_note=_note(len(customers), held),
            footer=_switches(self._options),
        )
        return filled.encode("utf-8", "replace")

    def _tiles(self, held: int, recorded: int) -> Iterable[tuple[int, str]]:
        statuses = self._oracle.statuses
        refused = sum(count for status, count in statuses.items() if status[0] in "45" and status != "429")
        yield recorded, "custom events"
        yield held, "customers"
        yield self._oracle.calls, "API calls"
        yield statuses.get("429", 0), "throttled"
        yield refused, "refused"


_NEVER_STORED = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


def _event_data(event: StoredEvent) -> Json:
    return {
        "id": event.id,
        "event": event.name,
        "source_id": event.source_id,
        "metadata": event.metadata,
        "created_at": iso(event.at),
    }


def _tile(number: int, label: str) -> str:
    return f'<div class="tile"><b>{number:,}</b><span>{label}</span></div>'


def _note(shown: int, count: int) -> str:
    return f"the latest {shown} of {count:,}" if shown < count else ""


def _table(rows: Iterable[str]) -> str:
    filled = "".join(rows)
    return f'<div class="scroll"><table>{filled}</table></div>' if filled else ""


def _event_row(event: StoredEvent) -> str:
    who = event.source_id or event.customer_id
    return (
        f"<tr><td><b>{_text(event.name)}</b><small>{_text(who)}</small>{_tags(event.metadata)}</td>"
        f"<td>{_clock(iso(event.at))}</td></tr>"
    )


def _customer_row(customer: Customer) -> str:
    who = customer.source_id if isinstance(customer.source_id, str) else customer.id
    known = [part for part in (customer.email, customer.phone) if isinstance(part, str)]
    name = customer.name if isinstance(customer.name, str) else who
    details = " · ".join([who, *known] if name != who else known)
    changed = customer.updated_at if isinstance(customer.updated_at, str) else customer.created_at
    place = ", ".join((customer.address or {}).values())
    return (
        f"<tr><td><b>{_text(name)}</b><small>{_text(details)}</small> <small>{_text(place)}</small>"
        f"{_tags(customer.metadata)}</td><td>{_clock(changed)}</td></tr>"
    )


def _tags(metadata: Json) -> str:
    tags = [
        f'<code class="tag">{_text(f"{key}: {_value(value)}")}</code>'
        for key, value in list(metadata.items())[:8]
    ]
    more = len(metadata) - len(tags)
    if more > 0:
        tags.append(f"<small>and {more} more</small>")
    return f"<div>{''.join(tags)}</div>" if tags else ""


def _value(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    """Escape what a client sent, and cut it to what a row can hold."""
    return escape(text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…")


def _clock(stamp: str) -> str:
    return f'<time datetime="{stamp}">{stamp[11:19]} UTC</time>'


def _invitation(host: str, app_id: str) -> str:
    return (
        '<p class="empty">Nothing has arrived yet. Point the settings here and replay:'
        f"<code>api:\n  key: {escape(app_id)}\n  token: any\n  url: {escape(f'http://{host}')}</code></p>"
    )


def _switches(options: SandboxOptions) -> str:
    """Say what limits and switches apply, where they differ from the defaults."""
    usual = SandboxOptions()
    hidden = {"host", "port", "app_id", "token", "metadata_schemas", "keep"}
    told = [
        f"{name}: {getattr(options, name)}"
        for name in options.__struct_fields__
        if name not in hidden and getattr(options, name) != getattr(usual, name)
    ]
    switches = escape(" · ".join(told)) if told else "no limit, all switches at their defaults"
    return f"Read-only. {switches}. The same as data: <code>/state.json</code>"
