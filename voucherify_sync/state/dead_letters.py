"""Keeps records that ended invalid, failed or in doubt, each with its event as it came.

The ledger holds them as rows; files of dead letters, which `retry FILE` reads, hold one JSON object a line. Earlier
versions kept them only in files, one a run.
"""

from __future__ import annotations

import codecs
import os
import stat
import zlib
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import msgspec
from isal import isal_zlib
from msgspec import Raw, Struct

from voucherify_sync.errors import SourceError, UsageProblem
from voucherify_sync.events import KEY_BYTES, Event, Kind, record_key
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.settings.environment import state_directory
from voucherify_sync.sources.unsupported_formats import HEAD_BYTES, recognise
from voucherify_sync.state.private_files import open_to_append, utf8, write_all, write_error, write_whole
from voucherify_sync.text import text_of

DEAD_LETTER_STATES: Final = frozenset({State.INVALID, State.FAILED, State.IN_DOUBT})
"""The states whose records are kept."""

_ANSWER_BYTES: Final = 4_096  # kept of what Voucherify answered
_ANSWER_CHARACTERS: Final = 1_000  # shown of an answer that is no JSON
_HEADROOM: Final = 100  # levels of nesting and of calls that reading may add to those of writing
_ABSENT: Final = Raw(b"")
_WHITE: Final = b" \t\r\n"
_CHUNK_BYTES: Final = 1 << 16


class DeadLetter(Struct, frozen=True, kw_only=True):
    """One record that did not arrive. Its fields are the columns of the ledger's table of dead letters.

    Attributes:
        outcome: invalid, failed or in doubt.
        reason: as in the report.
        source: ``file:line`` where it was read.
        event: its bytes as they came, without the white space around them; None where they are not known.
        key: by which the ledger knows the record, or, of what is invalid, the dead letter; None in old files.
        run: id of the run that left it.
        status: HTTP status of the last answer, if there was one.
        answer: body of the last answer, without what it repeats of the request, at most 4 KiB.
        type, name, message_id: the event's own.
        source_id: whose request it was.
        sent_at: epoch seconds of this machine's clock just before the event was sent, where it is in doubt.
        order_body: the order as which the event failed, folded of all its events; None for what is no order.
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
    order_body: bytes | None = None

    def is_of(self, users: frozenset[str]) -> bool:
        """Tell whether one of the customers' ids is that of the request, or one of the event's own two ids."""
        if self.source_id in users:
            return True
        try:
            ids = msgspec.json.decode(self.event or b"{}", type=_EventIds)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return any(text_of(value) in users for value in (ids.userId, ids.anonymousId))

    def encode(self) -> bytes:
        """Return it as a line of JSON with its line end."""
        letter: dict[str, Any] = {
            "outcome": self.outcome,
            "reason": self.reason,
            "source": utf8(self.source),
            "status": self.status,
            "response": None,
            "key": self.key and self.key.hex(),
            "run": self.run,
        }
        if self.answer is not None:
            try:
                letter["response"] = msgspec.json.decode(self.answer)
            except (msgspec.DecodeError, RecursionError):
                letter["response"] = self.answer.decode("utf-8", "replace")[:_ANSWER_CHARACTERS]
        if self.sent_at is not None:
            letter["sent_at"] = self.sent_at
        if self.event is None:
            letter |= {"type": self.type, "name": self.name, "messageId": self.message_id, "event": None}
        else:
            letter |= _as_it_came(self.event)
        if self.order_body is not None:
            letter["order"] = Raw(self.order_body)
        return msgspec.json.encode(letter) + b"\n"


class _EventIds(Struct):
    """The ids of an event; the rest of it, which may be large or odd, is not decoded."""

    userId: Any = None  # noqa: N815 Segment's names
    anonymousId: Any = None  # noqa: N815


class _LetterLine(Struct, frozen=True):
    """A line of a file; of the three forms of the event one is set."""

    outcome: State | None = None
    reason: str | None = None
    source: str = ""
    key: str | None = None
    run: str | None = None
    status: int | None = None
    response: Raw = _ABSENT
    event: Raw = _ABSENT
    raw: str | None = None
    raw_base64: str | None = None
    order: dict[str, Any] | None = None


class LetterSelection(Struct, frozen=True):
    """Which dead letters are selected; every attribute that is set narrows the selection.

    Attributes:
        outcomes: of these only; empty: of all three.
        reasons: for one of these.
        names: of events of one of these names.
        users: of one of these customers, by the request's id or the event's own.
        runs: left by one of these runs, by id.
        before: left by a run before this one, by number.
    """

    outcomes: frozenset[State] = frozenset()
    reasons: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    before: int | None = None


def invalid_key(raw: bytes) -> bytes:
    """Return the key of an invalid record's dead letter: the hash of its bytes."""
    return blake2b(raw.strip(_WHITE), digest_size=KEY_BYTES, person=b"invalid").digest()


def compress(raw: bytes) -> bytes:
    """Return the bytes of an event as the ledger keeps them: zlib's format, without white space around them."""
    return bytes(isal_zlib.compress(raw.strip(_WHITE)))


def decompress(data: bytes | None) -> bytes | None:
    """Return the bytes of an event that the ledger keeps."""
    return None if data is None else zlib.decompress(data)


