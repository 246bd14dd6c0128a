"""One question to a Voucherify project: do the keys work, what are limit and schema? It changes nothing there."""

from __future__ import annotations

from msgspec import Struct

from voucherify_sync.delivery.client import Client, NoAnswer, NotSent, Reply
from voucherify_sync.delivery.rate_headers import RateHeaders, read_rate_headers
from voucherify_sync.delivery.retry import halting, json_object
from voucherify_sync.delivery.unreachable import unreachable
from voucherify_sync.errors import RunStopped, WrongAddress
from voucherify_sync.previewing.online.schema import CustomerSchema, read_schema

_AGAIN = "Nothing is known of the keys; run the same command again later."


class Project(Struct, frozen=True):
    """What a project told.

    Attributes:
        rate: the API's limit as its headers have it.
        schema: of the customers' metadata; None if these keys may not read it.
    """

    rate: RateHeaders
    schema: CustomerSchema | None


def ask(client: Client) -> Project:
    """Ask for the metadata schemas; a key that may not read them is tried on the customers, so two calls at most.

    Raises:
        AccessRefused: the keys do not work.
        Unreachable: no connection can be had.
        WrongAddress: what answers is not the Voucherify API.
        RunStopped: no answer, trouble at the other end, or no call left.
    """
    reply = _call(client, "/v1/metadata-schemas")
    if reply.status in (403, 404):
        reply = _call(client, "/v1/customers", {"limit": "1"})
        _raise_unless_ok(reply)
        return Project(read_rate_headers(reply.headers), None)
    _raise_unless_ok(reply)
    return Project(read_rate_headers(reply.headers), read_schema(json_object(reply.body) or {}))


def _call(client: Client, path: str, params: dict[str, str] | None = None) -> Reply:
    try:
        return client.call("GET", path, params=params)
    except NotSent as error:
        raise unreachable(error) from None
    except NoAnswer as error:
        raise RunStopped(f"Voucherify cannot be asked: {error.detail}", _AGAIN) from None


def _raise_unless_ok(reply: Reply) -> None:
    if error := halting(reply):
        raise error
    status = reply.status
    if status == 429:
        raise RunStopped("Voucherify's limit is used up (HTTP 429)", _AGAIN)
    if status >= 500 or status == 408:
        raise RunStopped(f"Voucherify has trouble (HTTP {status})", _AGAIN)
    body = json_object(reply.body)
    if not 200 <= status < 300 or body is None or body.get("object") != "list":
        raise WrongAddress(
            f"What answers (HTTP {status}) is not the Voucherify API", "Check api.url and api.version."
        )
