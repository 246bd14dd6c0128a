"""The base URL of the API: checked and brought to one form. Opens no connection."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from voucherify_sync.settings.problems import Mistake

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATHS = {"", "/", "/v1", "/v1/"}


def clean_url(text: str) -> str:
    """Return the URL as `scheme://host[:port]`; a trailing slash and /v1 are tolerated.

    Raises:
        Mistake: no https URL (http is for loopback only: the keys travel in its headers), or more than an
            address. The message does not quote the URL, which may hold a password.
    """
    parts, host, port = _split(text)
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise Mistake("must not hold a user or password; the keys are api.key and api.token")
    if not (_HOST.fullmatch(host) or _is_ipv6(host)):
        raise Mistake("must name a host, such as https://api.voucherify.io")
    if parts.path not in _PATHS or "?" in text or "#" in text:
        raise Mistake("must end after the host; the paths of the API are added to it")
    if parts.scheme == "http" and not _is_loopback(host):
        raise Mistake("must begin with https://; http:// would show the keys to the network")
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}" + (f":{port}" if port else "")


def _split(text: str) -> tuple[SplitResult, str, int | None]:
    if not re.match(r"(?i)https?://", text):
        raise Mistake("must begin with https://")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Mistake("must not hold spaces, backslashes or letters beyond ASCII")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Mistake("is no valid URL; write it like https://api.voucherify.io") from None
    return parts, parts.hostname or "", port


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6 and "%" not in host
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
