"""What ended invalid, failed or in doubt is kept with the event as it came, to be sent again.

Outcomes come in; a file of one JSON object a line goes out, made when there is something to put in. Read
again, it gives back the very bytes.
"""

from __future__ import annotations

import codecs
import os
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Raw, Struct
from platformdirs import user_state_path

from voucherify_sync.bookkeeping.private import (
    make_private_directory,
    open_new,
    open_to_append,
    sync,
    trouble,
    utf8,
    write_all,
)
from voucherify_sync.errors import SourceError
from voucherify_sync.model import Outcome, State

KEPT = frozenset({State.INVALID, State.FAILED, State.IN_DOUBT})
"""The states whose records are kept."""

_LONGEST_TEXT = 1_000
_HEADROOM = 100  # levels of nesting and of calls that reading may add to those of writing
_ABSENT = Raw(b"")
_PIECE = 1 << 16
_ENCODER = msgspec.json.Encoder()


class DeadLetter(Struct, frozen=True):
    """One record that did not arrive.

    Attributes:
        outcome: invalid, failed or in doubt.
        reason: as in the report.
        source: ``file:line`` where it was read.
        event: its bytes as they came, without the white space around them.
    """

    outcome: State
    reason: str | None
    source: str
    event: bytes


class _Line(Struct, frozen=True):
    """A line of the file; of the three forms of the event one is set."""

    outcome: State
    reason: str | None = None
    source: str = ""
    event: Raw = _ABSENT
    raw: str | None = None
    raw_base64: str | None = None


def default_path(run_id: str) -> Path:
    """Return where the dead letters of a run lie when no file is named."""
    return user_state_path("voucherify-sync") / "dead-letters" / f"{run_id}.ndjson"


class DeadLetters:
    """The file of one run.

    Attributes:
        path: where it is, or will be.
        count: letters written by this run.
    """

    def __init__(self, path: Path) -> None:
        """Prepare; nothing is made before the first letter.

        Where the program chose the place, its directory is made, private, and the file must be new. A file that the
        user named is added to, since it may hold letters of earlier runs.
        """
        self.path = path
        self.count = 0
        self._descriptor: int | None = None

    def add(self, outcome: Outcome) -> None:
        """Keep the record if it ended in one of the KEPT states.

        Raises RunStopped when the disk is full, UsageProblem when the file cannot be written.
        """
        if outcome.state not in KEPT:
            return
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            write_all(self._descriptor, _encode(outcome))
        except OSError as error:
            raise trouble(self.path, error) from error
        self.count += 1

    def _open(self) -> int:
        if self.path != default_path(self.path.stem):
            return open_to_append(self.path)
        make_private_directory(self.path.parent)
        return open_new(self.path)

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


def read_dead_letters(path: Path) -> Iterator[DeadLetter]:
    """Yield what a file of dead letters holds, in order, each event byte for byte as it was read once.

    Raises SourceError when the file cannot be read or a line is no dead letter.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _decode(path, number, line)
    except OSError as error:
        raise SourceError(
            f"{utf8(str(path))}: {error.strerror or error}", "Name a file of dead letters."
        ) from error


def _encode(outcome: Outcome) -> bytearray:
    record = outcome.record
    letter: dict[str, Any] = {
        "outcome": outcome.state,
        "reason": outcome.reason,
        "source": utf8(str(record.position)),
        "status": outcome.status,
        "response": _response(outcome.response),
    }
    line = bytearray()
    _ENCODER.encode_into(letter | _as_it_came(record.raw), line)
    line += b"\n"  # without a copy: an event of control characters takes six times its length
    return line


def _as_it_came(raw: bytes) -> dict[str, Any]:
    """Return the event under the name that tells its form: JSON, other text, or bytes that are no text."""
    if not _is_utf8(raw):
        return {"raw_base64": b64encode(raw).decode("ascii")}
    if b"\n" not in raw and _is_json(raw):
        return {"event": Raw(raw.strip(b" \t\r"))}
    return {"raw": raw.decode("utf-8")}


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
    try:
        letter = msgspec.json.decode(line, type=_Line)
        event = _event_of(letter)
    except (ValueError, RecursionError) as error:
        where = f"{utf8(str(path))}:{number}"
        raise SourceError(
            f"{where}: not a dead letter ({error})", "Name a file that a replay wrote."
        ) from error
    return DeadLetter(letter.outcome, letter.reason, letter.source, event)


def _event_of(letter: _Line) -> bytes:
    if letter.raw is not None:
        return letter.raw.encode()
    if letter.raw_base64 is not None:
        return b64decode(letter.raw_base64, validate=True)
    if letter.event == _ABSENT:
        raise ValueError("no event, raw or raw_base64")
    return bytes(letter.event)
