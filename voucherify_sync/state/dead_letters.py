"""What ended invalid, failed or in doubt, with its event as it came: in the ledger, and as lines of JSON."""

from __future__ import annotations

import codecs
import os
import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from isal import isal_zlib
from msgspec import Raw, Struct

from voucherify_sync.errors import SourceError, UsageProblem
from voucherify_sync.events import KEY_BYTES, Event, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.state.private_files import open_to_append, sync, trouble, utf8, write_all

KEPT: Final = frozenset({State.INVALID, State.FAILED, State.IN_DOUBT})
"""The states whose records are kept."""
ANSWER_BYTES: Final = 4_096
"""Bytes that are kept of what Voucherify answered."""

_LONGEST_TEXT: Final = 1_000
_HEADROOM: Final = 100  # levels of nesting and of calls that reading may add to those of writing
_ABSENT: Final = Raw(b"")
_WHITE: Final = b" \t\r\n"
_PIECE: Final = 1 << 16


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One record that did not arrive.

    Attributes:
        outcome: invalid, failed or in doubt.
        reason: as in the report.
        source: ``file:line`` where it was read.
        event: its bytes as they came, without the white space around them; None where they are not known.
        key: by which the ledger knows the record, or, of what is invalid, the dead letter; None in old files.
        run: id of the run that left it.
        status: HTTP status of the last answer, if there was one.
        answer: body of the last answer, without what it repeats of the request, at most ANSWER_BYTES.
        type, name, message_id: the event's own.
        source_id: whose request it was.
        sent_at: epoch seconds of this machine's clock just before the event was sent, where it is in doubt.
    """

    outcome: State
    reason: str | None = None
    source: str = ""
    event: bytes | None = None
    key: bytes | None = None
    run: str | None = None
    status: int | None = None
    answer: bytes | None = None
    type: str | None = None
    name: str | None = None
    message_id: str | None = None
    source_id: str | None = None
    sent_at: float | None = None

    def concerns(self, user: str) -> bool:
        """Tell whether a customer's id is that of the request, or one of the event's own two ids."""
        if user == self.source_id:
            return True
        try:
            ids = msgspec.json.decode(self.event or b"{}", type=_Ids)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return any(
            value is not None and not isinstance(value, bool) and str(value) == user
            for value in (ids.userId, ids.anonymousId)
        )

    def encode(self) -> bytes:
        """Return it as a line of JSON with its line end."""
        letter: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": self.reason,
            "source": utf8(self.source),
            "status": self.status,
            "response": _response(self.answer),
            "key": self.key and self.key.hex(),
            "run": self.run,
        }
        if self.sent_at is not None:
            letter["sent_at"] = self.sent_at
        if self.event is None:
            known = {"type": self.type, "name": self.name, "messageId": self.message_id}
            return msgspec.json.encode(letter | known | {"event": None}) + b"\n"
        return msgspec.json.encode(letter | _as_it_came(self.event)) + b"\n"


class _Ids(Struct):
    """The ids of an event."""

    userId: Any = None  # noqa: N815 Segment's names
    anonymousId: Any = None  # noqa: N815


class _Line(Struct, frozen=True):
    """A line of a file; of the three forms of the event one is set."""

    outcome: State
    reason: str | None = None
    source: str = ""
    key: str | None = None
    status: int | None = None
    response: Raw = _ABSENT
    event: Raw = _ABSENT
    raw: str | None = None
    raw_base64: str | None = None


def invalid_key(raw: bytes) -> bytes:
    """Return by what the dead letter of an invalid record is known: the hash of its bytes."""
    return blake2b(raw.strip(_WHITE), digest_size=KEY_BYTES, person=b"invalid").digest()


def compress(raw: bytes) -> bytes:
    """Return the bytes of an event as the ledger keeps them: zlib's format, without white space around them."""
    return bytes(isal_zlib.compress(raw.strip(_WHITE)))


def decompress(data: bytes | None) -> bytes | None:
    """Return the bytes of an event that the ledger keeps."""
    return None if data is None else zlib.decompress(data)


def letter_of(outcome: Outcome, run: str) -> DeadLetter:
    """Return the dead letter of a record that ended in one of the KEPT states."""
    record, request = outcome.record, outcome.request
    return DeadLetter(
        outcome=outcome.state,
        reason=outcome.reason,
        source=str(record.position),
        event=record.raw,
        key=record_key(record)
        if isinstance(record, Event) and outcome.state is not State.INVALID
        else invalid_key(record.raw),
        run=run,
        status=outcome.status,
        answer=outcome.response and outcome.response[:ANSWER_BYTES],
        type=record.type,
        name=record.name,
        message_id=record.message_id,
        source_id=request.source_id if request else None,
    )


