"""Opens the ledger of a command: to read it in a preview, or to write it in a run that sends."""

from __future__ import annotations

from pathlib import Path

from voucherify_sync.bookkeeping.ledger import Ledger, RunStart
from voucherify_sync.bookkeeping.ledger_lock import LedgerLock
from voucherify_sync.bookkeeping.ledger_place import LedgerChoice, Place, find_place
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.bookkeeping.project import ProjectIdentity, origin_of
from voucherify_sync.home import expanded
from voucherify_sync.running.letters import letters_of_earlier_files
from voucherify_sync.settings import Settings, clean_url
from voucherify_sync.stop import Stop


def named_ledger(settings: Settings) -> Path | None:
    """Return the ledger that the settings name, None if they name none.

    Raises:
        UsageProblem: it begins with `~`, and there is no home directory.
    """
    return None if settings.delivery.ledger is None else expanded(settings.delivery.ledger)


def place_of(settings: Settings, app_id: str | None, choice: LedgerChoice) -> Place:
    """Find the ledger of a project.

    Args:
        settings: tell the API's URL.
        app_id: the Application ID, None where it is not known.
        choice: what the user says of the ledger.

    Raises:
        UsageProblem: the file cannot be looked at, or is no ledger of a version that is known.
    """
    url = clean_url(settings.api.url)
    return find_place(choice, origin_of(url), None if app_id is None else ProjectIdentity.of(url, app_id))


def read_ledger(place: Place) -> LedgerReader:
    """Open a ledger without a lock and without a trace; one that is to be made knows nothing."""
    return LedgerReader.empty() if place.path is None else LedgerReader.read(place.path)


def check_free(place: Place) -> None:
    """Look whether a run could write to a ledger just now, before anybody is asked anything.

    Raises:
        RunStopped: another run holds it.
    """
    if place.path is not None and place.path.exists():
        LedgerLock(place.path).release()


def write_ledger(place: Place, choice: LedgerChoice, start: RunStart, stop: Stop) -> Ledger:
    """Open the ledger for a run that sends.

    Args:
        place: as it was found.
        choice: what the user says of the ledger.
        start: the run.
        stop: told when the ledger cannot be written any more.

    Raises:
        UsageProblem: the ledger must not be used, or cannot be written.
        RunStopped: another run holds it, or the disk is full.
    """
    if place.problem is not None:
        raise place.problem
    assert place.path is not None  # noqa: S101  # a run that sends knows its key
    ledger = Ledger.open(
        place.path,
        start,
        stop=stop,
        is_new=place.is_new,
        same_project=place.adds_identity,
        is_whole=choice.is_whole,
    )
    if ledger.has_old_files:
        _take_over_letters(ledger)
    return ledger


def _take_over_letters(ledger: Ledger) -> None:
    """Give the failed records of an earlier version their events, from the files in which it kept them."""
    for record, letter in letters_of_earlier_files():
        ledger.complete(record, letter.status, letter.answer)
    ledger.has_taken_over()
    ledger.flush()
