"""Bulk requests to the sandbox, and the asynchronous actions that carry them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.sandbox_client import BULK, CUSTOMERS, call, customer

from voucherify_sync.sandbox import Sandbox, SandboxOptions


@pytest.fixture
def sandbox() -> Any:
    """Run a sandbox with all its defaults."""
    with Sandbox() as running:
        yield running


@contextmanager
def slow_sandbox(**options: Any) -> Iterator[tuple[Sandbox, Callable[[str], list[Any]]]]:
    """Run a sandbox whose actions take 10 s of its own clock.

    Yields it, and what polls an action once a second of that clock until it is over, and returns its states without
    repetition.
    """
    now = [1e9]

    def wait_for(action_id: str) -> list[Any]:
        seen: list[Any] = []
        for _ in range(100):
            action = call(sandbox, "GET", f"/v1/async-actions/{action_id}").body
            if not seen or seen[-1]["status"] != action["status"]:
                seen.append(action)
            if action["status"] in ("DONE", "FAILED"):
                return seen
            now[0] += 1
        raise AssertionError(seen)

    with Sandbox(SandboxOptions(async_delay_s=10, **options), clock=lambda: now[0]) as sandbox:
        yield sandbox, wait_for


def test_a_bulk_request_is_accepted_then_runs_then_tells_how_it_went() -> None:
    """ENQUEUED, IN_PROGRESS, DONE; customers change only when it is done; refused ones are named."""
    schema = {"related_object": "customer", "properties": {"age": {"type": "number"}}}
    with slow_sandbox(metadata_schemas=(schema,)) as (sandbox, wait_for):
        items = [customer("a", name="Ann"), customer("b", metadata={"age": "x"}), customer("c", email=1)]
        reply = call(sandbox, "POST", BULK, items)
        assert (reply.status, list(reply.body)) == (202, ["async_action_id"])
        assert sandbox.counts()[0] == 0
        seen = wait_for(reply.body["async_action_id"])
        assert [action["status"] for action in seen] == ["ENQUEUED", "IN_PROGRESS", "DONE"]
        assert "result" not in seen[0]
        result = seen[-1]["result"]
        assert (result["done_count"], result["failed_count"]) == (1, 2)
        assert [(one["source_id"], one["key"]) for one in result["errors"]] == [
            ("b", "metadata_validation_failed"),
            ("c", "invalid_payload"),
        ]
        assert [(done.source_id, done.is_bulk) for done in sandbox.call_log.processed] == [("a", True)]


def test_bulk_requests_run_one_after_the_other() -> None:
    """The later one wins, and is done later."""
    with slow_sandbox() as (sandbox, wait_for):
        ids = [
            call(sandbox, "POST", BULK, [customer(name=name)]).body["async_action_id"] for name in ("x", "y")
        ]
        wait_for(ids[0])
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1").body["name"] == "x"
        wait_for(ids[1])
        assert call(sandbox, "GET", f"{CUSTOMERS}/u1").body["name"] == "y"


def test_actions_are_listed_without_results(sandbox: Sandbox) -> None:
    """Newest first; an unknown one is 404."""
    ids = [call(sandbox, "POST", BULK, [customer()]).body["async_action_id"] for _ in range(3)]
    listed = call(sandbox, "GET", "/v1/async-actions?limit=2").body
    assert [action["id"] for action in listed["async_actions"]] == ids[:0:-1]
    assert listed["has_more"]
    assert "result" not in listed["async_actions"][0]
    unknown = call(sandbox, "GET", "/v1/async-actions/aa_0")
    assert unknown.error == (404, "not_found", "Cannot find async_action with id aa_0")
