"""Dry runs of the two walks over the same lines, with all that they tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from voucherify_sync.bookkeeping.history import History, Rule
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.report import Report
from voucherify_sync.delivery.dry_link import DryLink
from voucherify_sync.mapping.filters import Filters, Selection
from voucherify_sync.mapping.payload import Mapping
from voucherify_sync.model import Block
from voucherify_sync.previewing.planning import Walked
from voucherify_sync.reading.times import event_time
from voucherify_sync.replay import Replay
from voucherify_sync.running import dry_walk
from voucherify_sync.running.jobs import Jobs
from voucherify_sync.running.older_updates import OlderUpdates
from voucherify_sync.running.tasks import WORTH_IT
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop


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
        self.watch = Walked()
        self._settings = settings
        self._selection = selection
        self._ledger = LedgerReader.empty()
        self._link = DryLink(self.lines.append, self.stop)
        self._history = History(self._ledger, Rule())
        self._replay = Replay(
            filters=self.filters,
            history=self._history,
            mapping=self.mapping,
            courier=self._link.courier,
            books=[self.report.add, self.older.add, self.watch.add],
            stop=self.stop,
        )

    def generally(self, *blocks: Block) -> dict[str, Any]:
        """Walk blocks by the Replay; tell all that came of it."""
        self._replay.run(blocks)
        self.report.read = self._replay.read
        return self._told()

    def fast(self, blocks: Iterable[Block], jobs: int = 1) -> dict[str, Any]:
        """Walk blocks fast; tell all that came of it."""
        walk = dry_walk.DryWalk(
            self._replay,
            seen=self._history.seen,
            report=self.report,
            older=self.older,
            tally=self.mapping.tally,
            filters=self.filters,
            watch=self.watch,
            write=self._link.write,
            stop=self.stop,
        )
        walk.run(blocks, Jobs(jobs, self._settings, self._selection, WORTH_IT, tells_about=True).plan)
        self.general = self._replay.read
        self.report.read = walk.read + self._replay.read
        return self._told()

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
            "walked": self._walked(),
            "names": (self.filters.names.left.to_dict(), self.filters.near_misses()),
        }

    def _walked(self) -> dict[str, Any]:
        """Tell what a plan would; of counts of nothing it is not said whether they are there."""
        return {key: value or {} for key, value in msgspec.to_builtins(self.watch).items()}


def block_of(lines: list[bytes], source: str = "events.ndjson") -> Block:
    """Return lines as a block that the fast walk takes up."""
    return Block.of(source, 1, lines)
