"""A request in, the curl command that makes it out: keys as variables, and data that no shell can misread."""

from __future__ import annotations

import re
import shlex
from typing import Final

from voucherify_sync.preview.explain import Explanation
from voucherify_sync.settings import Api, Secret
from voucherify_sync.settings.load import masked
from voucherify_sync.text import clean

from .json_text import harmless

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-.*)?\}")


def curl(explanation: Explanation, path: str | None, api: Api) -> str:
    """Return the command of one request, or a comment that says why there is none.

    Args:
        explanation: of one event.
        path: of the call.
        api: where it would go; its secrets are never shown.
    """
    where = clean(str(explanation.record.position), 4_096)
    if explanation.request is None or path is None:
        return f"# {where}: {explanation.outcome.state}, {clean(explanation.outcome.reason or '')}\n"
    version = [] if api.version == "latest" else [f"X-Voucherify-API-Version: {api.version}"]
    body = harmless(explanation.request.payload.decode())
    words = [
        f"curl --request POST {shlex.quote(api.url + path)}",
        f'--header "X-App-Id: ${_name(api.key, "VOUCHERIFY_API_KEY")}"',
        f'--header "X-App-Token: ${_name(api.token, "VOUCHERIFY_API_TOKEN")}"',
        *(f"--header {shlex.quote(header)}" for header in version),
        "--header 'Content-Type: application/json'",
        f"--data-raw {shlex.quote(body)}",
    ]
    return f"# {where}\n" + " \\\n  ".join(words) + "\n"


def _name(secret: Secret, default: str) -> str:
    """Return the variable that the settings take a secret from, else the usual one."""
    named = _VARIABLE.fullmatch(masked(secret))
    return named[1] if named else default
