"""The switches of the sandbox: limits, credentials, and behaviours of the API that no document settles."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct


class SandboxOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How the stand-in behaves. What is marked "undocumented" is a choice, not a fact about Voucherify.

    Attributes:
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        app_id: the only X-App-Id accepted; None accepts any that is not empty.
        token: the only X-App-Token accepted; None accepts any that is not empty.
        limit: API calls allowed, such as ``100/min`` or ``100/2s``; None: no limit and no rate headers.
        bulk_limit: the same for bulk calls, which have a bucket of their own.
        cycle_limit: API calls allowed in the whole billing cycle.
        window: how a limit is counted: fixed windows that begin with a call, or a sliding one (undocumented).
        auth_error_rate_headers: a 401 carries the rate headers, too (undocumented).
        latency_s: wait between processing a call and answering it.
        keep_alive_s: an idle connection is closed after this time; 0 never closes it.
        clock_skew_s: the server's clock runs ahead of this machine's by this.
        read_lag_s: writes are visible to reads after this time: new customers and events (undocumented).
        metadata_update: a customer's metadata is merged by key, or replaced (undocumented).
        address_update: the same for the address (undocumented).
        nulls: an explicit null clears a field, or is ignored (undocumented).
        unknown_fields: unknown customer fields are ignored, or the request is refused (undocumented).
        undefined_events: an event outside `defined_events` is accepted, or refused (undocumented).
        defined_events: names that the event schema defines.
        metadata_schemas: objects with ``related_object``, ``properties`` and ``allow_defined_only``, as the
            API lists them; the one of ``customer`` is enforced.
        bulk_item_cap: most customers a bulk request may hold; None sets no cap.
        async_delay_s: how long an async action is enqueued, and how long it then runs: half each.
        activity_shape: where a row of the activity holds its event: ``data.data.event`` or ``data.event``
            (undocumented).
        activity_metadata: event metadata comes back as it was sent, as strings, or not at all (undocumented).
        keep: number of events, processed requests and answered calls kept; older ones are only counted. None keeps all.
    """

    host: str = "127.0.0.1"
    port: int = 0
    app_id: str | None = None
    token: str | None = None
    limit: str | None = None
    bulk_limit: str | None = None
    cycle_limit: int | None = None
    window: Literal["fixed", "sliding"] = "fixed"
    auth_error_rate_headers: bool = True
    latency_s: float = 0.0
    keep_alive_s: float = 75.0
    clock_skew_s: float = 0.0
    read_lag_s: float = 0.0
    metadata_update: Literal["merge", "replace"] = "merge"
    address_update: Literal["merge", "replace"] = "merge"
    nulls: Literal["clear", "ignore"] = "clear"
    unknown_fields: Literal["ignore", "reject"] = "ignore"
    undefined_events: Literal["accept", "reject"] = "accept"
    defined_events: tuple[str, ...] = ()
    metadata_schemas: tuple[dict[str, Any], ...] = ()
    bulk_item_cap: int | None = None
    async_delay_s: float = 0.0
    activity_shape: Literal["nested", "flat"] = "nested"
    activity_metadata: Literal["same", "strings", "none"] = "same"
    keep: int | None = 100_000
