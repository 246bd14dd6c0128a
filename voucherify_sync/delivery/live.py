"""The way to Voucherify, put together: client, limiter, journal and lanes.

Requests go in; outcomes, and what a display and a report want to know of the calls, come out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator

from voucherify_sync.delivery.circuit_breaker import Circuit
from voucherify_sync.delivery.lanes import Lanes
from voucherify_sync.delivery.sender import ApiDestination, Journal
from voucherify_sync.events import Request
from voucherify_sync.outcomes import NOTHING_ACCEPTED, Accepted, Decision, Outcome, Waiting
from voucherify_sync.settings.types import Credentials, Delivery
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.activity import OnDoubt
from voucherify_sync.voucherify.bulk import ActionLog, Actions, Bulk, Deliverer
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import Caller, RefusalPolicy, harmless_call
from voucherify_sync.voucherify.rate_limit import Limit, Limiter
from voucherify_sync.voucherify.retry_policy import PAUSES, Pauses

_BULK_DEADLINE_S = 180.0
"""For 10 MiB over a slow line; Voucherify's balancer cuts what takes longer."""
_BULK_RESPONSE = 64 << 20
"""A report names every refused customer."""
_SILENT_S = 2.0
"""From then on a call without an answer is trouble."""


class Link:
    """Leads to an API.

    Args:
        credentials: where it is, and who we are there.
        settings: workers, rate, reserve, calls at most.
        on_doubt: what becomes of events whose answer is lost.
        journal: where intents and outcomes are kept.
        stop: told of what stops the run.
        accepted: what Voucherify accepted before this run: then the address is right, and no answer is an outage.
        retries: dead letters are sent, of which many may be refused once more.
        pauses: how long it waits where nobody asks it to.
    """

    def __init__(
        self,
        credentials: Credentials,
        settings: Delivery,
        on_doubt: OnDoubt,
        journal: Journal,
        stop: Stop,
        accepted: Accepted = NOTHING_ACCEPTED,
        *,
        retries: bool = False,
        pauses: Pauses = PAUSES,
    ) -> None:
        client = Client(credentials, workers=settings.workers, stop=stop)
        self._clients = [client]
        self._credentials = credentials
        self._stop = stop
        self._caller: Caller | None = None
        self._actions: Actions | None = None
        self._limiter = Limiter(
            stop=stop, rate=settings.rate, reserve=settings.reserve, max_calls=settings.max_calls
        )
        probe = harmless_call(client, self._limiter)
        self._refusals = RefusalPolicy(
            probe, accepted, accepted_at=journal.accepted_at, expects_refusals=retries
        )
        self._circuit = Circuit(probe, stop, ever_succeeded=accepted.anything, pauses=pauses)
        destination = ApiDestination(
            client,
            self._limiter,
            stop,
            journal=journal,
            circuit=self._circuit,
            refusals=self._refusals,
            on_doubt=on_doubt,
            pauses=pauses,
        )
        self._lanes = Lanes(destination, settings.workers, stop)

    def bulk(self, log: ActionLog) -> Deliverer:
        """Return what delivers customers in bulk; its requests are larger, and so are the answers.

        Args:
            log: keeps what was accepted.
        """
        client = Client(
            self._credentials,
            workers=1,
            deadline_s=_BULK_DEADLINE_S,
            max_response=_BULK_RESPONSE,
            stop=self._stop,
        )
        self._clients.append(client)
        self._caller = Caller(client, self._limiter, self._circuit, self._stop, self._refusals)
        self._actions = Actions(self._caller, log, self._stop)
        return Bulk(self._actions, self._credentials.token, self._stop)

    def deliver(self, decisions: Iterable[Decision]) -> Iterator[list[Outcome]]:
        """Send the requests among the decisions; yield outcomes as they come, those that are decided among them.

        It waits while the look-ahead is full. When the run stops, what was not sent is pending.
        """
        decided: list[Outcome] = []
        for decision in decisions:
            if type(decision) is Request:
                self._lanes.submit(decision)
                decided += self._lanes.finished()
                if decided:
                    yield decided
                    decided = []
            elif type(decision) is Outcome:
                decided.append(decision)
        if decided:
            yield decided

    def drain(self) -> Iterator[Outcome]:
        """Yield the outcomes of all that is still under way; after a stop it waits a few seconds for answers."""
        return self._lanes.drain()

    def close(self) -> None:
        """Close all connections and end all threads."""
        self._lanes.close()
        for client in self._clients:
            client.close()

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self._lanes.in_flight

    @property
    def open(self) -> int:
        """Operations that are not decided yet."""
        return self._lanes.open

    @property
    def calls(self) -> int:
        """Calls made so far."""
        return self._limiter.calls

    @property
    def limit(self) -> Limit | None:
        """What has been learnt of the limit of ordinary calls."""
        return self._limiter.limit

    @property
    def retries(self) -> int:
        """Calls that repeated an earlier one."""
        return self._lanes.retries + (self._caller.retries if self._caller else 0)

    @property
    def throttled(self) -> int:
        """Calls answered by 429."""
        return self._limiter.throttled

    @property
    def calls_per_min(self) -> float | None:
        """What the limits sustain, None before it is known."""
        per_s = self._limiter.calls_per_s()
        return None if per_s is None else per_s * 60

    def trouble(self) -> str | None:
        """Say how the last calls failed, in a few words; None where they were answered without trouble."""
        if trouble := self._circuit.trouble:
            return trouble
        silent_s = self._limiter.unanswered_s()
        return None if silent_s is None or silent_s < _SILENT_S else f"no answer for {silent_s:.0f} s"

    def waiting(self) -> Waiting | None:
        """Say what the next call waits for, if it is known until when."""
        waiting = self._circuit.waiting() or self._limiter.waiting()
        if waiting is None or waiting.until == math.inf:
            return self._waiting_otherwise()
        return Waiting(waiting.reason, max(0.0, waiting.until - time.monotonic()))

    def _waiting_otherwise(self) -> Waiting | None:
        asks_at = self._actions.asks_at if self._actions else None
        if asks_at is not None:
            return Waiting("bulk", max(0.0, asks_at - time.monotonic()))
        customer = self._lanes.blocked_on()
        return None if customer is None else Waiting(f"customer {customer}", None)

    def eta_s(self, requests: float | None) -> float | None:
        """Estimate the seconds that so many more requests take, by the limits and not by the recent speed."""
        per_s = self._limiter.calls_per_s()
        return requests / per_s if requests is not None and per_s else None
