"""Find out by a test customer which assumptions about Voucherify hold in one project, and delete the customer.

`ASSUMPTIONS` is the table of all findings; each step of `Probe` fills some of them. A step that fails leaves its
findings unknown, and the rest goes on. No text of an answer gets into the report: it holds statuses, counts, times and
words of this module alone, so that it can be shown to others.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from voucherify_sync.errors import RunStopped, VoucherifySyncError
from voucherify_sync.events import Json, Kind
from voucherify_sync.settings.types import Credentials
from voucherify_sync.stop import Stop
from voucherify_sync.text import PERIODS, span, utc_text
from voucherify_sync.voucherify.activity import CUSTOM_EVENT, activity_path, event_of, name_of
from voucherify_sync.voucherify.answers import Answer, NotSent, Reply, unreachable_error
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.limited_client import ApiCall, LimitedClient
from voucherify_sync.voucherify.limited_client import Probe as HarmlessCall
from voucherify_sync.voucherify.probe_findings import (
    ASSUMPTIONS,
    OLD_VERSION,
    ORDER_STEP,
    Deleted,
    Finding,
    ProbeReport,
)
from voucherify_sync.voucherify.project import raise_unless_ok
from voucherify_sync.voucherify.rate_limit import (
    HOUR_S,
    MINUTE_S,
    Bucket,
    Limiter,
    RateHeaders,
    read_rate_headers,
)
from voucherify_sync.voucherify.retry_policy import json_object, stopping_error

EVENT_NAME: Final = "voucherify_sync_probe"
CUSTOMER_NAME: Final = "voucherify-sync probe"
MARK: Final[Json] = {EVENT_NAME: True}
"""Metadata of everything that a probe makes."""
MIN_CALLS_LEFT: Final = 40
DEADLINE_S: Final = 20.0
"""Total time of one call."""

_READ_PAUSES_S: Final = (0.0, 2.0, 8.0)
"""Before each read of what was just written."""
_LOOK_PAUSES_S: Final = (0.0, 2.0, 5.0, 10.0, 18.0, 25.0)
"""Before each look at the activity: 60 s in all."""
_POLL_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0)
_RETRY_PAUSES_S: Final = (1.0, 3.0)
"""Between the three tries to create and to delete the customer."""
_LONGEST_WAIT_S: Final = 90.0
"""A server that asks for a longer wait ends the probe."""
_ROUNDING_S: Final = 2.0
_FAR_AHEAD: Final = "2100-01-01T00:00:00Z"
"""A start_date which leaves nothing of an activity, whatever the clocks say."""
_ODD_VERSION: Final = "v0000-00-00"
_NOT_PERMITTED: Final = "not permitted (HTTP 403)"
_IMPORT_PATH: Final = "/v1/orders/import"
_NEEDS_CUSTOMER: Final = "the customer could not be created or read"


class _Stopping(Exception):
    """The probe is to end: a signal came."""


class _CallTrace(Struct, frozen=True):
    """One call that was made.

    Attributes:
        call: method and path, without ids.
        status: of the answer, or why there was none.
        said: its rate headers; None where it was no answer.
        bucket: the limit that it is assumed to count against.
        wall: epoch seconds of this machine when it was answered.
        took_s: until the answer.
        is_refused: it is proved that it was not processed.
    """

    call: str
    status: int | str
    said: RateHeaders | None
    bucket: Bucket
    wall: float
    took_s: float
    is_refused: bool

    @property
    def is_well(self) -> bool:
        """Whether it was answered as a call that counts against a limit."""
        return isinstance(self.status, int) and (self.status < 300 or self.status == 404)

    def evidence(self) -> Json:
        """Return what may be shown of it."""
        shown: Json = {"call": self.call, "status": self.status, "s": round(self.took_s, 3)}
        if self.said is not None:
            headers = {
                "X-Rate-Limit-Limit": self.said.limit,
                "X-Rate-Limit-Remaining": self.said.remaining,
                "X-Rate-Limit-Retry": self.said.next_at,
                "Retry-After": self.said.retry_after_s,
            }
            shown |= {name: value for name, value in headers.items() if value is not None}
        return shown


class _NoGate:
    """Lets every call through: a probe makes each one once."""

    is_open = False

    def enter(self, kind: Kind | None, probe: HarmlessCall) -> bool:
        return True

    def leave(self, kind: Kind, is_well: bool | None, answer: Answer | None = None) -> None:
        pass


class Probe:
    """One probe of a project: `look`, then, once a person has agreed, `run`.

    Args:
        client: makes the calls; it must not be stopped by `stop`, for the deletion comes after it.
        keys: of the project.
        stop: ends the probe early; what it made is deleted all the same.
        with_order: one order is imported, which stays.
        wait: sleeps until a stop is requested or some seconds are over.
        clock: monotonic seconds.
        wall: epoch seconds.
        observe: takes a sentence where the probe waits for long.

    Attributes:
        source_id: of the customer.
        order_id: source_id of the order.
        error: what ended the probe early, if something did.
    """

    def __init__(
        self,
        client: Client,
        keys: Credentials,
        stop: Stop,
        *,
        with_order: bool = False,
        wait: Callable[[Stop, float], object] = Stop.wait,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        observe: Callable[[str], object] = lambda _: None,
    ) -> None:
        now = datetime.fromtimestamp(wall(), UTC)
        self.source_id = f"voucherify-sync-probe-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self.order_id = f"{self.source_id}-order"
        self.error: VoucherifySyncError | None = None
        self._keys, self._stop, self._with_order = keys, stop, with_order
        self._wait, self._clock, self._wall, self._observe = wait, clock, wall, observe
        self._started_at = utc_text(now)
        self._deletion_stop = Stop()  # nothing requests it: what was made is deleted whatever comes
        self._client, self._deleting_client = (
            LimitedClient(
                client,
                Limiter(stop=each, reserve=0.0, clock=clock, wall=wall),
                _NoGate(),
                each,
                leaves_calls=True,
                clock=clock,
            )
            for each in (stop, self._deletion_stop)
        )
        self._calls: list[_CallTrace] = []
        self._is_spent = False  # the last answer asks for a long wait
        self._step_began = 0
        self._findings: dict[str, Finding] = {}
        self._deleted = Deleted(self.source_id)
        self._has_metadata = True
        self._is_readable = False
        self._customer: Json = {}  # as it was read or answered last

    def look(self) -> None:
        """Make the first call, which changes nothing. It says nothing where a stop was requested meanwhile.

        Raises:
            AccessRefused: the keys do not work.
            Unreachable: no connection can be had.
            WrongAddress: what answers is not the Voucherify API.
            RunStopped: the limit is used up, or fewer calls are left than a probe may take.
        """
        try:
            answer = self._call("GET", "/v1/customers", params={"limit": "1"})
        except _Stopping:
            return
        if isinstance(answer, NotSent):
            raise unreachable_error(answer)
        if isinstance(answer, Reply) and answer.status < 500 and answer.status not in (403, 429):
            raise_unless_ok(answer)
        said = read_rate_headers(answer.headers) if isinstance(answer, Reply) else RateHeaders()
        is_spent = isinstance(answer, Reply) and answer.status == 429
        if is_spent or (said.remaining is not None and said.remaining < MIN_CALLS_LEFT):
            left = 0 if is_spent else said.remaining
            raise RunStopped(
                f"{left} calls are left until the limit begins again, and a probe takes up to {MIN_CALLS_LEFT}.",
                "Nothing was written. Run the same command again when the limit has begun again.",
            )

    def run(self) -> ProbeReport:
        """Make all steps, delete what was made, and return what was found. It raises nothing: see `error`."""
        steps: list[Callable[[], None]] = [
            self._create,
            self._update,
            self._send_nulls,
            self._send_unknown_fields,
            self._read_other_ids,
            self._send_event,
            self._look_for_event,
            self._update_in_bulk,
            self._send_versions,
        ]
        if self._with_order:
            steps.append(self._import_orders)
        try:
            for step in steps:
                self._step_began = len(self._calls)
                step()
        except VoucherifySyncError as error:
            self.error = error
        except _Stopping:
            pass
        finally:
            self._delete()
        self._judge_headers()
        return self._report()

    def _report(self) -> ProbeReport:
        findings, switches = [], {}
        for id_, assumption in ASSUMPTIONS.items():
            if assumption.step == ORDER_STEP and not self._with_order:
                continue
            if id_ not in self._findings:  # it says nothing of the project, so there is no advice either
                self._findings[id_] = Finding(
                    id_, assumption.assumed, None, None, {}, "the probe ended before"
                )
            finding = self._findings[id_]
            findings.append(finding)
            if assumption.switch and finding.found is not None:
                value = finding.found
                switches[assumption.switch] = value if isinstance(value, str) else f"{value:.10g}"
        limit, period = (self._findings[id_].found for id_ in ("limit", "period"))
        if limit is not None and period is not None:
            switches["limit"] = f"{limit:.10g}/{'min' if period == PERIODS[MINUTE_S] else 'h'}"
        is_order_made = any(
            call.call == f"POST {_IMPORT_PATH}" and not call.is_refused for call in self._calls
        )
        zero_amount = self._findings.get("order_zero_amount")
        if is_order_made and (zero_amount is None or zero_amount.found != "fail"):
            self._deleted.order = (
                self.order_id
            )  # it stays: after a lost answer, too, nothing shows that it was not made
        return ProbeReport(
            version=version("voucherify-sync"),
            url=self._keys.url,
            app_id_prefix=self._keys.app_id[:4],
            started_at=self._started_at,
            calls=len(self._calls),
            deleted=self._deleted,
            findings=findings,
            switches=switches,
        )

    # Calls.

    def _call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        template: str = "",
        params: dict[str, str] | None = None,
        bucket: Bucket = Bucket.API,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Make one call; after a 429, which proves that nothing was processed, once more.

        Raises:
            _Stopping: a stop was requested.
            VoucherifySyncError: the answer concerns the project, or asks for a long wait.
        """
        payload = None if body is None else msgspec.json.encode(body)
        call = ApiCall(
            method, path, payload, bucket=bucket, template=template, params=params, headers=headers
        )
        for is_last in (False, True):
            if self._is_spent:
                raise RunStopped(
                    "Voucherify's limit is used up", "Run the same command again when it has begun again."
                )
            answer = self._traced(self._client, call)
            if not isinstance(answer, Reply):
                return answer
            is_throttled = answer.status == 429
            if (answer.status != 403 and (300 <= answer.status < 403 or is_throttled)) and (
                error := stopping_error(answer)
            ):
                raise error
            if not is_throttled or is_last:
                return answer
        raise AssertionError

    def _traced(self, client: LimitedClient, call: ApiCall) -> Answer:
        began = self._clock()
        answer = client.read(call)
        if answer is None:
            raise _Stopping
        is_reply = isinstance(answer, Reply)
        self._calls.append(
            _CallTrace(
                f"{call.method} {call.endpoint}",
                answer.status if isinstance(answer, Reply) else answer.reason,
                read_rate_headers(answer.headers) if isinstance(answer, Reply) else None,
                call.bucket,
                self._wall(),
                self._clock() - began if is_reply else DEADLINE_S,
                _is_refused(answer),
            )
        )
        if call.bucket is Bucket.API or (isinstance(answer, Reply) and answer.status == 429):
            self._is_spent = _asked_s(answer) > _LONGEST_WAIT_S
        if client is self._client and self._stop.requested:
            raise _Stopping
        return answer

    def _pause(self, seconds: float) -> None:
        """Wait; raise `_Stopping` where a stop was requested."""
        if seconds:
            self._wait(self._stop, seconds)
        if self._stop.requested:
            raise _Stopping

    def _get(self, source_id: str, **options: Any) -> Answer:
        path = f"/v1/customers/{quote(source_id, safe='')}"
        return self._call("GET", path, template="/v1/customers/{id}", **options)

    def _save(self, fields: Json, **metadata: Any) -> Answer:
        """Post the customer with fields, and with metadata unless the project refuses it."""
        body = {"source_id": self.source_id, **fields}
        if self._has_metadata and metadata:
            body["metadata"] = {**metadata, **MARK}
        return self._call("POST", "/v1/customers", body)

    def _read_back(self, is_new: Callable[[Json], bool]) -> float | None:
        """Read the customer until it shows what was written; return after how many seconds that was, None: never.

        What was read last is kept in `_customer`.
        """
        began = self._clock()
        for pause_s in _READ_PAUSES_S:
            self._pause(pause_s)
            customer = _customer_of(self._get(self.source_id))
            if customer is not None:
                self._customer, self._is_readable = customer, True
                if is_new(customer):
                    return self._clock() - began
        return None

    # Findings.

    def _find(self, id_: str, found: str | float | None, why: str = "", **evidence: Any) -> None:
        """Keep a finding, with the calls of the present step as its evidence.

        Args:
            id_: of the finding.
            found: None where it is not known.
            why: it is not known.
            evidence: more of it.
        """
        assumption = ASSUMPTIONS[id_]
        holds = assumption.holds(found)
        step, meaning = self._calls[self._step_began :], ""
        if holds is None and any(call.status == 403 for call in step):
            why = _NOT_PERMITTED
        if holds is None:
            meaning = "; ".join(filter(None, (why, assumption.meanings.get("", ""))))
        elif not holds:
            meaning = assumption.meanings.get(str(found), "")
        calls = [call.evidence() for call in step]
        evidence = {**({"calls": calls} if calls else {}), **evidence}
        self._findings[id_] = Finding(id_, assumption.assumed, found, holds, evidence, meaning)

    def _leave_unknown(self, why: str | Answer, *ids: str) -> None:
        """Keep that findings are not known, and why."""
        for id_ in ids:
            self._find(id_, None, why if isinstance(why, str) else _trouble(why))

    # Steps.

    def _create(self) -> None:
        fields: Json = {"name": CUSTOMER_NAME, "address": {"city": "Probe", "line_1": "Probe"}}
        self._deleted.is_customer_gone = False
        for pause_s in (0.0, *_RETRY_PAUSES_S):
            self._pause(pause_s)
            answer = self._save(fields, a=1, b=2)
            if not isinstance(answer, Reply) or answer.status >= 500 or answer.status == 429:
                continue
            # 403 stops, too: without customers there is nothing to try.
            if (error := stopping_error(answer)) is not None:
                raise error
            break
        if _refuses_fields(answer):
            self._has_metadata = False
            without = self._save(fields)
            if _customer_of(without) is None:
                self._has_metadata = True
                self._leave_unknown(answer, "metadata_allowed", "undefined_metadata", "read_lag_s")
                return
            self._find("metadata_allowed", "reject")
            self._leave_unknown("the project refuses metadata that it does not define", "undefined_metadata")
            answer = without
        created = _customer_of(answer)
        if created is None:
            self._leave_unknown(answer, "metadata_allowed", "undefined_metadata", "read_lag_s")
            return
        self._customer = created
        lag_s = self._read_back(lambda _: True)
        if lag_s is None:
            self._leave_unknown(f"not within {span(sum(_READ_PAUSES_S))}", "read_lag_s")
        else:
            has_waited = lag_s >= _READ_PAUSES_S[1]
            self._find("read_lag_s", round(lag_s, 1) if has_waited else 0)
        if self._has_metadata:
            metadata = _object(self._customer.get("metadata"))
            kept = metadata.get("a"), metadata.get("b")
            is_kept = any(value is not None for value in kept)
            self._find("metadata_allowed", "accept" if is_kept else None, "it does not come back")
            is_same = kept == (1, 2) and not any(isinstance(value, str) for value in kept)
            self._find("undefined_metadata", "keep" if is_same else "text" if kept == ("1", "2") else "other")

    def _update(self) -> None:
        before, ids = self._customer, ("metadata_update", "address_update")
        if not before:
            return self._leave_unknown(_NEEDS_CUSTOMER, *ids)
        answer = self._save({"address": {"city": "Probe 2"}}, b=3)
        if (answered := _customer_of(answer)) is None:
            return self._leave_unknown(answer, *ids)
        self._customer = answered

        def city(customer: Json) -> Any:
            return _object(customer.get("address")).get("city")

        self._read_back(lambda customer: bool(city(customer) == "Probe 2"))
        metadata, address = (_object(self._customer.get(name)) for name in ("metadata", "address"))
        if city(self._customer) != "Probe 2":
            return self._leave_unknown("the update could not be read", *ids)
        had_line = _object(before.get("address")).get("line_1") is not None
        found = ("merge" if address.get("line_1") is not None else "replace") if had_line else None
        self._find("address_update", found, "the address was not stored")
        had_key = _object(before.get("metadata")).get("a") is not None
        found = ("merge" if metadata.get("a") is not None else "replace") if had_key else None
        self._find("metadata_update", found, "there is no metadata to update")
        return None

    def _send_nulls(self) -> None:
        before = self._customer
        if not before.get("name"):
            return self._leave_unknown(_NEEDS_CUSTOMER, "nulls")
        answer = self._save({"name": None}, a=None, b=3)
        if _refuses_fields(answer):
            return self._find("nulls", "reject")
        if (answered := _customer_of(answer)) is None:
            return self._leave_unknown(answer, "nulls")
        self._customer = answered
        self._read_back(lambda customer: customer.get("updated_at") == answered.get("updated_at"))
        is_cleared = [self._customer.get("name") is None]
        if _object(before.get("metadata")).get("a") is not None:
            is_cleared.append(_object(self._customer.get("metadata")).get("a") is None)
        found = "clear" if all(is_cleared) else "mixed" if any(is_cleared) else "ignore"
        self._find("nulls", found, is_name_cleared=is_cleared[0])
        return None

    def _send_unknown_fields(self) -> None:
        answer = self._save({"firstName": "Probe", "system_metadata": {"source": "voucherify-sync"}})
        if _refuses_fields(answer):
            self._find("unknown_fields", "reject")
        elif _customer_of(answer) is None:
            self._leave_unknown(answer, "unknown_fields")
        else:
            self._find("unknown_fields", "ignore")

    def _read_other_ids(self) -> None:
        others = (
            ("source_id_blanks", " " + self.source_id, "opaque", "trimmed"),
            ("source_id_case", self.source_id.upper(), "sensitive", "insensitive"),
        )
        for id_, other, not_found, found in others:
            if not self._is_readable:
                self._leave_unknown(_NEEDS_CUSTOMER, id_)
                continue
            self._step_began = len(self._calls)
            answer = self._get(other)
            status = answer.status if isinstance(answer, Reply) else None
            is_clear = status == 404 or _customer_of(answer) is not None
            value = (not_found if status == 404 else found) if is_clear else None
            self._find(id_, value, _trouble(answer))

    def _send_event(self) -> None:
        body = {
            "event": EVENT_NAME,
            "customer": {"source_id": self.source_id},
            "metadata": {"messageId": self.source_id, **MARK},
        }
        answer = self._call("POST", "/v1/events", body)
        status = answer.status if isinstance(answer, Reply) else None
        if status in (400, 404, 422):
            self._find("undefined_events", "reject")
        else:
            is_accepted = (_object_of(answer) or {}).get("object") == "event"
            self._find("undefined_events", "accept" if is_accepted else None, _trouble(answer))

    def _look_for_event(self) -> None:
        ids = ("activity", "activity_shape", "activity_metadata", "activity_dates")
        if self._findings["undefined_events"].found == "reject":
            return self._leave_unknown("the event was refused", *ids)
        self._observe("Looking for the event in the customer's activity: up to a minute.")
        began, looks = self._clock(), 0
        row: Json | None = None
        for pause_s in _LOOK_PAUSES_S:
            self._pause(pause_s)
            looks += 1
            answer = self._look_at_activity()
            if isinstance(answer, Reply) and answer.status == 403:
                break
            if row := next(_rows_of_event(answer), None):
                break
        lag_s = self._clock() - began
        if row is None:
            return self._leave_unknown("no row within 60 s" if _is_list(answer) else answer, *ids)
        self._find("activity", 0 if looks == 1 else round(lag_s, 1))
        data = _object(row.get("data"))
        nested, event = _object(data.get("data")), event_of(row)
        shape = "nested" if nested.get("event") else "flat" if data.get("event") else "other"
        self._find("activity_shape", shape)
        metadata, sent = _object(event.get("metadata")), {"messageId": self.source_id, **MARK}
        found = "same" if metadata == sent else "none" if not metadata else "other"
        if metadata == {key: value if isinstance(value, str) else "true" for key, value in sent.items()}:
            found = "strings"
        self._find("activity_metadata", found)
        answer = self._look_at_activity(start_date=_FAR_AHEAD)
        value = "ignore" if any(_rows_of_event(answer)) else "filter"
        self._find("activity_dates", value if _is_list(answer) else None, _trouble(answer))
        return None

    def _look_at_activity(self, **params: str) -> Answer:
        params = {"type": CUSTOM_EVENT, "limit": "100", **params}
        return self._call(
            "GET", activity_path(self.source_id), template="/v1/customers/{id}/activity", params=params
        )

    def _update_in_bulk(self) -> None:
        ids = ("bulk_bucket", "poll_bucket", "bulk_metadata_update")
        item: Json = {"source_id": self.source_id, "address": {"city": "Probe 3"}}
        had = [key for key, value in _object(self._customer.get("metadata")).items() if key == "b" and value]
        if self._has_metadata:
            item["metadata"] = {"c": 4, **MARK}
        action = self._carry_out("/v1/customers/bulk/async", [item])
        if isinstance(action, Answer):
            return self._leave_unknown(action, *ids)
        first_read = len(self._calls)

        def is_new(customer: Json) -> bool:
            return bool(_object(customer.get("address")).get("city") == "Probe 3")

        is_read = self._read_back(is_new) is not None
        self._find_buckets(first_read, "bulk_bucket", "poll_bucket", **action.evidence())
        metadata = _object(self._customer.get("metadata"))
        if action.status != "DONE" or not is_read:
            why = (
                f"the action ended as {action.status}" if action.status != "DONE" else "it could not be read"
            )
            return self._leave_unknown(why, "bulk_metadata_update")
        found = ("merge" if metadata.get("b") is not None else "replace") if had else None
        single = self._findings["metadata_update"].found
        found = "same" if found is not None and found == single else found
        self._find("bulk_metadata_update", found, "there is no metadata to update", **action.evidence())
        return None

    def _send_versions(self) -> None:
        if not self._is_readable:
            return self._leave_unknown(_NEEDS_CUSTOMER, "unknown_api_version")
        answers = [
            self._get(self.source_id, headers={"X-Voucherify-API-Version": value})
            for value in (OLD_VERSION, _ODD_VERSION)
        ]
        told = [
            "read" if _customer_of(answer) is not None else "refused" if _refuses_fields(answer) else ""
            for answer in answers
        ]
        found = {
            ("read", "read"): "accept",
            ("read", "refused"): "reject",
            ("refused", "refused"): "known refused",
        }.get((told[0], told[1]))
        self._find("unknown_api_version", found, _trouble(answers[0] if told[0] != "read" else answers[1]))
        return None

    def _import_orders(self) -> None:
        ids = ("order_zero_amount", "order_import_bucket", "order_existing", "order_failed_shape")
        order: Json = {
            "source_id": self.order_id,
            "status": "CREATED",
            "amount": 0,
            "customer": {"source_id": self.source_id},
        }
        if self._has_metadata:
            order["metadata"] = MARK
        if self._is_readable:  # a call before it tells what remains
            self._get(self.source_id)
        action = self._carry_out(_IMPORT_PATH, [order])
        if isinstance(action, Answer):
            self._leave_unknown(action, *ids)
            if _refuses_fields(action):
                self._find("order_zero_amount", "fail")
            return
        first_read = len(self._calls)
        first = self._read_order()
        self._find_buckets(first_read, "order_import_bucket", "", **action.evidence())
        self._find_failed_shape(action)
        if first is None:
            found = "fail" if action.failed_count else None
            self._find("order_zero_amount", found, "the order cannot be read", **action.evidence())
            self._leave_unknown("there is no order", "order_existing")
            return
        self._find("order_zero_amount", "accept", **action.evidence())
        self._step_began = len(self._calls)
        again = (
            {**order, "metadata": {**MARK, "second": True}}
            if self._has_metadata
            else {**order, "status": "PAID"}
        )
        second_action = self._carry_out(_IMPORT_PATH, [again])
        if isinstance(second_action, Answer):
            is_refused = isinstance(second_action, Reply) and second_action.status in (400, 409, 422)
            self._find("order_existing", "fail" if is_refused else None, _trouble(second_action))
            return
        second = self._read_order()
        self._find_failed_shape(second_action)
        evidence = second_action.evidence()
        if second_action.failed_count or second_action.status == "FAILED":
            self._find("order_existing", "fail", **evidence)
        elif second is None:
            self._leave_unknown("the order cannot be read", "order_existing")
        else:
            is_updated = (
                _object(second.get("metadata")).get("second") is not None
                if self._has_metadata
                else second.get("status") == "PAID"
            )
            is_same = second.get("id") == first.get("id")
            self._find("order_existing", "upsert" if is_same and is_updated else "double", **evidence)

    def _find_failed_shape(self, action: _ActionTrace) -> None:
        id_ = "order_failed_shape"
        if action.failed_shape or id_ not in self._findings:
            self._find(id_, action.failed_shape, **action.evidence())

    @property
    def _order_path(self) -> str:
        return f"/v1/orders/{quote(self.order_id, safe='')}"

    def _read_order(self) -> Json | None:
        """Read the order, which may show late; None where it does not show."""
        for pause_s in _READ_PAUSES_S:
            self._pause(pause_s)
            if order := _order_of(self._call("GET", self._order_path, template="/v1/orders/{id}")):
                return order
        return None

    def _carry_out(self, path: str, items: list[Json]) -> _ActionTrace | Answer:
        """Post what is carried out later, and poll it at least twice; return the answer that ends it early."""
        answer = self._call("POST", path, items, bucket=Bucket.BULK)
        action_id = (_object_of(answer) or {}).get("async_action_id")
        if not isinstance(action_id, str):
            return answer
        action, began = _ActionTrace(), self._clock()
        for number, pause_s in enumerate(_POLL_PAUSES_S):
            self._pause(pause_s)
            polled = self._call(
                "GET", f"/v1/async-actions/{quote(action_id, safe='')}", template="/v1/async-actions/{id}"
            )
            if (body := _object_of(polled)) is None:
                continue
            if not action.is_over:
                action.read(body, self._clock() - began)
            if action.is_over and number:  # two polls tell apart what the call and the polls count against
                break
        return action

    def _find_buckets(self, first_read: int, of_call: str, of_polls: str, **evidence: Any) -> None:
        """Find out by what remains before and after which limits a bulk call and its polls count against."""
        calls = self._calls
        posted = next(at for at in range(self._step_began, len(calls)) if calls[at].bucket is Bucket.BULK)
        polls = first_read - posted - 1
        between = calls[posted - 1 : first_read + 1]
        told = [
            None if call.said is None else call.said.remaining
            for call in (calls[posted - 1], calls[first_read])
        ]
        used = None
        if None not in told and polls > 1 and all(call.is_well for call in between):
            used = int(told[0] or 0) - int(told[1] or 0) - 1  # less the call that tells
        by_used = {
            0: ("bulk", "bulk"),
            1: ("ordinary", "bulk"),
            polls: ("bulk", "ordinary"),
            polls + 1: ("ordinary", "ordinary"),
        }
        call, poll = by_used.get(-1 if used is None else used, (None, None))
        why = "the answers do not tell what remains" if used is None else "other calls were made meanwhile"
        for id_, found in ((of_call, call), (of_polls, poll)):
            if id_:
                self._find(id_, found, why, ordinary_calls_used=used, polls=polls, **evidence)

    def _delete(self) -> None:
        """Delete the customer, whatever has happened before. It never raises."""
        if self._deleted.is_customer_gone is None:
            return
        self._step_began = len(self._calls)
        path = f"/v1/customers/{quote(self.source_id, safe='')}"
        # Without an answer in time it may be made yet: that it is not there now proves nothing.
        may_come = not self._customer and any(
            call.call == "POST /v1/customers" and call.status == "timeout" for call in self._calls
        )
        is_gone, status = False, None
        for pause_s in (0.0, *_RETRY_PAUSES_S):
            self._wait(self._deletion_stop, pause_s)
            answer, status = self._call_after_all("DELETE", path, "/v1/customers/{id}")
            is_gone = status == 204 or _object_of(answer) is not None or (status == 404 and not may_come)
            if is_gone or self._is_spent:
                break
        if not is_gone:
            found = None if status == 404 else "not permitted" if status == 403 else "fails"
            self._find("deletion", found, "the customer may come to be later, as no answer came in time")
            self._leave_unknown("the customer could not be deleted", "orders_of_deleted_customer")
            return
        found = None  # where there is nothing to look up
        for pause_s in _READ_PAUSES_S if self._customer else ():
            if self._is_spent:
                break
            self._wait(self._deletion_stop, pause_s)
            answer, status = self._call_after_all("GET", path, "/v1/customers/{id}")
            found = "works" if status == 404 else "still readable" if _customer_of(answer) else None
            if status == 404:
                break
        why = "it was accepted, and could not be looked up"
        self._find(
            "deletion", found, why if self._customer else "it is not known whether there was a customer"
        )
        self._deleted.is_customer_gone = found != "still readable"
        order = self._findings.get("order_zero_amount")
        if order is None or order.found != "accept":
            self._leave_unknown("there is no order", "orders_of_deleted_customer")
        elif self._is_spent:
            self._leave_unknown("the limit is used up", "orders_of_deleted_customer")
        else:
            answer, status = self._call_after_all("GET", self._order_path, "/v1/orders/{id}")
            found = "delete" if status == 404 else "keep" if _order_of(answer) else None
            self._find("orders_of_deleted_customer", found, "the order could not be looked up")

    def _call_after_all(self, method: str, path: str, template: str) -> tuple[Answer, int | None]:
        """Make a call that no stop prevents; return the answer and its status."""
        answer = self._traced(self._deleting_client, ApiCall(method, path, template=template))
        return answer, answer.status if isinstance(answer, Reply) else None

    def _judge_headers(self) -> None:
        """Find what the rate headers of all calls tell."""
        self._step_began = len(self._calls)  # its evidence is all calls, which are with the other findings
        said = [call.said for call in self._calls if call.said is not None]
        told = [each for each in said if each.limit is not None and each.remaining is not None]
        share = "none" if not told else "on every answer" if len(told) == len(said) else "on some answers"
        self._find(
            "rate_headers",
            share if said else None,
            "there was no answer",
            answers=len(said),
            with_headers=len(told),
        )
        ordinary = [call.said for call in self._calls if call.said is not None and call.bucket is Bucket.API]
        limit = next((each.limit for each in ordinary if each.limit is not None), None)
        self._find("limit", limit, "no answer tells it")
        period_s = _period_of(ordinary)
        ends = sorted({int(each.next_at - each.date) for each in ordinary if each.next_at and each.date})
        why = "X-Rate-Limit-Retry does not tell it"
        self._find("period", PERIODS.get(period_s or 0.0), why, window_ends_in_s=ends[-1:] or None)
        offsets = [
            call.said.date - call.wall for call in self._calls if call.said and call.said.date is not None
        ]
        # A Date is cut to whole seconds: the largest distance is the nearest to the truth.
        self._find(
            "clock_offset_s", float(round(max(offsets) + 0.5)) if offsets else None, "no answer has a Date"
        )


