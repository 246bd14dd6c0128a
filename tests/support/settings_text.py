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
    return re.sub(r"^( *)#(?=\S|  )", r"\1", text, flags=re.MULTILINE)


def pasted(text: str, printed: str) -> str:
    """Return the text of a settings file after one has pasted each part of what `coverage` printed where it says."""
    lines = text.split("\n")
    at: int | None = None if text else 0
    is_in_place = False
    for line in printed.split("\n"):
        if heading := re.match(r"# Line (\d+) of .*?(: write)?$", line):
            at, is_in_place = int(heading[1]), bool(heading[2])
        elif line.startswith("# At the end of"):
            at = len(lines)
        elif line and at is not None:
            if is_in_place:
                at, is_in_place = at - 1, False
                del lines[at]
            lines.insert(at, line)
            at += 1
    return "\n".join(lines)
