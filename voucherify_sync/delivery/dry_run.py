"""Delivers a dry run: prints requests instead of sending them, one JSON line each.

It needs nothing of what makes calls, so that it starts without loading an HTTP client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from voucherify_sync.events import PATHS, Request
from voucherify_sync.outcomes import Decision, Outcome, State, Waiting
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.bulk import CUSTOMERS, ActionLog, DryBulkDelivery, Endpoint

_HEADS: Final = {
    kind: b'{"method":"POST","path":"%b","body":' % path.encode() for kind, path in PATHS.items()
}
_LINE: Final = b'%b%b,"source":%b:%b","messageId":%b}\n'
_encode = msgspec.json.Encoder().encode


def discard(_line: bytes) -> None:
    """Take a line, and show it nowhere."""


class DryRun:
    """Plans every request, and writes it as a line.

    Args:
        write: takes lines, with their line ends.
        stop: asked before every customer and order of a bulk request.
    """

    calls = retries = throttled = in_flight = submitted = open = 0
    calls_per_min = None
    limit = None

    def __init__(self, write: Callable[[bytes], object], stop: Stop) -> None:
        self._write = write
        self._stop = stop
        self._source = ""
        self._source_text = b'"'

    def deliver(self, decisions: Iterable[Decision]) -> Iterator[list[Outcome]]:
        """Write the requests among the decisions, the very bytes that would be sent; yield all outcomes at once."""
        lines: list[bytes] = []
        outcomes: list[Outcome] = []
        keeps_lines = self._write is not discard
        for decision in decisions:
            if type(decision) is Request:
                event = decision.event
                if keeps_lines:
                    position = event.position
                    if position.source is not self._source:
                        self._source, self._source_text = position.source, _encode(position.source)[:-1]
                    line = b"%d" % position.line
                    if position.item is not None:
                        line += b"[%d]" % position.item
                    head = _HEADS[decision.kind]
                    message_id = _encode(event.message_id)
                    lines.append(_LINE % (head, decision.payload, self._source_text, line, message_id))
                outcomes.append(Outcome(event, State.PLANNED, None, None, decision))
            elif type(decision) is Outcome:
                outcomes.append(decision)
        data = b"".join(lines)
        # An unbuffered stream may take a part of them only.
        while isinstance(written := self._write(data), int) and written < len(data):
            data = data[written:]
        yield outcomes

    def drain(self) -> Iterator[Outcome]:
        """Yield nothing: all is decided at once."""
        yield from ()

    def bulk(
        self, _log: ActionLog, endpoint: Endpoint = CUSTOMERS, *, imports_update: bool | None = None
    ) -> DryBulkDelivery:
        """Return what plans customers or orders in bulk."""
        return DryBulkDelivery(self._write, self._stop, endpoint)

    def trouble(self) -> str | None:
        """Say that there is none."""
        return None

    def eta_s(self, _calls: float) -> tuple[float, float] | None:
        """Say nothing: no limit holds a dry run back."""
        return None

    def waiting(self) -> Waiting | None:
        """Say that it never waits."""
        return None