class _ActionTrace(Struct):
    """How a request went that is carried out later.

    Attributes:
        status: of the action; empty while it is not known.
        states: those that were seen.
        took_s: until it was over.
        failed_count: items that failed.
        failed_shape: how they are told: ``list``, ``object`` or ``unnamed``; None where none is.
    """

    status: str = ""
    states: list[str] = []
    took_s: float | None = None
    failed_count: int = 0
    failed_shape: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in ("DONE", "FAILED")

    def read(self, body: Json, after_s: float) -> None:
        """Take in the answer to a poll."""
        status = body.get("status")
        if status not in ("ENQUEUED", "IN_PROGRESS", "DONE", "FAILED"):
            return
        self.status = status
        self.states = list(dict.fromkeys([*self.states, status]))
        if not self.is_over:
            return
        self.took_s = round(after_s, 1)
        result = _object(body.get("result"))
        failed, count = result.get("failed"), result.get("failed_count")
        entries = (
            failed if isinstance(failed, list) else [failed] if isinstance(failed, dict) and failed else []
        )
        self.failed_count = max(count if isinstance(count, int) else 0, len(entries))
        if entries:
            is_named = any(isinstance(each, dict) and _names_item(each) for each in entries)
            shape = "list" if isinstance(failed, list) else "object"
            self.failed_shape = shape if is_named else "unnamed"
        elif self.failed_count:
            self.failed_shape = "unnamed"

    def evidence(self) -> Json:
        """Return what may be shown of it."""
        return {"states": self.states, "done_after_s": self.took_s}


