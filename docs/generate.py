"""Make pages from the code and from benchmark results: `python docs/generate.py`; `--check` compares them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from generating import (
    commands,
    conditions,
    directives,
    exit_codes,
    filters,
    performance,
    probe,
    reasons,
    report,
    sandbox,
    settings,
)

PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/settings.md": settings.page,
    "reference/directives.md": directives.page,
    "reference/filters.md": filters.page,
    "reference/conditions.md": conditions.page,
    "reference/commands.md": commands.page,
    "reference/exit-codes.md": exit_codes.page,
    "reference/report.md": report.page,
    "reference/reasons.md": reasons.page,
    "reference/sandbox.md": sandbox.page,
    "reference/probe.md": probe.page,
    "performance.md": performance.page,
}
"""File in this folder -> the function that makes it."""

FOLDER: Final = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` name those that differ; return the exit code."""
    differ = [name for name, page in PAGES.items() if not _is_written(name, page())]
    if arguments == ["--check"]:
        sys.stdout.writelines(
            f"{name} differs from the code: run python docs/generate.py\n" for name in differ
        )
        return int(bool(differ))
    if arguments:
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    for name in differ:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
    return 0


def _is_written(name: str, text: str) -> bool:
    file = FOLDER / name
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
