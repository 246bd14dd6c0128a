"""The error of a run that never reached Voucherify: what was tried, and what to check."""

from __future__ import annotations

from typing import Final

from voucherify_sync.delivery.answer import NotSent
from voucherify_sync.errors import Unreachable

_CHECKS: Final = {
    "dns": "Check the host in api.url, and that this machine can resolve names.",
    "refused": "Check host and port in api.url, and the network. Where only a proxy leads out, set HTTPS_PROXY.",
    "connect_timeout": (
        "Check host and port in api.url, and the firewall. Where only a proxy leads out, set HTTPS_PROXY."
    ),
    "tls": (
        "Check the host in api.url and the clock of this machine. Where the network opens secure connections, set "
        "SSL_CERT_FILE to a file with its certificates."
    ),
    "proxy": (
        "Check HTTPS_PROXY: its address, user and password, and that it may connect to the host in api.url. To go "
        "without it, name that host in NO_PROXY."
    ),
}
"""Reason of a NotSent -> what to check."""


def unreachable(error: NotSent) -> Unreachable:
    """Return the error to stop with where nothing was ever reached."""
    return Unreachable(f"Voucherify cannot be reached: {error.detail}", _CHECKS[error.reason])