def letter_of(outcome: Outcome, run: str, sent_at: float | None = None) -> DeadLetter:
    """Return the dead letter of a record that ended in one of the DEAD_LETTER_STATES."""
    record, request = outcome.record, outcome.request
    if isinstance(record, Event) and outcome.state is not State.INVALID:
        key = record_key(record)
    else:
        key = invalid_key(record.raw)
    return DeadLetter(
        outcome=outcome.state,
        reason=outcome.reason,
        source=str(record.position),
        event=record.raw,
        key=key,
        run=run,
        status=outcome.status,
        answer=outcome.response and outcome.response[:_ANSWER_BYTES],
        type=record.type,
        name=record.name,
        message_id=record.message_id,
        source_id=request.source_id if request else None,
        sent_at=sent_at,
        order_body=request.payload if request and request.kind is Kind.ORDER else None,
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
        """Write the record if it ended in one of the DEAD_LETTER_STATES.

        Raises RunStopped when the disk is full, UsageProblem when the file cannot be written.
        """
        if outcome.state not in DEAD_LETTER_STATES:
            return
        try:
            if self._descriptor is None:
                self._descriptor = open_to_append(self.path)
            write_all(self._descriptor, letter_of(outcome, self._run).encode())
        except OSError as error:
            raise write_error(self.path, error) from error
        self.count += 1

    def close(self) -> None:
        """Finish the file and make it durable; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fsync(descriptor)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            os.close(descriptor)


def read_dead_letters(path: Path) -> Iterator[tuple[int, DeadLetter]]:
    """Yield what a file of dead letters holds with its line, in order, each event byte for byte as it was read once.

    Raises SourceError when the file cannot be read or a line is no dead letter.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    letter = _decode(line)
                except (ValueError, RecursionError) as error:
                    known = None
                    if lines.seekable():
                        lines.seek(0)
                        known = recognise(lines.read(HEAD_BYTES))
                    if known is not None:
                        raise SourceError(
                            f"{utf8(str(path))}: this is {known.name}, not a file of dead letters.",
                            known.remedy(str(path)),
                        ) from error
                    raise SourceError(
                        f"{utf8(str(path))}:{number}: not a dead letter ({_trouble(error)})",
                        "Name a file that a replay wrote.",
                    ) from error
                yield number, letter
    except OSError as error:
        raise SourceError(
            f"{utf8(str(path))}: {error.strerror or error}", "Name a file of dead letters."
        ) from error


def _trouble(error: Exception) -> str:
    """Say why a line is no dead letter, in no words of a library."""
    if isinstance(error, msgspec.ValidationError):
        return "a value is missing or of another kind"
    return "it is no JSON" if isinstance(error, msgspec.DecodeError | RecursionError) else str(error)


def files_of_earlier_versions() -> list[Path]:
    """Return the files in which earlier versions kept the dead letters of each run, the oldest first."""
    with suppress(UsageProblem):
        return sorted((state_directory() / "dead-letters").glob("*.ndjson"))
    return []


def forget_in_files(selection: LetterSelection, before: str | None, *, is_trial: bool = False) -> int:
    """Remove dead letters from the files of earlier versions; return how many there were.

    Args:
        selection: of dead letters, by outcomes and users.
        before: those only that runs before this one, by its id, left; ids of runs sort by time.
        is_trial: count them only.

    Raises:
        UsageProblem: a file cannot be written.
        RunStopped: the disk is full.
    """
    found = 0
    for file in files_of_earlier_versions():
        if before is not None and file.stem >= before:
            continue
        try:
            letters = [letter for _, letter in read_dead_letters(file)]
        except SourceError:
            continue
        kept = [
            letter
            for letter in letters
            if letter.outcome not in (selection.outcomes or DEAD_LETTER_STATES)
            or not letter.is_of(selection.users)
        ]
        found += len(letters) - len(kept)
        if len(kept) < len(letters) and not is_trial:
            try:
                write_whole(file, b"".join(letter.encode() for letter in kept))
            except OSError as error:
                raise write_error(file, error) from error
    return found


def _as_it_came(raw: bytes) -> dict[str, Any]:
    """Return the event under the name that tells its form: JSON, other text, or bytes that are no text."""
    chunks = (raw[at : at + _CHUNK_BYTES] for at in range(0, len(raw), _CHUNK_BYTES))
    try:
        deque(codecs.iterdecode(chunks, "utf-8"), maxlen=0)  # as a whole it may take four times its bytes
    except UnicodeDecodeError:
        return {"raw_base64": b64encode(raw).decode("ascii")}
    value = raw.strip(b" \t\r")
    # A null stands for an event that is not known.
    if b"\n" in raw or value == b"null" or not _is_json(value):
        return {"raw": raw.decode("utf-8")}
    return {"event": Raw(value)}


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


def _decode(line: bytes) -> DeadLetter:
    """Read a line of a file. Raises ValueError or RecursionError where it is no dead letter."""
    letter = msgspec.json.decode(line, type=_LetterLine)
    if letter.outcome is None:
        raise ValueError("`outcome` is missing")
    event: bytes | None = bytes(letter.event)
    if letter.raw is not None:
        event = letter.raw.encode()
    elif letter.raw_base64 is not None:
        event = b64decode(letter.raw_base64, validate=True)
    elif not event:
        raise ValueError("`event`, `raw` and `raw_base64` are missing")
    elif event == b"null":
        event = None
    return DeadLetter(
        outcome=letter.outcome,
        reason=letter.reason,
        source=letter.source,
        event=event,
        key=bytes.fromhex(letter.key) if letter.key else None,
        run=letter.run,
        status=letter.status,
        answer=bytes(letter.response)[:_ANSWER_BYTES] or None,
        order_body=None if letter.order is None else msgspec.json.encode(letter.order),
    )
