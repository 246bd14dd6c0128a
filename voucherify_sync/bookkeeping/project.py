"""Which Voucherify project a ledger belongs to: the pairs of address and Application ID by which it was used."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Self
from urllib.parse import urlsplit

from msgspec import Struct

SANDBOX_KEY: Final = "sandbox-"
"""Application IDs that a sandbox made begin so: what it is sent says nothing about any project."""

_HASH_DIGITS: Final = 12
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_THIS_MACHINE: Final = {"localhost", "127.0.0.1", "::1"}


class ProjectIdentity(Struct, frozen=True):
    """One address and Application ID by which a project is known.

    Attributes:
        origin: scheme, host and port of the API, as `origin_of` returns them.
        key: hexadecimal digits that stand for the Application ID and do not tell it.
        is_sandbox: a sandbox made the Application ID.
    """

    origin: str
    key: str
    is_sandbox: bool = False

    @classmethod
    def of(cls, url: str, app_id: str) -> Self:
        """Return the identity of an API URL and an Application ID."""
        key = blake2b(app_id.encode(), digest_size=_HASH_DIGITS // 2).hexdigest()
        return cls(origin_of(url), key, app_id.startswith(SANDBOX_KEY))

    def __str__(self) -> str:
        return f"{self.origin} with the key {self.key}"


def origin_of(url: str) -> str:
    """Return scheme, lower-case host and port of a URL, the port only where it is not the scheme's own.

    ``localhost``, ``127.0.0.1`` and ``[::1]`` are one host. The path does not count.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _THIS_MACHINE:
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
