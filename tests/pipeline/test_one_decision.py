"""An event ends the same wherever it stands and however it is read, whatever its times, texts and numbers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from support.cli import Cli
from support.replays import assert_lawful, outcomes_of, reasons_of, report_of, settings_for

from voucherify_sync.events import Batch, Event, Request
from voucherify_sync.findings import BROKEN_TEXT, UNREAD_TIME, WRONG_CLOCK
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.outcomes import Decision
from voucherify_sync.preview.explain import explained
from voucherify_sync.run.pipeline import Pipeline, _decode_part, _working
from voucherify_sync.sandbox import Sandbox
from voucherify_sync.settings.types import Identify, Settings, Track
from voucherify_sync.sources.decode import decode
from voucherify_sync.stop import Stop

COUNTED = (BROKEN_TEXT, UNREAD_TIME, WRONG_CLOCK)
ROWS = Settings(
    identify=Identify(
        mapping={"traits.key": ["customer.source_id"]}, extend_default=True, unmapped_traits="metadata"
    ),
    track=Track(mapping={"timestamp": ["metadata.at"], "properties.n": ["metadata.n"]}, extend_default=True),
)
SELECTIONS = {
    "all": Selection(),
    "period": Selection(since=datetime(2024, 2, 1, tzinfo=UTC), until=datetime(2024, 6, 1, tzinfo=UTC)),
}
ORDINARY = [
    json.dumps({"type": "track", "event": "Plain", "userId": f"p{n}", "messageId": f"p-{n}"}).encode()
    for n in range(1_200)
]

TEXTS = [
    '"u"',
    '"a\ufffd"',
    r'"\ud83d"',
    r'"a\ud83d\ude00"',
    '" "',
    '""',
    '"٣"',
    '"BROKEN"',
    "null",
    "true",
    "[]",
]
NUMBERS = ["0", "-0", "-0.0", "1e400", "-1e400", "NaN", "Infinity", "1e-400", "12.0", "0.1", "9" * 400, "1e21",
           "1E1000000000", "9007199254740993", "-" + "9" * 4_299, "9" * 4_301]  # fmt: skip
TIMES = ['"2024-03-01T00:00:00.000Z"', '"2024-02-30T00:00:00.000Z"', '"2024-03-01T24:00:00.000Z"', '"2024-99-99"',
         '"Sat, 02 Mar 2024 00:00:00 GMT"', '"2024-03-02 00:00:00 UTC"', '"2031-01-01T00:00:00.000Z"', "1709251200000",
         "1709251200000000", '"XXXX-XX-XXTXX:XX:XX.XXXZ"', '"2024-07-02T00:00:00+02:00"', '"\\ud83d"']  # fmt: skip
TEXT, NUMBER, TIME = (st.sampled_from(values) for values in (TEXTS, NUMBERS, TIMES))
ANY = TEXT | NUMBER | TIME


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Return the line of an event, of which anything may be odd: it need not even be JSON."""
    members = {"type": draw(st.sampled_from(['"identify"', '"track"']))}
    places = {"userId": TEXT | NUMBER, "anonymousId": TEXT | NUMBER, "messageId": ANY, "timestamp": TIME | NUMBER,
              "receivedAt": TIME, "sentAt": TIME, "event": TEXT | NUMBER}  # fmt: skip
    for name, values in places.items():
        if draw(st.booleans()):
            members[name] = draw(values)
    inside = {
        name: draw(ANY) for name in draw(st.sets(st.sampled_from(["name", "email", "key", "n", "phone"])))
    }
    text = "{%s}"
    for root in ("traits", "properties"):
        members[root] = text % ",".join(f'"{name}":{value}' for name, value in inside.items())
    line = text % ",".join(f'"{name}":{value}' for name, value in members.items())
    return line.encode().replace(b"BROKEN", b"b\xff")


def end_of(decision: Decision) -> tuple[Any, ...]:
    """Return how a record ends, and by what; the body of an event that only names its customer is another one."""
    if isinstance(decision, Request):
        event = decision.event
        own = (decision.source_id, decision.customer, decision.name, event.time, event.told_time)
        return (event.key, event.message_id, event.former_message_id, *own)
    record = decision.record
    return (
        record.key if isinstance(record, Event) else None,
        decision.state,
        decision.reason,
        decision.detail,
    )


def decided(
    batches: list[Batch], selection: Selection, **options: bool
) -> tuple[list[Decision], Counter[str]]:
    """Return the decisions of a new pipeline on all batches, and what it counted."""
    pipeline = Pipeline(ROWS, selection, **options)
    found = [decision for batch in batches for part in pipeline.batches(batch) for decision in part]
    findings = pipeline.mapper.stats.findings
    return found, Counter({code: findings[code].count for code in COUNTED if code in findings})


