"""Broken text is told, and never becomes an id: two people must not become one customer."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import Cli
from support.replays import outcomes_of, reasons_of, report_of, settings_for

from voucherify_sync.events import Batch, Event, Request, record_key
from voucherify_sync.findings import BROKEN_TEXT
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import Outcome
from voucherify_sync.preview.explain import explained
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings.types import Identify, Settings
from voucherify_sync.sources.decode import decode

ROWS = Settings(
    identify=Identify(
        mapping={"traits.crm": ["customer.id"], "traits.key": ["customer.source_id"]}, extend_default=True
    )
)


def ends(lines: list[bytes], settings: Settings = ROWS) -> list[str]:
    """Return how records end: with the id of their customers, or with a reason. Explain says the same."""
    pipeline = Pipeline(settings, Selection())
    batch = Batch.of("f", 1, lines)
    decisions = [decision for part in pipeline.batches(batch) for decision in part]
    told = [
        each.source_id if isinstance(each, Request) else str(each.reason or each.state) for each in decisions
    ]
    explanations = [explained(pipeline, record) for record in decode(batch)]
    assert told == [each.request.source_id if each.request else each.outcome.reason for each in explanations]
    return told


@pytest.mark.parametrize("broken", [b"a\xff", rb"a\ud83d", rb"\udc00a", b"\xe2\x82"], ids=str)
@pytest.mark.parametrize(
    ("event", "is_sent"),
    [
        pytest.param(b'"userId":"%s"', False, id="userId"),
        pytest.param(b'"anonymousId":"%s"', False, id="anonymousId"),
        pytest.param(b'"userId":" ","anonymousId":"%s"', False, id="anonymousId beside a blank userId"),
        pytest.param(b'"userId":"u","traits":{"key":"%s"}', False, id="row to source_id"),
        pytest.param(b'"userId":"u","traits":{"crm":"%s"}', False, id="row to id"),
        pytest.param(b'"userId":"%s","traits":{"crm":"c"}', False, id="source_id beside a good id"),
        pytest.param(b'"userId":"u","anonymousId":"%s"', True, id="anonymousId beside a good userId"),
        pytest.param(b'"userId":"%s","traits":{"key":"u"}', True, id="userId that a row replaces"),
        pytest.param(b'"userId":"u","traits":{"name":"%s"}', True, id="a trait"),
        pytest.param(b'"userId":"u","%s":1', True, id="a key"),
        pytest.param(b'"userId":"u","messageId":"%s"', True, id="messageId"),
    ],
)
def test_only_an_id_that_names_the_customer_must_be_whole(broken: bytes, event: bytes, is_sent: bool) -> None:
    """It is invalid; everything else is sent with U+FFFD. An event beside others, or an item, ends the same."""
    line = b'{"type":"identify",%s}' % (event % broken)
    expected = ["u" if is_sent else "broken_id"]
    assert ends([line]) == expected
    good = b'{"type":"identify","userId":"g"}'
    assert ends([b"[%s,%s,%s]" % (good, line, good)]) == ["g", *expected, "g"]
    assert ends([b'{"batch":[%s,%s]}' % (good, line)]) == ["g", *expected]
    assert ends([good, line, good]) == ["g", *expected, "g"]


def test_u_fffd_in_valid_text_is_a_character_like_any_other() -> None:
    """Even beside broken text that becomes equal to it."""
    line = '{"type":"identify","userId":"u\ufffd","traits":{"name":"u'.encode() + b'\xff"}}'
    assert ends([line]) == ["u\ufffd"]


def test_what_is_sent_is_counted_with_its_first_places() -> None:
    """An event with broken text counts once, and only the item that holds it."""
    pipeline = Pipeline(Settings(), Selection())
    line = b'[{"type":"track","userId":"a","event":"x\xff","v":"\xff"},{"type":"track","userId":"b"}]'
    context = b'{"batch":[{"type":"track","userId":"c"}],"context":{"locale":"\xff"}}'
    bad_id = b'{"type":"track","userId":"\xff"}'
    list(pipeline.batches(Batch.of("f", 1, [line, context, bad_id])))
    found = pipeline.mapper.stats.findings[BROKEN_TEXT]
    assert found.count == 2
    assert [(each.position, each.text) for each in found.examples] == [
        ("f:1[0]", "x\ufffd"),
        ("f:2[0]", "\ufffd"),
    ]


TEXTS = st.lists(
    st.sampled_from([b"a", b"\xff", b"\xe2\x82", rb"\ud83d", rb"\udfff", rb"\ud83d\ude00", "\ufffd".encode(), rb"\\"]),
    max_size=4,
).map(b"".join)  # fmt: skip


@given(TEXTS, TEXTS, TEXTS)
def test_the_bytes_of_an_item_are_read_as_the_item_was(
    user_id: bytes, message_id: bytes, name: bytes
) -> None:
    """They are what a dead letter keeps: `retry` must find the same text broken."""
    item = b'{"type":"identify","userId":"%s","messageId":"%s","traits":{"name":"%s"}}' % (
        user_id,
        message_id,
        name,
    )
    (alone,) = decode(Batch.of("f", 1, [item]))
    (record,) = decode(Batch.of("f", 1, [b"[%s]" % item]))
    assert isinstance(record, Event)
    assert isinstance(alone, Event)
    (again,) = decode(Batch.of("f", 1, [record.raw]))
    assert isinstance(again, Event)
    for other in (alone, again):
        assert (other.fields, other.repaired) == (record.fields, record.repaired)
        assert (other.message_id, record_key(other)) == (record.message_id, record_key(record))
    assert ends([item]) == ends([record.raw])


def test_a_run_tells_it_and_retry_does_not_send_it(run_cli: Cli, sandbox: Sandbox) -> None:
    """An item of an array, too, whose bytes are not those of its line."""
    lines = [
        b'[{"type":"identify","userId":"e3\xff","messageId":"e3"},{"type":"identify","userId":"u","messageId":"e4"}]',
        rb'{"type":"identify","userId":"e3\ud83d","messageId":"e5","traits":{"name":"x"}}',
        b'{"type":"track","event":"Caf\xe9","userId":"u","messageId":"e6"}',
    ]
    (run_cli.folder / "events.ndjson").write_bytes(b"\n".join(lines))
    settings = settings_for(run_cli, sandbox, "delivery: {ledger: a.ledger}\n")
    args = ["-c", settings, "--yes", "--report", "report.json"]
    for mode in (["--dry-run"], ["--dry-run", "--bulk"], ["--dry-run", "--jobs", "2"], ["--new-ledger"]):
        ended = run_cli("replay", *args, *mode, "events.ndjson")
        assert ended.code == 3
        assert reasons_of(run_cli, "invalid") == {"broken_id": 2}
        assert report_of(run_cli)["findings"][BROKEN_TEXT]["count"] == 1
        assert 'holds broken text, which is no UTF-8 or half of a character: "Caf\ufffd"' in ended.err
        assert "fix the encoding" in ended.err
    assert sandbox.call_log.calls == 2
    assert run_cli("replay", *args, "--dead-letters", "letters.ndjson", "events.ndjson").code == 3
    assert outcomes_of(run_cli) == {"duplicate": 2, "invalid": 2}
    for letters in ([], ["letters.ndjson"]):
        assert run_cli("retry", *args, *letters).code == 3
        assert reasons_of(run_cli, "invalid") == {"broken_id": 2}
    assert sandbox.call_log.calls == 2


def test_coverage_and_plan_say_the_same(run_cli: Cli) -> None:
    """An event of a known shape is no exception."""
    good = [
        json.dumps({"type": "identify", "userId": f"u{n}", "messageId": str(n)}).encode() for n in range(50)
    ]
    broken = b'{"type":"identify","userId":"u\xff","messageId":"m"}'
    (run_cli.folder / "events.ndjson").write_bytes(b"\n".join([*good, broken]))
    assert "[broken_id]" in run_cli("coverage", "events.ndjson").out
    assert json.loads(run_cli("plan", "--json", "events.ndjson").out)["reasons"]["invalid"]["broken_id"]


def test_explain_says_which_texts_are_broken(run_cli: Cli) -> None:
    """For people, and for programs."""
    (run_cli.folder / "events.ndjson").write_bytes(b'{"type":"track","event":"Caf\xe9","userId":"u"}\n')
    assert (
        'Broken text, with U+FFFD for what cannot be read: "Caf\ufffd"'
        in run_cli("explain", "events.ndjson").out
    )
    assert run_cli("explain", "--json", "events.ndjson").lines[0]["repaired"] == ["Caf\ufffd"]


def test_outcomes_that_are_no_requests_are_no_findings() -> None:
    """A skipped event is not sent, whatever its text."""
    pipeline = Pipeline(Settings(), Selection())
    (decisions,) = pipeline.batches(Batch.of("f", 1, [b'{"type":"page","userId":"a","name":"\xff"}']))
    assert isinstance(decisions[0], Outcome)
    assert not pipeline.mapper.stats.findings


def test_keys_that_broken_text_made_equal_stay_two_keys() -> None:
    """So no value takes the place of another one."""
    keys = b'"na\xffme": 1, "na\xfeme": 2, "na\\ufffdme": 3, "na\\ud83dme": 4'
    line = b'{"type": "track", "event": "E", "userId": "u", "properties": {%b}}' % keys
    (event,) = decode(Batch.of("f", 1, [line]))
    assert isinstance(event, Event)
    assert sorted(event.fields["properties"].values()) == [1, 2, 3, 4]