class DeadLetterFile:
    """A file to which the dead letters of one run are written, beside the ledger.

    Attributes:
        path: where it is, or will be.
        count: letters written by this run.
    """

    def __init__(self, path: Path, run: str) -> None:
        """Prepare; nothing is made before the first letter. A file that exists is added to."""
        self.path = path
        self.count = 0
        self._run = run
        self._descriptor: int | None = None

    def add(self, outcome: Outcome) -> None:
        """Write the record if it ended in one of the KEPT states.

        Raises RunStopped when the disk is full, UsageProblem when the file cannot be written.
        """
        if outcome.state not in KEPT:
            return
        try:
            if self._descriptor is None:
                self._descriptor = open_to_append(self.path)
            write_all(self._descriptor, letter_of(outcome, self._run).encode())
        except OSError as error:
            raise trouble(self.path, error) from error
        self.count += 1

    def close(self) -> None:
        """Finish the file and make it durable; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            sync(descriptor)
        except OSError as error:
            raise trouble(self.path, error) from error
        finally:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def files_of_earlier_versions() -> list[Path]:
    """Return the files in which earlier versions kept the dead letters of each run, the oldest first."""
    with suppress(UsageProblem):
        return sorted((state_directory() / "dead-letters").glob("*.ndjson"))
    return []


def read_dead_letters(path: Path) -> Iterator[tuple[int, DeadLetter]]:
    """Yield what a file of dead letters holds with its line, in order, each event byte for byte as it was read once.

    Raises SourceError when the file cannot be read or a line is no dead letter.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _decode(path, number, line)
    except OSError as error:
        raise SourceError(
            f"{utf8(str(path))}: {error.strerror or error}", "Name a file of dead letters."
        ) from error


def _as_it_came(raw: bytes) -> dict[str, Any]:
    """Return the event under the name that tells its form: JSON, other text, or bytes that are no text."""
    if not _is_utf8(raw):
        return {"raw_base64": b64encode(raw).decode("ascii")}
    value = raw.strip(b" \t\r")
    if (
        b"\n" in raw or value == b"null" or not _is_json(value)
    ):  # a null stands for an event that is not known
        return {"raw": raw.decode("utf-8")}
    return {"event": Raw(value)}


def _is_utf8(raw: bytes) -> bool:
    """Tell whether bytes are UTF-8; decoded as a whole they may take four times as much memory."""
    pieces = (raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE))
    try:
        deque(codecs.iterdecode(pieces, "utf-8"), maxlen=0)
    except UnicodeDecodeError:
        return False
    return True


def _is_json(text: bytes) -> bool:
    """Tell whether UTF-8 is JSON, strictly but with numbers of any size, that can be read back.

    It is not decoded: the values of a bad record may be too many to be held.
    """
    try:
        msgspec.json.decode(text, type=Raw)
        msgspec.json.decode(b"[" * _HEADROOM + text + b"]" * _HEADROOM, type=Raw)  # it is not too deep
    except (ValueError, RecursionError):
        return False
    return True


def _response(body: bytes | None) -> Any:
    if body is None:
        return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")[:_LONGEST_TEXT]


def _decode(path: Path, number: int, line: bytes) -> DeadLetter:
    where = f"{utf8(str(path))}:{number}"
    try:
        letter = msgspec.json.decode(line, type=_Line)
        event = _event_of(letter)
        key = bytes.fromhex(letter.key) if letter.key else None
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{where}: not a dead letter ({error})", "Name a file that a replay wrote."
        ) from error
    return DeadLetter(
        outcome=letter.outcome,
        reason=letter.reason,
        source=letter.source,
        event=event,
        key=key,
        status=letter.status,
        answer=bytes(letter.response)[:ANSWER_BYTES] or None,
    )


def _event_of(letter: _Line) -> bytes | None:
    if letter.raw is not None:
        return letter.raw.encode()
    if letter.raw_base64 is not None:
        return b64decode(letter.raw_base64, validate=True)
    if letter.event == _ABSENT:
        raise ValueError("no event, raw or raw_base64")
    return None if bytes(letter.event) == b"null" else bytes(letter.event)