@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS.keys())
@tuned(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(lines(), min_size=1, max_size=8))
def test_an_event_ends_the_same_everywhere(selection: Selection, odd: list[bytes]) -> None:
    """Alone, after many ordinary lines, in another process, in both passes of a run in bulk, and explained."""
    alone: list[Decision] = []
    counts: Counter[str] = Counter()
    for number, line in enumerate(odd, 1_201):
        found, counted = decided([Batch.of("f", number, [line])], selection, folds=True)
        alone += found
        counts += counted
    expected = list(map(end_of, alone))
    batch = Batch.of("f", 1, ORDINARY + odd)
    for refers in (False, True):
        among, counted = decided([batch], selection, folds=True, refers=refers)
        assert list(map(end_of, among[1_200:])) == expected
        assert counted == counts
        of_process: list[Decision] = []
        counted = Counter()
        for part in _working(ROWS, selection, True, refers, False)([batch], Stop()):
            decisions, stats, *_ = _decode_part(part)
            of_process += [decision for portion in decisions for decision in portion]
            counted += Counter(
                {code: stats.findings[code].count for code in COUNTED if code in stats.findings}
            )
        assert list(map(end_of, of_process[1_200:])) == expected
        assert counted == counts
    payloads = [each.payload for each in alone if isinstance(each, Request)]
    explanations = [
        explained(Pipeline(ROWS, selection), record)
        for number, line in enumerate(odd, 1_201)
        for record in decode(Batch.of("f", number, [line]))
    ]
    assert [each.request.payload for each in explanations if each.request is not None] == payloads


NUMBER_CASES = [
    pytest.param("9" * 400, "9" * 400, id="400 digits"),
    pytest.param("-" + "9" * 4_299, "-" + "9" * 4_299, id="as many digits as can be read"),
    pytest.param("9" * 4_301, None, id="more digits than can be read"),
    pytest.param("0", "0", id="zero"),
    pytest.param("-0", "0", id="minus zero"),
    pytest.param("-0.0", "0", id="minus zero as a float"),
    pytest.param("12.0", "12", id="a whole float"),
    pytest.param("1e21", "1" + "0" * 21, id="an exponent"),
    pytest.param("1E2", "100", id="a small exponent"),
    pytest.param("9007199254740993", "9007199254740993", id="beyond a float"),
    pytest.param("1e400", None, id="out of range"),
    pytest.param("1E1000000000", None, id="far out of range"),
    pytest.param("NaN", None, id="NaN"),
    pytest.param("-Infinity", None, id="Infinity"),
]


@pytest.mark.parametrize(("number", "text"), NUMBER_CASES)
def test_a_number_as_an_id_is_its_exact_decimal_text(number: str, text: str | None) -> None:
    """What is no number that JSON can carry names nobody; the next line is read."""
    line = (
        f'{{"type":"identify","userId":{number},"messageId":{number},"traits":{{"phone":{number}}}}}'.encode()
    )
    good = b'{"type":"identify","userId":"u"}'
    (one, other), _ = decided([Batch.of("f", 1, [line, good])], Selection())
    assert isinstance(other, Request)
    if text is None:
        assert not isinstance(one, Request)
        assert one.reason in {"number_too_long", "not_finite", "no_id"}
    else:
        assert isinstance(one, Request)
        assert (one.source_id, one.body["phone"]) == (text, text)


PLACES = [
    '{"type":"track","event":"E","userId":"u","messageId":%s}',
    '{"type":"track","event":"E","userId":%s}',
    '{"type":"track","event":%s,"userId":"u"}',
    '{"type":"track","event":"E","userId":"u","timestamp":%s,"receivedAt":%s}',
    '{"type":"identify","userId":"u","traits":{"email":%s,"address":{"city":%s},"birthdate":%s}}',
    '{"type":"identify","anonymousId":%s,"traits":{"metadata":{"n":%s,"deep":[{"n":%s}]}}}',
    '[{"type":"track","event":"E","userId":"u","other":%s},%s]',
    '{"batch":[{"type":"identify","userId":"u"}],"context":{"n":%s},"sentAt":%s}',
    '{"type":%s,"userId":"u"}',
    "%s",
]


