"""The home directory of the user and what is kept below it; in a container there may be none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import platformdirs

from voucherify_sync.errors import UsageProblem


def state_directory() -> Path:
    """Return where ledgers and dead letters are kept: voucherify-sync in the user's state directory. It need not exist.

    Raises:
        UsageProblem: the user has none. A relative place is as good as none: whoever runs the same command in another
            folder would find nothing of what was sent.
    """
    try:
        path = platformdirs.user_state_path("voucherify-sync", appauthor=False)
    except RuntimeError:
        path = Path()
    if not path.is_absolute():
        raise UsageProblem(
            "there is no state directory: the user has no home directory, and XDG_STATE_HOME is no absolute path.",
            "Name the ledger with --ledger FILE, or set XDG_STATE_HOME to a directory that stays.",
        )
    return path


def expanded(text: str) -> Path:
    """Return a path in which `~` at the beginning is a home directory.

    Raises:
        UsageProblem: there is no such home directory.
    """
    path = Path(text)
    try:
        if path.parts[:1] == ("~",) and not Path(os.environ.get("HOME", "")).is_absolute():
            return Path(
                pwd.getpwuid(os.getuid()).pw_dir, *path.parts[1:]
            )  # `HOME=` would make it a path from the root
        return path.expanduser()
    except (KeyError, RuntimeError):
        raise UsageProblem(
            f"{text}: there is no home directory for ~ to stand for.", "Write the whole path, or set HOME."
        ) from None
