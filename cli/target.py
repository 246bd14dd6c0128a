"""Where a run sends and what it knows of earlier ones: stdout, a sandbox of its own, or Voucherify with its ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from voucherify_sync.delivery.dry_run import DryRun
from voucherify_sync.delivery.sender import Journal, NoJournal
from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.outcomes import NOTHING_ACCEPTED, Accepted
from voucherify_sync.run.options import Mode, RunOptions
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings import Credentials, Secret, credentials, digest
from voucherify_sync.settings.types import Delivery
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.state.ledger_location import LedgerChoice, Place, read_ledger, write_ledger
from voucherify_sync.state.ledger_reader import LedgerReader
from voucherify_sync.state.ledger_reader import Run as EarlierRun
from voucherify_sync.stop import Stop
from voucherify_sync.text import counted

if TYPE_CHECKING:
    from voucherify_sync.delivery.live import Link
    from voucherify_sync.voucherify.activity import OnDoubt


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

    link: Link | DryRun
    ledger: LedgerReader
    last_run: EarlierRun | None = None
    output: BinaryIO | None = None
    closing: Callable[[], list[str]] = _nothing

    @property
    def shows_data_on_terminal(self) -> bool:
        """Whether data and progress would share a screen."""
        return self.output is not None and self.output.isatty()


@contextmanager
def open_target(
    request: RunOptions, stop: Stop, place: Place, choice: LedgerChoice, *, retries: bool = False
) -> Iterator[Target]:
    """Open the place that a run sends to; close it when the run is over.

    Args:
        request: the run.
        stop: told of what stops it.
        place: of its ledger.
        choice: what the user says of the ledger.
        retries: it sends dead letters, of which many may be refused once more.
    """
    settings = request.settings
    match request.mode:
        case Mode.DRY_RUN:
            output = sys.stdout.buffer
            with read_ledger(place) as ledger:
                yield Target(DryRun(output.write, stop), ledger, ledger.last_run(), output)
        case Mode.SANDBOX:
            with _own_sandbox(request, stop) as target:
                yield target
        case Mode.LIVE:
            keys = credentials(settings, os.environ)
            identity = ProjectIdentity.of(keys.url, keys.app_id)
            start = RunStart(request.run_id, request.command, digest(settings), identity)
            delivery = settings.delivery
            with _ledger(place, choice, start, stop) as ledger:
                accepted = ledger.accepted(identity, start.settings_digest)
                with closing(
                    _link_to(keys, delivery, delivery.on_doubt, ledger, stop, accepted, retries=retries)
                ) as link:
                    yield Target(link, ledger, ledger.last_run())


@contextmanager
def _ledger(place: Place, choice: LedgerChoice, start: RunStart, stop: Stop) -> Iterator[Ledger]:
    """Open the ledger, and close it, knowing why the run ends."""
    with closing(write_ledger(place, choice, start, stop)) as ledger:
        try:
            yield ledger
        except VoucherifySyncError as error:
            stop.because(error)
            raise


@contextmanager
def _own_sandbox(request: RunOptions, stop: Stop) -> Iterator[Target]:
    with Sandbox() as sandbox, LedgerReader.empty() as ledger:

        def holds() -> list[str]:
            customers, events, _ = sandbox.counts()
            held = f"{counted(customers, 'customer')} and {counted(events, 'custom event')}"
            return [f"The sandbox held {held}."]

        keys = Credentials(app_id="sandbox", token=Secret("sandbox"), url=sandbox.url, version=None)
        with closing(_link_to(keys, request.settings.delivery, "hold", NoJournal(), stop)) as link:
            yield Target(link, ledger, closing=holds)


def _link_to(
    keys: Credentials,
    delivery: Delivery,
    on_doubt: OnDoubt,
    journal: Journal,
    stop: Stop,
    accepted: Accepted = NOTHING_ACCEPTED,
    *,
    retries: bool = False,
) -> Link:
    from voucherify_sync.delivery.live import Link  # it needs requests, which a dry run does not

    return Link(keys, delivery, on_doubt, journal, stop, accepted, retries=retries)
