"""Formats: what is certainly no newline-delimited JSON is named; what might be is left to the decoder."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voucherify_sync.settings import template
from voucherify_sync.sources.unsupported_formats import HEAD_BYTES, recognise

EVENT = {
    "type": "track",
    "event": "Order",
    "userId": "u1",
    "properties": {"products": [{}, {"id": 1}], "n": None},
}
LINE = json.dumps(EVENT).encode() + b"\n"


def zipped(data: bytes) -> bytes:
    """Return a zip archive of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.json", data)
    return file.getvalue()


def tarred(data: bytes) -> bytes:
    """Return a tar archive of one file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("events.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def pretty(value: Any, indent: int | str = 2) -> bytes:
    """Return JSON over several lines."""
    return json.dumps(value, indent=indent).encode() + b"\n"


LARGE = {**EVENT, "properties": {f"key{n}": "x" * 100 for n in range(300)}}
WRONG = [
    pytest.param(b"PAR1\x15\x04\x15", "Parquet", "newline-delimited", id="Parquet"),
    pytest.param(b"Obj\x01\x04\x16avro.schema", "Avro", "newline-delimited", id="Avro"),
    pytest.param(b"ORC\x08\x03", "ORC", "newline-delimited", id="ORC"),
    pytest.param(zipped(LINE), "zip", "unzip -p a.json |", id="zip"),
    pytest.param(tarred(LINE), "tar", "tar -xOf - < a.json |", id="tar"),
    pytest.param(b"\x28\xb5\x2f\xfd\x04\x58", "zstd", "zstd -dc < a.json |", id="zstd"),
    pytest.param(bz2.compress(LINE), "bzip2", "bzip2 -dc < a.json |", id="bzip2"),
    pytest.param(lzma.compress(LINE), "xz", "xz -dc < a.json |", id="xz"),
    pytest.param(LINE.decode().encode("utf-16"), "UTF-16", "iconv", id="UTF-16"),
    pytest.param(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML", "again", id="XML"),
    pytest.param(template().encode(), "a settings file", "other files", id="settings-of-init"),
    pytest.param(
        b"# ours\n\ntrack:\n  events_filter: [A]\n", "a settings file", "other files", id="settings"
    ),
    pytest.param(b"<!DOCTYPE html>\n<html></html>", "HTML", "again", id="HTML"),
    pytest.param(pretty(EVENT), "pretty-printed", "jq -c . < a.json |", id="one pretty event"),
    pytest.param(pretty(EVENT) * 3, "pretty-printed", "jq -c . < a.json |", id="many pretty events"),
    pytest.param(pretty(EVENT, "\t"), "pretty-printed", "jq -c .", id="pretty by tabs"),
    pytest.param(pretty(EVENT, 0), "pretty-printed", "jq -c .", id="pretty without indentation"),
    pytest.param(
        pretty(LARGE)[:HEAD_BYTES], "pretty-printed", "jq -c .", id="a pretty event larger than the head"
    ),
    pytest.param(pretty([EVENT, EVENT]), "array", "jq -c '.[]' < a.json |", id="a pretty array"),
    pytest.param(
        pretty([LARGE, LARGE])[:HEAD_BYTES], "array", "jq -c '.[]'", id="a pretty array larger than the head"
    ),
    pytest.param(
        b"[\n" + LINE[:-1] + b",\n" + LINE[:-1] + b",\n", "array", "jq -c '.[]'", id="an item a line"
    ),
    pytest.param(
        b"[" + LINE[:-1] + b",\n" + LINE[:-1] + b",\n", "array", "jq -c '.[]'", id="[ before an item"
    ),
    pytest.param(
        b"[\n" + LINE + b",\n" + LINE + b"]\n", "array", "jq -c '.[]'", id="commas on their own lines"
    ),
    pytest.param(b"[" + LINE[:-1] + b",\n" + LINE + b"]\n", "array", "jq -c '.[]'", id="a whole array"),
    pytest.param(b"id,event,user_id\n1,Order,u1\n2,Order,u2\n", "CSV", "as they were sent", id="CSV"),
    pytest.param(
        b'"id","event text"\r\n"1","a, b"\r\n"2","c"\r\n', "CSV", "as they were sent", id="quoted CSV"
    ),
    pytest.param(b"id;event\n1;Order\n2;Order\n", "CSV", "as they were sent", id="CSV by semicolons"),
    pytest.param(b"id\tevent\n1\tOrder\n2\tOrder\n", "TSV", "as they were sent", id="TSV"),
]


@pytest.mark.parametrize(("head", "name", "remedy"), WRONG)
def test_a_wrong_format_is_named_with_its_remedy(head: bytes, name: str, remedy: str) -> None:
    """DESIGN 5: wrong formats are named, with the remedy."""
    known = recognise(head[:HEAD_BYTES])
    assert known is not None
    assert name in known.name
    assert remedy in known.remedy("a.json")
    assert "a.json" not in known.remedy(None)
    compressed = recognise(head[:HEAD_BYTES], gzipped=True)
    assert compressed is not None
    if "< a.json" in known.remedy("a.json"):
        command = known.remedy("a.json").splitlines()[-1].replace(" < a.json", "").strip()
        assert f"gzip -dc < 'a {{b}}.json' | {command}" in compressed.remedy("a {b}.json")


def test_a_pretty_printed_sequence_needs_an_option_of_jq() -> None:
    """As jq --seq prints it."""
    known = recognise(b"\x1e" + pretty(EVENT) + b"\x1e" + pretty(EVENT))
    assert known is not None
    assert "jq -c --seq . < -a.json" in known.remedy("-a.json")


PERHAPS = [
    pytest.param(b"", id="nothing"),
    pytest.param(LINE, id="an event"),
    pytest.param(b"\xef\xbb\xbf" + LINE, id="a BOM"),
    pytest.param(b"\n\n  \n" + LINE, id="blank lines"),
    pytest.param(b"  " + LINE, id="an indented event"),
    pytest.param(b"broken\n" + LINE, id="a broken line before an event"),
    pytest.param(b"a,b\nc,d\n" + LINE, id="what looks like CSV before an event"),
    pytest.param(b'{"type":"track",\n"userId":"u"}\n' + LINE, id="an event broken in two before an event"),
    pytest.param(b'[{"type":"track"}]\n' + LINE, id="an array on a line"),
    pytest.param(b'[{"type":"track"},{"type":"track"}]', id="an array without line end"),
    pytest.param(b'{"type":"track","userId":', id="an event cut off"),
    pytest.param(b"[", id="a bracket"),
    pytest.param(b"{\n", id="a brace"),
    pytest.param(b"not json at all\n", id="a sentence"),
    pytest.param(b"not json, sorry\n", id="a sentence with a comma"),
    pytest.param(b"2024-01-01 ERROR, no\n2024-01-02 ERROR, no\n", id="a log"),
    pytest.param(b'"type":"track","userId":"u"}\n"type":"track","userId":"u"}\n', id="heads cut off"),
    pytest.param(b"\xff\xfe\xfd\n" + LINE, id="binary garbage before an event"),
    pytest.param(b'{"a":' * 5000, id="nesting too deep"),
    pytest.param(b'{"properties":"' + b"x" * HEAD_BYTES, id="an event larger than the head"),
]


@pytest.mark.parametrize("head", PERHAPS)
def test_what_may_hold_events_is_let_through(head: bytes) -> None:
    """A file whose only problem is some broken lines is read; the broken lines are invalid records."""
    assert recognise(head[:HEAD_BYTES]) is None


@given(st.binary(max_size=300) | st.text('{}[]",:\n\t;ab ').map(str.encode))
def test_no_bytes_raise(head: bytes) -> None:
    """Recognising is a guess about foreign bytes: it answers, whatever they are."""
    recognise(head)


def test_every_corpus_is_let_through(corpora: Path) -> None:
    """Events of the wild are not taken for something else."""
    for file in corpora.glob("*.ndjson"):
        assert recognise(file.read_bytes()[:HEAD_BYTES]) is None, file
