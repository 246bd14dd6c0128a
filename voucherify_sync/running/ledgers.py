"""Which ledger a run uses: the one of its project, or the one that the user names; opened to write, or to read only."""

from __future__ import annotations

from pathlib import Path

from voucherify_sync.bookkeeping.ledger import Ledger
from voucherify_sync.bookkeeping.ledger_file import default_path, find_others, key_hash
from voucherify_sync.bookkeeping.ledger_lock import LedgerLock
from voucherify_sync.bookkeeping.ledger_reader import LedgerReader
from voucherify_sync.errors import UsageProblem
from voucherify_sync.home import expanded
from voucherify_sync.settings import Credentials, Settings, clean_url, digest
from voucherify_sync.stop import Stop


def ledger_path(settings: Settings, app_id: str | None) -> Path | None:
    """Return where the ledger of a project is, or None where nobody knows which project it is."""
    if settings.delivery.ledger is not None:
        return expanded(settings.delivery.ledger)
    return None if app_id is None else default_path(clean_url(settings.api.url), app_id)


def read_ledger(settings: Settings, app_id: str | None) -> LedgerReader:
    """Open the ledger for a preview, without a lock and without a trace; without a project it knows nothing."""
    path = ledger_path(settings, app_id)
    return LedgerReader.empty() if path is None else LedgerReader.read(path, clean_url(settings.api.url))


def check_free(settings: Settings, credentials: Credentials) -> None:
    """Look whether a run could write to the ledger just now, before anybody is asked anything.

    Raises:
        RunStopped: another run holds it.
    """
    path = ledger_path(settings, credentials.app_id)
    if path is not None and path.exists():
        LedgerLock(path).release()


def write_ledger(
    settings: Settings, credentials: Credentials, run_id: str, stop: Stop, *, new: bool
) -> Ledger:
    """Open the ledger for a run that sends.

    Args:
        settings: may name the ledger.
        credentials: say which project it is.
        run_id: the run that begins.
        stop: told when the ledger cannot be written any more.
        new: the user wants a new ledger although another key of this host has one.

    Raises:
        UsageProblem: keys were rotated, or it is no ledger of this URL, or it cannot be written.
        RunStopped: another run holds it, or the disk is full.
    """
    path = ledger_path(settings, credentials.app_id)
    assert path is not None  # noqa: S101  # credentials have an app_id
    if settings.delivery.ledger is None and not new:
        _refuse_rotated_keys(path, credentials)
    return Ledger.open(
        path,
        credentials.url,
        key_hash(credentials.app_id),
        run_id=run_id,
        settings_digest=digest(settings),
        stop=stop,
    )


def _refuse_rotated_keys(path: Path, credentials: Credentials) -> None:
    """Stop before a project is sent everything again, only because its keys were changed.

    Raises:
        UsageProblem: this key has no ledger yet, and another one of the same host has.
    """
    others = [] if path.exists() else find_others(credentials.url, credentials.app_id)
    if others:
        raise UsageProblem(
            f"this key has no ledger yet, but another key of {credentials.url} has: {others[0]}",
            "If the keys of the same project were changed, go on with --ledger and that file; "
            "for another project, start afresh with --new-ledger.",
        )
