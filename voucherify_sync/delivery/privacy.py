"""What an answer repeats of its request is hidden: an answer comes in, and goes out fit to be shown and logged.

Errors of the API, and the pages of proxies, like to quote what they are about: values of the customer, even the token.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from voucherify_sync.delivery.answer import Answer, Reply
from voucherify_sync.model import Operation
from voucherify_sync.settings.types import Secret

HIDDEN = b"***"
_MOST = 64 << 10
"""Bytes of an answer that are looked at: an error that is longer is not the API's, and of it only little is kept."""
_SHORTEST = 4
"""Shorter texts, such as a country code, say little and are part of ordinary words."""


def presentable(answer: Answer, sent: Iterable[Any], token: Secret) -> Answer:
    """Return an answer without the token and without the texts in JSON values that were sent.

    It stays the JSON that it was. It is to be cut afterwards: a text that is cut in two is not found.
    """
    if not isinstance(answer, Reply):
        return answer
    body = hide(answer.body[:_MOST], (), token)
    for value in sent if body else ():
        body = hide(body, value, token)
    return msgspec.structs.replace(answer, body=body)


def sent_of_customer(operation: Operation) -> list[Any]:
    """Return what was sent of the customer and as metadata. The event's own name is shown everywhere."""
    body = operation.body
    return [[body.get("customer"), body.get("metadata")] if "customer" in body else body]


def hide(said: bytes, sent: Any, token: Secret) -> bytes:
    """Return what was said without the token and without the texts in a JSON value that was sent."""
    texts = {text for text in _texts(sent) if len(text) >= _SHORTEST}
    for text in sorted({token.reveal(), *texts}, key=len, reverse=True):
        for written in {text.encode(errors="replace"), json.dumps(text)[1:-1].encode()}:
            said = said.replace(written, HIDDEN)
    return said


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
