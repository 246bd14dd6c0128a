"""Texts of settings files: what they load to, and the template with its examples."""

from __future__ import annotations

import re
from pathlib import Path

from voucherify_sync.settings import Settings, load


def loaded(folder: Path, text: str | bytes, **environment: str) -> Settings:
    """Return the settings that a file with this text gives."""
    file = folder / "s.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, environment=environment)


def uncommented(text: str) -> str:
    """Return the template with all its examples uncommented."""
    return re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)
