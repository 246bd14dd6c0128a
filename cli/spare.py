"""Names the place in the state directory for a report or a log that cannot be written to the file of the user."""

from __future__ import annotations

from pathlib import Path

from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.private_files import make_private_directory, write_error


def spare_file(folder: str, name: str) -> Path:
    """Make a folder of the state directory; return the path of a file in it.

    Raises:
        VoucherifySyncError: there is no state directory, or the folder cannot be made.
    """
    path = state_directory() / folder / name
    try:
        make_private_directory(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    return path
