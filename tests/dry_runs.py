"""Dry runs of the two walks over the same lines, with all that they tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from voucherify_sync.bookkeeping.history import History, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.delivery.link import DryLink
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Block
from voucherify_sync.reading.times import event_time
from voucherify_sync.replay import Replay
from voucherify_sync.running import dry_walk, planner
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.planner import Planned, Planner
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop

FIRST_LINE = planner.EXACT_LINES + 1
"""The fast walk begins after the lines that the Replay walks in any case."""


class DryRun:
    """The pieces of a dry run.

    Attributes:
        general: records that the fast walk left to the Replay.
    """

    def __init__(self, settings: Settings, selection: Selection) -> None:
        self.filters = Filters(settings, selection, lambda event: event_time(event.fields))
        self.mapping = Mapping(settings, self.filters.reason_to_leave_out)
        self.report, self.older, self.stop = Report(), OlderUpdates(), Stop()
        self.lines: list[bytes] = []
        self.general = 0
        self._settings = settings
        self._ledger = LedgerReader.empty()
        self._link = DryLink(self.lines.append, self.stop)
        self._history = History(self._ledger, Rule())
        self._replay = Replay(
            filters=self.filters,
            history=self._history,
            mapping=self.mapping,
            courier=self._link.courier,
            books=[self.report.add, self.older.add],
            stop=self.stop,
        )

    def generally(self, *blocks: Block) -> dict[str, Any]:
        """Walk blocks by the Replay; tell all that came of it."""
        self._replay.run(blocks)
        self.report.read = self._replay.read
        return self._told()

    def fast(self, *blocks: Block) -> dict[str, Any]:
        """Walk blocks fast; tell all that came of it."""
        self._walk(Planner(self.mapping, self._settings, self.filters).plan_all(blocks))
        return self._told()

    def _walk(self, planned: Iterable[Planned | Block]) -> None:
        walk = dry_walk.DryWalk(
            self._replay,
            seen=self._history.seen,
            report=self.report,
            older=self.older,
            write=self._link.write,
            stop=self.stop,
        )
        walk.run(planned)
        self.general = self._replay.read
        self.report.read = walk.read + self._replay.read

    def _told(self) -> dict[str, Any]:
        self._ledger.close()
        self.report.check_law()
        mapping = self.mapping.tally.to_dict()
        mapping.pop("sampled", None)
        counts = self.report._tallies.items()
        return {
            "lines": b"".join(self.lines),
            "read": self.report.read,
            "outcomes": {key: tally.count for key, tally in counts},
            "examples": {key: (tally.examples, tally.detail) for key, tally in counts if key[0] != "planned"},
            "mapping": mapping,
            "renames": (self.mapping.tally.renames.count, self.mapping.tally.renames.examples),
            "older": self.older.to_dict(),
            "names": (self.filters.names.left.to_dict(), self.filters.near_misses()),
        }


def block_of(lines: list[bytes], source: str = "events.ndjson") -> Block:
    """Return lines as a block that the fast walk takes up."""
    return Block(source, FIRST_LINE, lines)
