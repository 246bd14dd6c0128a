"""What of a settings file is secret: what may be shown of it, and who else can read it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from voucherify_sync.errors import UsageProblem
from voucherify_sync.settings.environment import token_file
from voucherify_sync.settings.loading import settings_file
from voucherify_sync.settings.types import Secret, Settings

_REFERENCES = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\})+")
_DEFAULT = re.compile(r":-[^}]+\}")


def masked(secret: Secret) -> str:
    """Return what may be shown of a secret: references to variables as they are, all else as `***`."""
    text = secret.reveal()
    return _DEFAULT.sub(":-***}", text) if _REFERENCES.fullmatch(text) else "***"


def holds_literal(secret: Secret) -> bool:
    """Tell whether the file itself holds a secret, and not only the name of a variable."""
    text = secret.reveal()
    return not _REFERENCES.fullmatch(text) or _DEFAULT.search(text) is not None


def warnings(path: Path | None, settings: Settings) -> list[str]:
    """Return a sentence for each file with a secret that other users of the machine can read.

    Args:
        path: the settings file as it was given to `load`.
        settings: what `load` made of it.
    """
    api = settings.api
    files: list[Path | None] = []
    with suppress(UsageProblem):  # a file that cannot be found is open to nobody
        files.append(token_file(api))
    if holds_literal(api.token) or holds_literal(api.key):
        files.insert(0, settings_file(path))
    return [
        f"{file} holds a key and is open to other users; `chmod 600 {file}`, or keep the key in a variable"
        for file in files
        if file is not None and _is_shared(file)
    ]


def _is_shared(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_mode & 0o077 != 0
    except OSError:
        return False
