"""Where a report or a log is kept that could not be written where the user wanted it: below the state directory."""

from __future__ import annotations

from pathlib import Path

from voucherify_sync.bookkeeping.private import make_private_directory, trouble
from voucherify_sync.home import state_directory


def spare_file(folder: str, name: str) -> Path:
    """Return the place of a file below the state directory, whose folder is made.

    Raises:
        VoucherifySyncError: there is no state directory, or nothing can be made in it.
    """
    path = state_directory() / folder / name
    try:
        make_private_directory(path.parent)
    except OSError as error:
        raise trouble(path, error) from error
    return path