def _names_item(entry: Json) -> bool:
    """Tell whether an entry of a result names what failed, itself or by its keys."""
    return bool(entry.get("source_id")) or ("source_id" not in entry and bool(entry))


def _period_of(said: Sequence[RateHeaders]) -> float | None:
    """Return the length of the window, by when the server says that it ends.

    An end that is more than a minute ahead is that of an hour. One that is a minute ahead while the window has just
    begun is that of a minute.
    """
    for each in said:
        if each.next_at is None or each.date is None or each.limit is None or each.remaining is None:
            continue
        ahead_s = each.next_at - each.date
        if MINUTE_S + _ROUNDING_S < ahead_s <= HOUR_S + _ROUNDING_S:
            return HOUR_S
        is_new = each.remaining >= each.limit - 1
        if is_new and MINUTE_S - _ROUNDING_S <= ahead_s <= MINUTE_S + _ROUNDING_S:
            return MINUTE_S
    return None


def _is_refused(answer: Answer) -> bool:
    """Tell whether it is proved that a call was not processed."""
    if isinstance(answer, Reply):
        return 300 <= answer.status < 500 and answer.status != 408
    return isinstance(answer, NotSent)


def _asked_s(answer: Answer) -> float:
    """Return for how many seconds an answer asks to make no call."""
    said = read_rate_headers(answer.headers) if isinstance(answer, Reply) else RateHeaders()
    is_spent = said.remaining == 0 or (isinstance(answer, Reply) and answer.status == 429)
    ends_in_s = said.next_at - said.date if is_spent and said.next_at and said.date else 0.0
    return max(said.retry_after_s or 0.0, ends_in_s)


