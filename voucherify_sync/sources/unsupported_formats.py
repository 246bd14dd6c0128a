"""Recognise files that hold no newline-delimited events by their first bytes, and say what to do with them.

Only what is certain is refused. A file with some broken lines is read: the decoder judges line by line.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator

import msgspec

HEAD_BYTES = 16 * 1024
"""Bytes that are enough to recognise a format."""


_Format = tuple[str, str]
"""A format that cannot be read, such as ``a Parquet file``, and what to do; ``{file}`` stands for the file's name."""

_READ = "| voucherify-sync replay -"
_RAW = "Export the raw events as newline-delimited JSON (one event a line) and replay those."
_FLAT = f"Its columns are flattened, not the events as they were sent. {_RAW}"
_JQ = f"Put one event on a line: jq -c . {{file}} {_READ}"
_JQ_ITEMS = f"Put one event on a line: jq -c '.[]' {{file}} {_READ}"

_MAGIC = (  # offset, the bytes there, what they tell
    (0, b"PAR1", ("a Parquet file", _FLAT)),
    (0, b"Obj\x01", ("an Avro file", f"Avro cannot be read. {_RAW}")),
    (0, b"ORC", ("an ORC file", _FLAT)),
    (0, b"PK\x03\x04", ("a zip archive", f"Unpack it: unzip -p {{file}} {_READ}")),
    (0, b"PK\x05\x06", ("an empty zip archive", "There are no events in it.")),
    (0, b"\x28\xb5\x2f\xfd", ("a zstd file", f"Decompress it: zstd -dc {{file}} {_READ}")),
    (0, b"\x04\x22\x4d\x18", ("an lz4 file", f"Decompress it: lz4 -dc {{file}} {_READ}")),
    (0, b"\xfd7zXZ\x00", ("an xz file", f"Decompress it: xz -dc {{file}} {_READ}")),
    (4, b"1AY&SY", ("a bzip2 file", f"Decompress it: bzip2 -dc {{file}} {_READ}")),
    (257, b"ustar", ("a tar archive", f"Unpack it: tar -xOf {{file}} {_READ}")),
    (0, b"\x1f\x8b", ("gzip inside gzip", f"Decompress it twice: gzip -dc {{file}} {_READ}")),
    (0, b"\xff\xfe{\x00", ("UTF-16 text", f"Convert it: iconv -f UTF-16 -t UTF-8 {{file}} {_READ}")),
    (0, b"\xfe\xff\x00{", ("UTF-16 text", f"Convert it: iconv -f UTF-16 -t UTF-8 {{file}} {_READ}")),
)
_PAGE = ("an HTML or XML page", "It may be the error page of a download. Download the events again.")
_PRETTY = ("pretty-printed JSON, an event over many lines", _JQ)
_ARRAY = ("one JSON array over many lines", _JQ_ITEMS)

_PAGE_START = re.compile(r"<(\?xml|!doctype|html|error)\b", re.IGNORECASE)
_KEY_LINE = re.compile(r'\s*"[^"]*"\s*:')
_COLUMN = re.compile(r"[A-Za-z_][\w.\-$/]*( [\w.\-$/()]+)*")


def recognise(head: bytes, file: str, *, gzipped: bool = False) -> tuple[str, str] | None:
    """Recognise a format that cannot be read.

    Args:
        head: the first HEAD_BYTES bytes, decompressed; fewer if there are no more, or no more are at hand.
        file: its name, for the commands of the remedy.
        gzipped: the commands have to decompress it first.

    Returns:
        The name of the format with its article, such as ``a Parquet file``, and a sentence on what to do; None if the
        file may hold newline-delimited JSON.
    """
    known = _format_of(head)
    if known is None:
        return None
    name, remedy = known
    word = shlex.quote(file)
    return name, remedy.format(file=f"<(gzip -dc < {word})" if gzipped else word)


def _format_of(head: bytes) -> _Format | None:
    for offset, magic, known in _MAGIC:
        if head.startswith(magic, offset):
            return known
    text = head.decode("utf-8-sig", "replace").lstrip()
    if text.startswith("[") and "\n" in text[: _end_of_value(text) or 0]:
        return _ARRAY
    # A line that is JSON by itself, without indentation or a comma after it, is an event.
    if any(line.startswith(("{", "[{")) and _is_json(line) for line in text.split("\n")):
        return None
    return _text_format(text)


def _is_json(line: str) -> bool:
    try:
        msgspec.json.decode(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _text_format(text: str) -> _Format | None:
    if _PAGE_START.match(text):
        return _PAGE
    if text.startswith("{"):
        return _PRETTY if _is_pretty_object(text) else None
    if text.startswith("["):
        return _ARRAY if _is_array_over_lines(text) else None
    return _table(text)


def _is_pretty_object(text: str) -> bool:
    """Tell whether one object goes over several lines, even if it is larger than the head."""
    end = _end_of_value(text)
    if end is not None:
        return "\n" in text[:end]
    first, _, rest = text.partition("\n")
    return first.strip() == "{" and _KEY_LINE.match(rest) is not None


def _is_array_over_lines(text: str) -> bool:
    """Tell whether a list of objects goes over several lines, by its first object and what follows it."""
    inside = text[1:].lstrip()
    if not inside.startswith("{"):
        return False
    end = _end_of_value(inside)
    if end is None:
        return "\n" in text[: -len(inside)] or _is_pretty_object(inside)
    after = inside[end:].lstrip()
    if not after.startswith((",", "]")):
        return False
    next_item = after[1:].lstrip()
    return "\n" in text[: len(text) - len(next_item)]


def _end_of_value(text: str) -> int | None:
    """Return where the JSON value that begins the text ends; None if it is broken or cut."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return end


def _table(text: str) -> _Format | None:
    """Recognise comma- or tab-separated values: a header of column names, and rows of as many cells."""
    for delimiter, name in ((",", "a CSV file"), ("\t", "a TSV file"), (";", "a CSV file")):
        rows = list(_rows(text, delimiter))
        if len(rows) < 2 or len(rows[0]) < 2:
            continue
        header_fits = all(_COLUMN.fullmatch(cell) for cell in rows[0])
        if header_fits and all(len(row) == len(rows[0]) for row in rows):
            return (name, _FLAT)
    return None


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the first rows; the last line of a head is left out, since it may be cut."""
    lines = text.split("\n")
    whole = lines[:-1] if len(lines) > 2 else lines
    try:
        yield from csv.reader((line for line in whole[:20] if line.strip()), delimiter=delimiter)
    except csv.Error:
        return
