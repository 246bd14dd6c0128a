"""Single modules of the command line, found through the installed command: no test needs its import name."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any


def cli_module(name: str) -> Any:
    """Import a module of the package that holds the command, such as ``summary``."""
    command = next(iter(entry_points(group="console_scripts", name="voucherify-sync")))
    return import_module(f"{command.module.rpartition('.')[0]}.{name}")
