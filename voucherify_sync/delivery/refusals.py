"""Tells a refusal that concerns one record from one that concerns the whole project, and so ends the run."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from voucherify_sync.delivery.answer import Answer, NoAnswer, NotSent, Reply
from voucherify_sync.delivery.quota import Limiter
from voucherify_sync.delivery.retry import halting, json_object
from voucherify_sync.model import NOTHING_ACCEPTED, Accepted

if TYPE_CHECKING:  # it needs requests, which is slow to import
    from voucherify_sync.delivery.client import Client


_FIRST: Final = 20
"""So many refusals, and nothing else, mean that the address or the mapping is wrong."""
_BLOCKED_IN_A_ROW: Final = 5


class Ruling(Enum):
    """What follows from a 401, 402, 403, 405, 406, 415 or 3xx."""

    STOP = auto()
    """It concerns the project: the run ends, and the record is not decided."""
    BLOCKED = auto()
    """It concerns the record, which failed."""
    UNCLEAR = auto()
    """The probe was not answered: try again later."""


class RefusalPolicy:
    """Decides about refusals, for all workers.

    Args:
        probe: makes a harmless call and returns how it ended; None if the run is stopping.
        accepted: what Voucherify accepted before this run.
        accepted_at: told of each endpoint that accepts a call.
        expects_refusals: dead letters are sent: that the first of them are refused again says nothing.
    """

    def __init__(
        self,
        probe: Callable[[], Answer | None],
        accepted: Accepted = NOTHING_ACCEPTED,
        *,
        accepted_at: Callable[[str], object] = lambda _: None,
        expects_refusals: bool = False,
    ) -> None:
        self._probe = probe
        self._endpoints = set(accepted.endpoints)
        self._has_accepted = accepted.by_settings or expects_refusals
        self._accepted_at = accepted_at
        self._refused = 0
        self._blocked = Counter[str]()
        self._lock = threading.Lock()

    def succeeded(self, endpoint: str) -> None:
        """Note that a call to an endpoint succeeded."""
        self._has_accepted = True
        self._endpoints.add(endpoint)
        self._blocked.pop(endpoint, None)
        self._accepted_at(endpoint)

    def all_refused(self, endpoint: str) -> bool:
        """Count a record that was refused for itself; True after 20 of them, if nothing was ever accepted."""
        with self._lock:
            self._refused += 1
            self._blocked.pop(endpoint, None)
            return not self._has_accepted and self._refused >= _FIRST

    def rule(self, endpoint: str, *, is_one_record: bool = True) -> Ruling:
        """Decide about a refusal that is usual for a whole project; makes a harmless call where it may not be.

        Args:
            endpoint: where it was met.
            is_one_record: the call carried one record, so that five in a row are enough.
        """
        with self._lock:
            if endpoint not in self._endpoints:
                return Ruling.STOP
            if self._blocked[endpoint] + is_one_record >= _BLOCKED_IN_A_ROW:
                return Ruling.STOP
            answer = self._probe()
            if not isinstance(answer, Reply) or (halting(answer) is None and not _is_good(answer)):
                return Ruling.UNCLEAR
            if not _is_good(answer):
                return Ruling.STOP
            self._blocked[endpoint] += is_one_record
            return Ruling.BLOCKED


def harmless_call(client: Client, limiter: Limiter) -> Callable[[], Answer | None]:
    """Return the probe of policy and circuit: the cheapest call that creates nothing."""

    def call() -> Answer | None:
        if not limiter.acquire():
            return None
        try:
            reply = client.call("GET", "/v1/customers", params={"limit": "1"})
        except (NotSent, NoAnswer) as error:
            limiter.unanswered()
            return error
        limiter.answered(reply.status, reply.headers)
        return reply

    return call


def _is_good(reply: Reply) -> bool:
    return 200 <= reply.status < 300 and json_object(reply.body) is not None