def _refuses_fields(answer: Answer) -> bool:
    """Tell whether an answer refuses what the body of the call holds."""
    return isinstance(answer, Reply) and answer.status in (400, 422)


def _trouble(answer: Answer) -> str:
    """Say in our own words why an answer does not tell what was asked."""
    if not isinstance(answer, Reply):
        return f"no answer ({answer.reason})"
    return f"HTTP {answer.status}" + (", but not as documented" if answer.status < 300 else "")


def _object_of(answer: Answer) -> Json | None:
    """Return the object of a success."""
    is_well = isinstance(answer, Reply) and 200 <= answer.status < 300
    return json_object(answer.body) if is_well and isinstance(answer, Reply) else None


def _customer_of(answer: Answer) -> Json | None:
    """Return the customer that a success holds."""
    body = _object_of(answer)
    return body if body and body.get("object") in ("customer", "unconfirmed_customer") else None


def _order_of(answer: Answer) -> Json | None:
    """Return the order that a success holds."""
    body = _object_of(answer)
    return body if body and body.get("object") == "order" else None


def _is_list(answer: Answer) -> bool:
    """Tell whether an answer is the success of a call that lists something."""
    return isinstance((_object_of(answer) or {}).get("data"), list)


def _rows_of_event(answer: Answer) -> Iterator[Json]:
    """Yield the rows of an activity that show the event of the probe."""
    for row in (_object_of(answer) or {})["data"] if _is_list(answer) else ():
        with suppress(AttributeError):
            if isinstance(row, dict) and name_of(event_of(row)) == EVENT_NAME:
                yield row


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}
