"""Finds the home directory and the state directory of the user. In a container there may be neither."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import platformdirs

from voucherify_sync.errors import UsageProblem


def state_directory() -> Path:
    """Return the directory of ledgers and dead letters, in the user's state directory. It need not exist.

    Raises:
        UsageProblem: the user has none. A relative one counts as none: the same command would not find its ledger in
            another folder, and would send everything again.
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
    has_home = Path(
        os.environ.get("HOME", "")
    ).is_absolute()  # `HOME=` would make a path from the root of ~/file
    try:
        if path.parts[:1] == ("~",) and not has_home:
            return Path(pwd.getpwuid(os.getuid()).pw_dir, *path.parts[1:])
        return path.expanduser()
    except (KeyError, RuntimeError):
        raise UsageProblem(
            f"{text}: there is no home directory for ~ to stand for.", "Write the whole path, or set HOME."
        ) from None
