"""Recognise what holds no newline-delimited events of Segment, and say which command makes events of it.

A file is refused by its first bytes, and only if that is certain. A file with some broken lines is read: the decoder
judges line by line. Lines of another tool are JSON, so they are read, too, and end as their types and ids say. They are
recognised by a sample, and the run says the remedy once a source.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

import msgspec
from msgspec import Struct

from voucherify_sync.events import EVENT_TYPES, WAREHOUSE_COLUMNS, event_type
from voucherify_sync.sources.json_text import Values

HEAD_BYTES = 16 * 1024
"""Bytes that are enough to recognise a format."""

READ_AGAIN: ContextVar[Callable[[], str]] = ContextVar(
    "READ_AGAIN", default=lambda: "| voucherify-sync replay --dry-run -"
)
"""Returns what stands behind a command that prints events, so that they are read. The command line sets its own."""


class ForeignFormat(Struct, frozen=True):
    """A format that is no newline-delimited events of Segment.

    Attributes:
        name: with its article, such as `a Parquet file`.
        advice: a sentence, or the words that come before the command.
        command: prints events, or what is read; it reads stdin, or the file in place of `{file}`. Empty: there is none.
        program: of jq, in place of a command.
        gzipped: what it reads has to be decompressed first.
    """

    name: str
    advice: str
    command: str = ""
    program: str = ""
    gzipped: bool = False

    @property
    def refusal(self) -> str:
        """The words that say why a whole source of this format is not read."""
        return f"this is {self.name}, not newline-delimited events"

    def remedy(self, file: str | None) -> str:
        """Return what to do about a file or object; None stands for standard input. A command has a line of its own."""
        command = f"jq -c {shlex.quote(self.program)}" if self.program else self.command
        if not command:
            return self.advice
        if printing := _printing(file or ""):
            command = f"gzip -dc | {command}" if self.gzipped else command
            return f"{self.advice}\n  {printing} | {command.replace('{file}', 'FILE')} {READ_AGAIN.get()()}"
        word = "FILE" if file is None else shlex.quote(file)
        if "{file}" in command:
            command = command.replace("{file}", word)
        elif self.gzipped:
            command = f"gzip -dc | {command}" if file is None else f"gzip -dc < {word} | {command}"
        elif file is not None:
            command = f"{command} < {word}"
        return f"{self.advice}\n  {command} {READ_AGAIN.get()()}"


def _printing(url: str) -> str:
    """Return a command that prints an object; empty for a file, and where there is no common one."""
    scheme, _, rest = url.partition("://")
    command = {"s3": "aws s3 cp {} -", "gs": "gcloud storage cat {}", "https": "curl -fsSL {}"}.get(
        scheme, ""
    )
    return command.format(shlex.quote(url)) if rest else ""


_RAW = "Export the raw events as newline-delimited JSON (one event a line) and replay those."
_FLAT = f"Its columns are flattened, not the events as they were sent. {_RAW}"
_ONE_A_LINE = "Put one event on a line:"

_MAGIC = (  # offset, the bytes there, what they tell
    (0, b"PAR1", ForeignFormat("a Parquet file", _FLAT)),
    (0, b"Obj\x01", ForeignFormat("an Avro file", f"Avro cannot be read. {_RAW}")),
    (0, b"ORC", ForeignFormat("an ORC file", _FLAT)),
    (0, b"PK\x03\x04", ForeignFormat("a zip archive", "Unpack it:", "unzip -p {file}")),
    (0, b"PK\x05\x06", ForeignFormat("an empty zip archive", "There are no events in it.")),
    (0, b"\x28\xb5\x2f\xfd", ForeignFormat("a zstd file", "Decompress it:", "zstd -dc")),
    (0, b"\x04\x22\x4d\x18", ForeignFormat("an lz4 file", "Decompress it:", "lz4 -dc")),
    (0, b"\xfd7zXZ\x00", ForeignFormat("an xz file", "Decompress it:", "xz -dc")),
    (4, b"1AY&SY", ForeignFormat("a bzip2 file", "Decompress it:", "bzip2 -dc")),
    (257, b"ustar", ForeignFormat("a tar archive", "Unpack it:", "tar -xOf -")),
    (0, b"\x1f\x8b", ForeignFormat("gzip inside gzip", "Decompress it twice:", "gzip -dc")),
    (0, b"\xff\xfe{\x00", ForeignFormat("UTF-16 text", "Convert it:", "iconv -f UTF-16 -t UTF-8")),
    (0, b"\xfe\xff\x00{", ForeignFormat("UTF-16 text", "Convert it:", "iconv -f UTF-16 -t UTF-8")),
)
_PAGE = ForeignFormat(
    "an HTML or XML page", "It may be the error page of a download. Download the events again."
)
_SETTINGS = ForeignFormat("a settings file of this program", "Only the other files are read.")
_PRETTY = ForeignFormat("pretty-printed JSON, an event over many lines", _ONE_A_LINE, program=".")
_PRETTY_SEQUENCE = ForeignFormat(_PRETTY.name, _ONE_A_LINE, "jq -c --seq .")
_ARRAY = ForeignFormat("one JSON array over many lines", _ONE_A_LINE, program=".[]")

_PAGE_START = re.compile(r"<(\?xml|!doctype|html|error)\b", re.IGNORECASE)
_SETTINGS_START = re.compile(
    r"(#(?! yaml-language-server)[^\n]*\n|[ \t\r]*\n)*"
    r"(# yaml-language-server|(api|identify|track|personas|identity|delivery|tests):[ \t]*(#[^\n]*)?\r?\n +\w)"
)
_KEY_LINE = re.compile(r'\s*"[^"]*"\s*:')
_COLUMN = re.compile(r"[A-Za-z_][\w.\-$/]*( [\w.\-$/()]+)*")

_ID_KEYS: Final = ("userId", "anonymousId")
_SNAKE_KEYS: Final = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "message_id": "messageId",
    "original_timestamp": "originalTimestamp",
    "received_at": "receivedAt",
    "sent_at": "sentAt",
}
_REQUEST = ForeignFormat(
    "a request that a dry run or `prepare` has written, not an event",
    "Name the archive of which it was made, or the folder of a prepared archive.",
)
_SNAKE = ForeignFormat(
    "an event with user_id or anonymous_id in place of userId and anonymousId",
    "The row `user_id: customer.source_id` takes the id; this command renames all such keys:",
    program=f"with_entries(.key |= ({json.dumps(_SNAKE_KEYS)}[.] // .))",
)
_WAREHOUSE = ForeignFormat(
    "a row of a warehouse, which is not the event as it was sent",
    "The raw events are better. This command makes events of the rows, with their columns as properties or traits:",
    program='if has("event") then {type: "track", event: (.event_text // .event), properties: .} '
    'else {type: "identify", traits: .} end + {messageId: .id, userId: (.user_id // .id), anonymousId: .anonymous_id, '
    "timestamp: (.original_timestamp // .timestamp // .received_at)}",
)


def recognise(head: bytes, *, gzipped: bool = False) -> ForeignFormat | None:
    """Recognise a format that cannot be read; None if it may be newline-delimited JSON.

    Args:
        head: the first HEAD_BYTES bytes, decompressed; fewer if there are no more, or no more are at hand.
        gzipped: the commands have to decompress it first.
    """
    known = _format_of(head)
    return known and msgspec.structs.replace(known, gzipped=gzipped)


def recognise_line(line: bytes, *, gzipped: bool = False) -> ForeignFormat | None:
    """Recognise a line of another tool by what it holds; None if it is an event, or nothing that is known.

    Args:
        line: of the source, without its line end.
        gzipped: the commands have to decompress it first.
    """
    value = _decoded(line)
    if value is None:  # several values may be on the line
        begin, end = next(iter(Values(line)), (0, 0))
        value = _decoded(line[begin:end])
    known = None
    if isinstance(value, dict):
        is_request = value.keys() >= {"method", "path", "body", "source"}
        known = _REQUEST if is_request else _format_of_value(value)
    return known and msgspec.structs.replace(known, gzipped=gzipped)


def _format_of_value(value: dict[str, Any]) -> ForeignFormat | None:
    kind = value.get("type")
    if isinstance(kind, str) and event_type(kind) in EVENT_TYPES:
        has_id = any(value.get(key) is not None for key in _ID_KEYS)
        is_snake = any(value.get(key) is not None for key in ("user_id", "anonymous_id"))
        return _SNAKE if is_snake and not has_id else None
    if isinstance(value.get("batch"), list):
        return None
    record = value.get("record")
    if kind == "RECORD" and isinstance(record, dict):
        data = record.get("data")
        if isinstance(data, dict) and "stream" in record:
            return _inside("an Airbyte message", 'select(.type == "RECORD").record.data', data)
        return _inside("a Singer message", 'select(.type == "RECORD").record', record)
    for key, column in value.items():
        is_text = isinstance(column, str) and column.lstrip().startswith("{")
        inner = _decoded(column) if is_text else column
        if not isinstance(inner, dict) or (key == "payload" and not is_text and _is_event(inner)):
            continue  # the decoder takes the wrapper of RudderStack's archives off
        if _is_event(inner) or isinstance(inner.get("batch"), list):
            path = f".{key}" if key.isidentifier() and key.isascii() else f".[{json.dumps(key)}]"
            return _inside(
                f"a row of a job queue, with the event in `{key}`",
                f"{path} | fromjson" if is_text else path,
                inner,
            )
    if isinstance(kind, str) and event_type(kind):
        return None
    if not WAREHOUSE_COLUMNS.isdisjoint(value) or "user_id" in value or "anonymous_id" in value:
        return _WAREHOUSE
    return None


def _inside(name: str, path: str, inner: dict[str, Any]) -> ForeignFormat:
    """Return a format whose events are inside of something; they may be of another format themselves."""
    known = _format_of_value(inner)
    program = f"{path} | {known.program}" if known else path
    remedy = "This command takes the events out:"
    if known is None and not _is_event(inner) and not isinstance(inner.get("batch"), list):
        remedy = (
            "The record in it is no event. This command takes the records out; make an object with `type`, `userId` "
            "and `traits` or `properties` of each, too:"
        )
    return ForeignFormat(name, remedy, program=program)


def _is_event(value: dict[str, Any]) -> bool:
    kind = value.get("type")
    return isinstance(kind, str) and event_type(kind) in EVENT_TYPES


def _decoded(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None


def _format_of(head: bytes) -> ForeignFormat | None:
    for offset, magic, known in _MAGIC:
        if head.startswith(magic, offset):
            return known
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("[") and "\n" in text[: _end_of_first_value(text) or 0]:
        return _ARRAY
    # A line that is JSON by itself, without indentation or a comma after it, is an event.
    if any(line.startswith(("{", "[{")) and _is_json(line) for line in text.split("\n")):
        return None
    return _text_format(text, is_sequence=head.lstrip(b"\xef\xbb\xbf \r\n").startswith(b"\x1e"))


def _is_json(line: str) -> bool:
    try:
        msgspec.json.decode(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _text_format(text: str, *, is_sequence: bool) -> ForeignFormat | None:
    if _PAGE_START.match(text):
        return _PAGE
    if _SETTINGS_START.match(text):
        return _SETTINGS
    if text.startswith("{"):
        if not _is_pretty_object(text):
            return None
        return _PRETTY_SEQUENCE if is_sequence else _PRETTY
    if text.startswith("["):
        return _ARRAY if _is_array_over_lines(text) else None
    return _table(text)


def _is_pretty_object(text: str) -> bool:
    """Tell whether one object goes over several lines, even if it is larger than the head."""
    end = _end_of_first_value(text)
    if end is not None:
        return "\n" in text[:end]
    first, _, rest = text.partition("\n")
    return first.strip() == "{" and _KEY_LINE.match(rest) is not None


def _is_array_over_lines(text: str) -> bool:
    """Tell whether a list of objects goes over several lines, by its first object and what follows it."""
    inside = text[1:].lstrip()
    if not inside.startswith("{"):
        return False
    end = _end_of_first_value(inside)
    if end is None:
        return "\n" in text[: -len(inside)] or _is_pretty_object(inside)
    after = inside[end:].lstrip()
    if not after.startswith((",", "]")):
        return False
    next_item = after[1:].lstrip()
    return "\n" in text[: len(text) - len(next_item)]


def _end_of_first_value(text: str) -> int | None:
    """Return where the JSON value that begins the text ends; None if it is broken or cut."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return end


def _table(text: str) -> ForeignFormat | None:
    """Recognise comma- or tab-separated values: a header of column names, and rows of as many cells."""
    for delimiter, name in ((",", "a CSV file"), ("\t", "a TSV file"), (";", "a CSV file")):
        rows = list(_rows(text, delimiter))
        if len(rows) < 2 or len(rows[0]) < 2:
            continue
        header_fits = all(_COLUMN.fullmatch(cell) for cell in rows[0])
        if header_fits and all(len(row) == len(rows[0]) for row in rows):
            return ForeignFormat(name, _FLAT)
    return None


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the first rows; the last line of a head is left out, since it may be cut."""
    lines = text.split("\n")
    whole = lines[:-1] if len(lines) > 2 else lines
    try:
        yield from csv.reader((line for line in whole[:20] if line.strip()), delimiter=delimiter)
    except csv.Error:
        return
