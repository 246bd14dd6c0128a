"""The web page of the sandbox: what it shows, and that nothing sent to it can do harm there."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support.sandbox_client import BULK, CUSTOMERS, EVENTS, call, customer, event

from voucherify_sync.sandbox import Fault, Sandbox, SandboxOptions

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


class Tags(HTMLParser):
    """Collects the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.values: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note a tag and the values of its attributes."""
        self.names.append(tag)
        self.values += [value or "" for _, value in attrs]


def page_of(sandbox: Sandbox) -> str:
    """Return the page."""
    reply = call(sandbox, "GET", "/", None, {})
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    return reply.text.decode()


def test_an_empty_sandbox_says_how_to_fill_it() -> None:
    """With its own address."""
    with Sandbox() as sandbox:
        page = page_of(sandbox)
        assert "Nothing has arrived yet" in page
        assert sandbox.url in page


def test_the_page_shows_customers_events_and_counts() -> None:
    """Without keys; looking at it is no API call."""
    with Sandbox(SandboxOptions(limit="100/min")) as sandbox:
        call(
            sandbox,
            "POST",
            CUSTOMERS,
            customer("u1", name="Zoë Quinn", email="zoe@example.com", metadata={"plan": "pro"}),
        )
        call(sandbox, "POST", EVENTS, event("Order Completed", "u2", metadata={"total": 12.5}))
        page = page_of(sandbox)
        for text in (
            "Zoë Quinn",
            "zoe@example.com",
            "plan: pro",
            "Order Completed",
            "u2",
            "total: 12.5",
            "limit: 100/min",
        ):
            assert text in page
        tiles = dict(re.findall(r"<b>([\d,]+)</b><span>([\w ]+)</span>", page))
        assert {"1": "custom events", "2": "API calls"}.items() <= tiles.items()
        assert sandbox.counts()[2] == 2


def test_only_the_latest_are_listed() -> None:
    """30 of each, and it says so."""
    with Sandbox() as sandbox:
        for number in range(32):
            call(sandbox, "POST", EVENTS, event(f"Event {number:02}", f"u{number}"))
        page = page_of(sandbox)
        assert "Event 31" in page
        assert "Event 02" in page
        assert "Event 01" not in page
        assert page.count("the latest 30 of 32") == 2


def test_what_clients_send_stays_text() -> None:
    """No tag comes from data, whichever field it is in."""
    with Sandbox() as sandbox:
        before = set(Tags(page_of(sandbox)).names)
        fields = {
            "name": EVIL,
            "email": EVIL,
            "phone": EVIL,
            "address": {"city": EVIL},
            "metadata": {EVIL: EVIL},
        }
        call(sandbox, "POST", CUSTOMERS, customer(EVIL, **fields))
        call(sandbox, "POST", EVENTS, event(EVIL, EVIL, metadata={EVIL: {EVIL: [EVIL]}}))
        page = page_of(sandbox)
        assert page.count("<script>") == 1
        assert set(Tags(page).names) - before <= {"table", "tr", "td", "b", "small", "code", "time", "div"}


def test_the_page_says_what_was_refused_and_why() -> None:
    """The latest first: calls, and customers of bulk requests; what is throttled is counted apart."""
    with Sandbox(SandboxOptions(token="token"), [Fault.parse("GET status 500")]) as sandbox:
        assert "Refused" not in page_of(sandbox)
        call(sandbox, "POST", CUSTOMERS, customer(birthdate=""))
        call(sandbox, "POST", BULK, [customer("good"), customer("u7", email=EVIL), customer("u8", email=5)])
        assert sandbox.counts()[0] == 2  # which carries the bulk request out
        call(sandbox, "GET", CUSTOMERS)
        page = page_of(sandbox)
        data = call(sandbox, "GET", "/state.json", None, {}).body
    for text in (
        "400 POST /v1/customers",
        "Property .birthdate should match format &#x27;date&#x27;",
        "400 customer u8 in bulk",
        "500 GET /v1/customers",
        "fault: status",
    ):
        assert text in page
    assert page.index("500 GET") < page.index("u8 in bulk") < page.index("400 POST")
    assert data["refusals"]["count"] == 3
    assert data["refusals"]["newest"][0]["request"] == "GET /v1/customers"


def test_the_page_shows_no_token() -> None:
    """The one of the options may be a real one."""
    with Sandbox(SandboxOptions(token="CANARY")) as sandbox:
        assert "CANARY" not in page_of(sandbox)


def test_the_page_needs_nothing_from_elsewhere_and_runs_only_its_own_script() -> None:
    """No foreign resource; the policy names the hash of the one script."""
    with Sandbox() as sandbox:
        page = page_of(sandbox)
        assert not [value for value in Tags(page).values if value.startswith(("http:", "https:", "//"))]
        policy = call(sandbox, "GET", "/", None, {}).headers["Content-Security-Policy"]
        [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy


def test_the_same_is_there_as_data() -> None:
    """/state.json holds counts and the latest."""
    with Sandbox() as sandbox:
        call(sandbox, "POST", EVENTS, event("E", metadata={"n": 1}))
        call(sandbox, "POST", EVENTS, {})
        data = call(sandbox, "GET", "/state.json", None, {}).body
        assert data["customers"]["count"] == data["events"]["count"] == 1
        assert data["events"]["newest"][0]["event"] == "E"
        assert data["calls"] == {"count": 2, "by_status": {"200": 1, "400": 1}}


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("POST", "/", "127.0.0.1", 405),
        ("GET", "/favicon.ico", "127.0.0.1", 404),
        ("GET", "/", "localhost:1234", 200),
        ("GET", "/", "[::1]:1234", 200),
        ("GET", "/", "evil.example", 403),
        ("GET", "/state.json", "evil.example:80", 403),
        ("GET", "/", "127.0.0.1.evil.example", 403),
    ],
)
def test_the_page_is_read_only_and_for_this_machine(method: str, path: str, host: str, status: int) -> None:
    """A web site whose name points here cannot read it."""
    with Sandbox() as sandbox:
        assert call(sandbox, method, path, None, {"Host": host}).status == status
