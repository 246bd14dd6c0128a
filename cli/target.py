"""Where a run sends and what it knows of earlier ones: stdout, a sandbox of its own, or Voucherify with its ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.ledger_reader import Run as EarlierRun
from voucherify_sync.delivery.dry_link import DryLink
from voucherify_sync.delivery.journal import Journal, NoJournal
from voucherify_sync.running.ledgers import read_ledger, write_ledger
from voucherify_sync.running.request import Mode, RunRequest
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings import Credentials, Secret, application_id, credentials
from voucherify_sync.settings.types import Delivery
from voucherify_sync.stop import Stop
from voucherify_sync.words import counted

if TYPE_CHECKING:
    from voucherify_sync.delivery.doubt import OnDoubt
    from voucherify_sync.delivery.link import Link


def _nothing() -> list[str]:
    return []


class Target(Struct, frozen=True):
    """One place to send to.

    Attributes:
        link: the way there.
        ledger: what it was sent before.
        last_run: the run before this one, if the ledger knows one.
        output: takes the lines of a dry run.
        closing: asked when the run is over for sentences that only the target can say.
    """

    link: Link | DryLink
    ledger: LedgerReader
    last_run: EarlierRun | None = None
    output: BinaryIO | None = None
    closing: Callable[[], list[str]] = _nothing

    @property
    def shows_data_on_terminal(self) -> bool:
        """Whether data and progress would share a screen."""
        return self.output is not None and self.output.isatty()


@contextmanager
def open_target(request: RunRequest, stop: Stop, *, new_ledger: bool = False) -> Iterator[Target]:
    """Open the place that a run sends to; close it when the run is over."""
    settings = request.settings
    match request.mode:
        case Mode.DRY_RUN:
            output = sys.stdout.buffer
            with read_ledger(settings, application_id(settings, os.environ)) as ledger:
                yield Target(DryLink(output.write, stop), ledger, ledger.last_run(), output)
        case Mode.SANDBOX:
            with _own_sandbox(request, stop) as target:
                yield target
        case Mode.LIVE:
            keys = credentials(settings, os.environ)
            journal = write_ledger(settings, keys, request.run_id, stop, new=new_ledger)
            on_doubt = settings.delivery.on_doubt
            link = _link_to(keys, settings.delivery, on_doubt, journal, stop)
            yield Target(link, journal, journal.last_run())


@contextmanager
def _own_sandbox(request: RunRequest, stop: Stop) -> Iterator[Target]:
    with Sandbox() as sandbox, LedgerReader.empty() as ledger:

        def holds() -> list[str]:
            customers, events, _ = sandbox.counts()
            held = f"{counted(customers, 'customer')} and {counted(events, 'custom event')}"
            return [f"The sandbox held {held}."]

        keys = Credentials(app_id="sandbox", token=Secret("sandbox"), url=sandbox.url, version=None)
        link = _link_to(keys, request.settings.delivery, "hold", NoJournal(), stop)
        yield Target(link, ledger, closing=holds)


def _link_to(keys: Credentials, delivery: Delivery, on_doubt: OnDoubt, journal: Journal, stop: Stop) -> Link:
    from voucherify_sync.delivery.link import Link  # it needs requests, which a dry run does not

    return Link(keys, delivery, on_doubt, journal, stop)
