"""Tells which certificate authorities are trusted: those that the environment names, else those of requests."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from voucherify_sync.errors import UsageProblem

VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""The first that is set and not empty counts: what is said to Python's HTTP clients, to curl, and to all of OpenSSL."""


def trusted_authorities(environment: Mapping[str, str]) -> str | bool:
    """Return what requests takes as `verify`: the path of a bundle, or True for its own.

    Raises:
        UsageProblem: the variable that counts names nothing that holds certificates; else every call would fail for it.
    """
    for variable in VARIABLES:
        if path := environment.get(variable):
            # Only OpenSSL's own variable is by its definition a file; requests takes a folder of hashed names, too.
            if variable == "SSL_CERT_FILE" or not Path(path).is_dir():
                _check_bundle(variable, path)
            return path
    return True


def _check_bundle(variable: str, path: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
        problem = "" if context.cert_store_stats()["x509"] else "which holds no certificate"
    except FileNotFoundError:
        problem = "which is not there"
    except ssl.SSLError:
        problem = "which is no bundle of certificates in PEM form"
    except (OSError, ValueError) as error:
        problem = f"which cannot be read ({getattr(error, 'strerror', None) or 'no valid path'})"
    if problem:
        raise UsageProblem(
            f"{variable} names {path}, {problem}",
            f"Set {variable} to a file with the certificates of the authorities to trust, or unset it.",
        )
