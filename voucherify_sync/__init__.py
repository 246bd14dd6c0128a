"""Replay Segment event archives into Voucherify. The public names of the library, imported when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voucherify_sync.errors import ExitCode, VoucherifySyncError
    from voucherify_sync.events import Event, Json, Request
    from voucherify_sync.mapping.mapper import Mapper
    from voucherify_sync.outcomes import Outcome, State
    from voucherify_sync.run.options import Mode, RunOptions
    from voucherify_sync.run.run import Run
    from voucherify_sync.sandbox import Sandbox, SandboxOptions
    from voucherify_sync.settings import Settings, credentials, load

__all__ = [
    "Event",
    "ExitCode",
    "Json",
    "Mapper",
    "Mode",
    "Outcome",
    "Request",
    "Run",
    "RunOptions",
    "Sandbox",
    "SandboxOptions",
    "Settings",
    "State",
    "VoucherifySyncError",
    "credentials",
    "load",
]

_HOMES = {
    "voucherify_sync.errors": ("ExitCode", "VoucherifySyncError"),
    "voucherify_sync.mapping.mapper": ("Mapper",),
    "voucherify_sync.events": ("Json", "Request", "Event"),
    "voucherify_sync.outcomes": ("Outcome", "State"),
    "voucherify_sync.run.options": ("Mode", "RunOptions"),
    "voucherify_sync.run.run": ("Run",),
    "voucherify_sync.sandbox": ("Sandbox", "SandboxOptions"),
    "voucherify_sync.settings": ("Settings", "credentials", "load"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a script that needs one value must not load HTTP and YAML."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