def test_no_number_ends_a_run_at_any_place(run_cli: Cli, sandbox: Sandbox) -> None:
    """Every command reads on; what a dry run plans, the live run delivers, and a second time it sends nothing."""
    odd = [place.replace("%s", number) for place in PLACES for number in NUMBERS]
    (run_cli.folder / "events.ndjson").write_bytes(b"\n".join([*ORDINARY[:50], *map(str.encode, odd)]))
    settings = settings_for(run_cli, sandbox, "delivery: {ledger: a.ledger}\n")
    args = ["-c", settings, "--report", "report.json", "events.ndjson"]
    for command in ("coverage", "explain"):
        ended = run_cli(command, "-c", settings, "events.ndjson")
        assert (ended.code, "Traceback" in ended.err) == (0, False)
    assert run_cli("plan", "-c", settings, "events.ndjson").code == 3
    ends = []
    for mode in ("--each", "--bulk"):
        assert run_cli("replay", "--dry-run", mode, *args).code == 3
        assert_lawful(report_of(run_cli))
        ends.append(outcomes_of(run_cli))
    assert ends[0] == ends[1]
    assert run_cli("replay", "--yes", "--new-ledger", *args).code == 3
    live, planned = outcomes_of(run_cli), ends[0]
    assert (live.pop("delivered"), live) == (planned.pop("planned"), planned)
    calls = sandbox.call_log.calls
    assert run_cli("replay", "--yes", *args).code == 3
    assert sandbox.call_log.calls == calls


def test_an_impossible_date_ends_the_same_in_every_mode(run_cli: Cli, sandbox: Sandbox) -> None:
    """Its receivedAt lies behind the period: it is skipped alone and after many lines, dry and live."""
    times = {"timestamp": "2024-02-30T00:00:00.000Z", "receivedAt": "2024-07-02T00:00:00.000Z"}
    odd = json.dumps(
        {"type": "identify", "userId": "u", "traits": {"email": "a@example.com"}, **times}
    ).encode()
    (run_cli.folder / "one.ndjson").write_bytes(odd)
    (run_cli.folder / "many.ndjson").write_bytes(b"\n".join([*ORDINARY, odd]))
    settings = settings_for(run_cli, sandbox, "delivery: {ledger: a.ledger}\n")
    args = ["-c", settings, "--report", "report.json", "--until", "2024-06-01 00:00:00 UTC"]
    run_cli.constants["voucherify_sync.run.options.MIN_SHARED_BYTES"] = 1
    for file in ("one.ndjson", "many.ndjson"):
        for mode in (["--jobs", "1"], ["--jobs", "2"], ["--bulk", "--jobs", "1"], ["--bulk", "--jobs", "2"]):
            assert run_cli("replay", "--dry-run", *mode, *args, file).code == 0
            assert reasons_of(run_cli, "skipped") == {"out_of_period": 1}
            assert report_of(run_cli)["findings"][UNREAD_TIME]["count"] == 1
    assert run_cli("replay", "--yes", "--new-ledger", *args, "one.ndjson").code == 0
    assert reasons_of(run_cli, "skipped") == {"out_of_period": 1}


def test_versions_of_an_identify_are_sent_once_each_and_a_track_once(run_cli: Cli, sandbox: Sandbox) -> None:
    """One messageId, different content. The warning says what to do; an archive that is read twice sends nothing."""
    archive = [
        *(
            {"type": "identify", "userId": "u", "messageId": "i", "traits": {"email": f"{n}@example.com"}}
            for n in "aba"
        ),
        *(
            {"type": "track", "event": "E", "userId": "u", "messageId": "t", "properties": {"email": n}}
            for n in "xyx"
        ),
    ]
    (run_cli.folder / "events.ndjson").write_text("\n".join(map(json.dumps, archive)))
    for mode, customer_calls in (("--each", 2), ("--bulk", 1)):
        settings = settings_for(run_cli, sandbox, f"delivery: {{ledger: {mode[2:]}.ledger}}\n")
        args = ["-c", settings, "--report", "report.json", mode, "events.ndjson"]
        dry = run_cli("replay", "--dry-run", *args)
        assert outcomes_of(run_cli) == {"planned": 3, "duplicate": 3}
        duplicates = reasons_of(run_cli, "duplicate")
        assert duplicates == {"repeated": 2, "repeated_differs": 1}
        assert len(dry.lines) == customer_calls + 1
        live = run_cli("replay", "--yes", "--new-ledger", *args)
        assert outcomes_of(run_cli) == {"delivered": 3, "duplicate": 3}
        assert reasons_of(run_cli, "duplicate") == duplicates
        for ended in (dry, live):
            assert "1 event has the messageId of an earlier one" in ended.err
            assert "give each event its own messageId" in ended.err
        calls = sandbox.call_log.calls
        assert run_cli("replay", "--yes", *args).code == 0
        assert outcomes_of(run_cli) == {"duplicate": 6}
        assert sandbox.call_log.calls == calls
